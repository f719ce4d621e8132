"""A node with several networks: configurations of ours, and calls of the plugin under either of its names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.outcome import Outcome
from tests.support.shared import HINTS

STATE = Path("/var/lib/cni/multus")
RESULTS = STATE / "results"
NETWORKS = Path("/var/lib/cni/networks")
ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=uid-1;K8S_POD_INFRA_CONTAINER_ID=x"
SHARED = (
    HINTS,
    r"node file /run/cni-plugins(/lock|/records)?",
    r"node file /var/lib/cni/(multus(/results)?|networks(/[^/]+(/lock|/\.by-id)?)?)",
    r"node nftables table (inet|bridge) cni_plugins( / (map|set|chain) (?!.* / .* comment ).*)?",
    r"node sysctl net/ipv[46]/(ip_forward|conf/[^/]+/[a-z_]+)",
    r"node (link br\d|(address|route|neighbour|qdisc) .*dev br\d( .*)?|sysctl net/ipv[46]/(conf|neigh)/br\d/.*)",
)
"""What networks leave on purpose."""


def bridge(number: int, **keys: Any) -> dict[str, Any]:
    """A network `net<number>` of type bridge: br<number>, 10.<number>.0.0/24, dual stack if `six`."""
    six = [[{"subnet": f"fd00:{number}::/64"}]] if keys.pop("six", False) else []
    ipam = {"type": "host-local", "ranges": [[{"subnet": f"10.{number}.0.0/24"}], *six]}
    return {"cniVersion": "1.1.0", "name": f"net{number}", "type": "bridge", "bridge": f"br{number}", "ipam": ipam, **keys}


def chain(number: int, *further: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """The same as a list, with tuning and what is given after the bridge."""
    first = {key: value for key, value in bridge(number, **keys).items() if key not in ("cniVersion", "name")}
    tuning = {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.log_martians": "1"}}
    return {"cniVersion": "1.0.0", "name": f"net{number}", "plugins": [first, tuning, *further]}


class Scene:
    """`pod` and `other` are containers; the networks are three: a bridge with a default route, a list, and a ptp."""

    def __init__(self, node: Node, plugins: InProcess) -> None:
        self.node = node
        self.plugins = plugins
        self.pod = node.container("pod")
        self.other = node.container("other")
        self.delegates: list[dict[str, Any]] = [
            bridge(1, isDefaultGateway=True, ipMasq=True),
            chain(2),
            {"name": "net3", "type": "ptp", "ipam": {"type": "host-local", "subnet": "10.3.0.0/24"}},
        ]
        self.keys: dict[str, Any] = {}
        self.args = ""
        self.env: dict[str, str] = {}

    def conf(self, **keys: Any) -> dict[str, Any]:
        """The configuration as the runtime hands it over."""
        return {"cniVersion": "1.1.0", "name": "multi", "type": "multus", "delegates": self.delegates, **self.keys, **keys}

    def call(
        self,
        verb: str,
        container: Container | None = None,
        *,
        plugin: str = "multus",
        ifname: str = "eth0",
        path: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
        args: str | None = None,
        **keys: Any,
    ) -> Outcome:
        """One call of our plugin, for `pod` unless told otherwise."""
        whose = None if verb in ("GC", "STATUS") else container or self.pod
        conf = self.conf(**keys)
        variables = {**self.env, **(env or {})}
        text = self.args if args is None else args
        return self.plugins(plugin, verb, conf, container=whose, ifname=ifname, path=path, args=text, env=variables)

    def good(self, verb: str, container: Container | None = None, **keys: Any) -> Any:
        """One call that must succeed; its result."""
        return self.call(verb, container, **keys).result

    def gc(self, *kept: tuple[Container, str]) -> None:
        """A GC that keeps these."""
        self.good("GC", **valid(*kept))

    def delegated(self, container: Container | None = None) -> list[dict[str, Any]]:
        """What the plugins of the container's networks got, by the state file."""
        import base64

        whole = [json.loads(base64.b64decode(one["Bytes"])) for one in json.loads(self.state_file(container).read_text())]
        return [plugin for one in whole for plugin in one.get("plugins", [one])]

    def state_file(self, container: Container | None = None, ifname: str = "eth0") -> Path:
        """The state that is ours."""
        return STATE / f"{(container or self.pod).id}:{ifname}"


def valid(*kept: tuple[Container, str]) -> dict[str, Any]:
    """The key that lists the attachments which a GC keeps."""
    return {"cni.dev/valid-attachments": [{"containerID": container.id, "ifname": ifname} for container, ifname in kept]}


def links(container: Container) -> dict[str, list[str]]:
    """The container's interfaces but lo, with their IPv4 addresses."""
    shown = json.loads(container.run(["ip", "-json", "address"]).stdout)
    return {
        one["ifname"]: [f"{info['local']}/{info['prefixlen']}" for info in one["addr_info"] if info["family"] == "inet"]
        for one in shown
        if one["ifname"] != "lo"
    }


def defaults(container: Container, family: int = 4) -> list[tuple[str, str]]:
    """The container's default routes of a family: (interface, gateway)."""
    shown = json.loads(container.run(["ip", "-json", f"-{family}", "route", "show", "default"]).stdout)
    return [(one["dev"], one.get("gateway", "")) for one in shown]


def leases() -> set[str]:
    """All leases on the node, as network/address."""
    return {f"{file.parent.name}/{file.name}" for file in NETWORKS.glob("*/*") if file.name[0].isdigit() or ":" in file.name}


def states() -> set[str]:
    """The names of all files that are kept until DEL."""
    return {file.name for file in STATE.rglob("*") if file.is_file()} if STATE.is_dir() else set()
