"""What the faults happen to: a plugin with a configuration, on a node of its own where another pod lives already."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conformance import ledger
from conformance.ledger import sysctls
from tests.netns.faults.injection import Count, injected, termination
from tests.support.inprocess import InProcess
from tests.support.node import Node
from tests.support.outcome import Outcome

import posix

import pytest

_RANGES = [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]]
_HOST_LOCAL = {"type": "host-local", "ranges": _RANGES}
_STATIC = {"type": "static", "addresses": [{"address": "10.1.0.9/24", "gateway": "10.1.0.1"}]}
_ROUTES = [{"dst": "192.0.2.0/24"}]

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "bridge": {
        "type": "bridge", "isDefaultGateway": True, "ipMasq": True, "macspoofchk": True, "hairpinMode": True, "ipam": {**_HOST_LOCAL, "routes": _ROUTES},
    },
    "bridge-l2": {"type": "bridge", "portIsolation": True},
    "bridge-foreign-ipam": {"type": "bridge", "isGateway": True, "ipam": {"type": "foreign"}},
    "ptp": {"type": "ptp", "ipMasq": True, "ipam": _HOST_LOCAL},
    "loopback": {"type": "loopback"},
    "host-local": {"type": "host-local", "ipam": _HOST_LOCAL},
    "static": {"type": "static", "ipam": _STATIC},
}  # fmt: skip

SHARED = (
    r"node file /run/cni-plugins(/lock|/records)?",
    r"node file /run/foreign",
    r"node file /var/lib/cni/networks(/net(/lock|/last_reserved_ip\.\d|/\.by-id)?)?",
    r"node nftables table (inet|bridge) cni_plugins( / (map|set|chain) (?!.* / .* comment ).*)?",
    r"node sysctl net/ipv[46]/(ip_forward|conf/[^/]+/(forwarding|accept_redirects|send_redirects|shared_media|secure_redirects))",
    r"node sysctl net/ipv4/conf/[^/]+/[a-z_]+",
    ledger.about_link("cni0"),
)
"""What one attachment makes for all of its network or of the node, and leaves on purpose: it costs nothing, and others may use it."""

FOREIGN_IPAM = """\
#!/bin/sh
# Keeps a lease as a file, as an IPAM plugin of somebody else's would.
set -eu
lease=/run/foreign/$CNI_CONTAINERID-$CNI_IFNAME
case $CNI_COMMAND in
ADD)
    mkdir -p /run/foreign
    echo taken > "$lease"
    echo '{"cniVersion":"1.1.0","ips":[{"address":"10.1.0.7/24","gateway":"10.1.0.1"}]}' ;;
DEL) rm -f "$lease" ;;
GC) for one in /run/foreign/*; do [ ! -e "$one" ] || rm "$one"; done ;;
esac
"""


class Exited(BaseException):
    """The library ended the process, which it does when it cannot leave a container's network namespace."""


class Scene:
    """One plugin on one node. `check` judges what a call under a fault did; `problems` collects what was wrong."""

    def __init__(self, name: str, node: Node, directory: Path) -> None:
        self.conf = {"cniVersion": "1.1.0", "name": "net", **CONFIGURATIONS[name]}
        self.plugin = self.conf["type"]
        self.node = node
        self.pod = node.container("pod")
        self.plugins = InProcess(node, directory)
        foreign = self.plugins.directory / "foreign"
        foreign.write_text(FOREIGN_IPAM)
        foreign.chmod(0o755)
        self.problems: list[str] = []

    def call(self, verb: str, **keys: Any) -> Outcome:
        """One call for the pod."""
        return self.plugins(self.plugin, verb, {**self.conf, **keys}, container=self.pod)

    def good(self, verb: str, **keys: Any) -> Any:
        """One call that must succeed; its result."""
        return self.call(verb, **keys).result

    def collect(self) -> dict[str, Any]:
        """What GC gets when every attachment of the network is stale."""
        return {"cni.dev/valid-attachments": []}

    def faulty(self, verb: str, fault: Count, **keys: Any) -> Outcome | None:
        """One call under a fault; None when there was something wrong with it besides what it may have left."""
        before = _descriptors()
        try:
            with injected(fault), termination():
                outcome = self.call(verb, **keys)
            _ = outcome.result if outcome.code == 0 else outcome.error
        except Exited:
            outcome = None
        except BaseException as error:  # noqa: BLE001 - anything that comes out of the handler is the defect we look for
            self.problems.append(f"{fault}: {type(error).__name__}: {error}")
            return None
        finally:
            leaked = _descriptors() - before
            for fd in leaked:
                os.close(fd)
        if leaked:
            self.problems.append(f"{fault}: descriptors left open: {leaked}")
        return outcome

    def expect(self, fault: Count, before: ledger.Snapshot, when: str, *, ignore: tuple[str, ...] = (SHARED[2],)) -> None:
        """Note what is not as it was in `before`."""
        left = ledger.diff(before, self.node.ledger(), ignore=ignore)
        if left:
            self.problems.append(f"{fault}, {when}: " + " | ".join(left))

    def lease_outlives_link(self, fault: Count) -> None:
        """Note a lease that was given back while its interface was still there: another pod would get the address."""
        if not self.conf.get("ipam", {}).get("type") == "host-local" or self.plugin == "host-local":
            return
        leases = list(Path("/var/lib/cni/networks/net").glob("[0-9a-f]*[.:]*"))
        with self.node.inside():
            links = [link for link in os.listdir("/sys/class/net") if link.startswith("veth")]
        if links and len(leases) < 2:
            self.problems.append(f"{fault}: the link is still there, but its leases are not: {leases}")


def sweep(fault: Callable[[int], Count], case: Callable[[Count], None]) -> int:
    """Run a case for the first operation, the second, and so on, until there is none left to fail; returns how many there were."""
    at = 0
    while True:
        one = fault(at)
        case(one)
        if not one.struck:
            return at
        at += 1


@contextmanager
def without_sysctls() -> Iterator[None]:
    """Ledgers without kernel parameters, which take most of the time: they are compared once, at the end of a sweep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sysctls, "read", dict)
        patch.setattr(posix, "_exit", _exited)
        yield


def _exited(status: int) -> None:
    raise Exited(status)


def _descriptors() -> set[int]:
    listed = os.listdir("/proc/self/fd")
    return {int(name) for name in listed if os.path.lexists(f"/proc/self/fd/{name}")}
