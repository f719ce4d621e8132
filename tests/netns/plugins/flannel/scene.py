"""A node that flanneld has given a subnet: the file that says so, and pods that the flannel plugin attaches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.outcome import Outcome

SUBNET_FILE = Path("/run/flannel/subnet.env")
STATE = Path("/var/lib/cni/flannel")
V4 = {"FLANNEL_NETWORK": "10.5.0.0/16", "FLANNEL_SUBNET": "10.5.52.1/24"}
V6 = {"FLANNEL_IPV6_NETWORK": "fd05::/48", "FLANNEL_IPV6_SUBNET": "fd05:0:0:34::1/64"}
REST = {"FLANNEL_MTU": "1450", "FLANNEL_IPMASQ": "true"}
SHARED = (
    r"node file /run/cni-plugins(/lock|/records)?",
    r"node file /var/lib/cni/(flannel|networks)(/net)?(/lock|/\.by-id|/last_reserved_ip\.\d)?",
    r"node nftables table (inet|bridge) cni_plugins( / (map|set|chain) (?!.* / .* comment ).*)?",
    r"node sysctl net/ipv[46]/(ip_forward|conf/[^/]+/[a-z_]+)",
    r"node (link cni0|(address|route|neighbour|qdisc) .*dev cni0( .*)?|sysctl net/ipv[46]/(conf|neigh)/cni0/.*)",
)
"""What the first pod of a network leaves on purpose."""


def subnet_env(values: Mapping[str, str] | None = None, **keys: str) -> str:
    """The text of a subnet file; dual stack unless told otherwise. A key that is set to "" is left out."""
    chosen = {**(V4 | V6 | REST if values is None else values), **keys}
    return "".join(f"{key}={value}\n" for key, value in chosen.items() if value)


class Scene:
    """One network, `net`, of type flannel; `pod` and `other` are containers."""

    def __init__(self, node: Node, plugins: InProcess) -> None:
        self.node = node
        self.plugins = plugins
        self.pod = node.container("pod")
        self.other = node.container("other")
        SUBNET_FILE.parent.mkdir()
        self.assign()

    def assign(self, values: Mapping[str, str] | None = None, **keys: str) -> None:
        """Write the subnet file."""
        SUBNET_FILE.write_text(subnet_env(values, **keys))

    def conf(self, **keys: Any) -> dict[str, Any]:
        """The configuration as the runtime hands it over."""
        return {"cniVersion": "1.1.0", "name": "net", "type": "flannel", **keys}

    def call(self, verb: str, container: Container | None = None, *, ifname: str = "eth0", path: Any = (), **keys: Any) -> Outcome:
        """One call of our plugin, for `pod` unless told otherwise."""
        whose = None if verb in ("GC", "STATUS") else container or self.pod
        return self.plugins("flannel", verb, self.conf(**keys), container=whose, ifname=ifname, path=path)

    def good(self, verb: str, container: Container | None = None, **keys: Any) -> Any:
        """One call that must succeed; its result."""
        return self.call(verb, container, **keys).result

    def rendered(self, **keys: Any) -> dict[str, Any]:
        """What the delegate gets when `pod` is attached with this configuration: as the state file has it afterwards."""
        self.good("ADD", **keys)
        state: dict[str, Any] = json.loads((STATE / f"{self.pod.id}:eth0").read_text())
        self.good("DEL", **keys)
        return state


def states() -> set[str]:
    """The names of all state files."""
    return {path.name for path in STATE.glob("*")} if STATE.is_dir() else set()
