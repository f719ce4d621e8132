"""What the faults happen to: a plugin with a configuration, on a node of its own where another pod lives already."""

from __future__ import annotations

import gc
import os
import posix
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conformance import ledger
from conformance.ledger import firewall, sysctls
from tests.netns.faults.injection import Count, Interrupted, InterruptedAfter, Refused, injected, termination
from tests.support.inprocess import InProcess
from tests.support.node import Node
from tests.support.outcome import Outcome
from tests.support.shared import HINTS

STRIDE = int(os.environ.get("CNI_TEST_STRIDE", "2"))
"""1 tries everything, as `make soak` does."""

_RANGES = [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]]
_HOST_LOCAL = {"type": "host-local", "ranges": _RANGES}
_STATIC = {"type": "static", "addresses": [{"address": "10.1.0.9/24", "gateway": "10.1.0.1"}]}

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "bridge": {
        "type": "bridge",
        "isDefaultGateway": True,
        "ipMasq": True,
        "macspoofchk": True,
        "hairpinMode": True,
        "ipam": {**_HOST_LOCAL, "routes": [{"dst": "192.0.2.0/24"}]},
    },
    "bridge-l2": {"type": "bridge", "portIsolation": True},
    "bridge-foreign-ipam": {"type": "bridge", "isGateway": True, "ipam": {"type": "foreign"}},
    "ptp": {"type": "ptp", "ipMasq": True, "ipam": _HOST_LOCAL},
    "loopback": {"type": "loopback"},
    "host-local": {"type": "host-local", "ipam": _HOST_LOCAL},
    "static": {"type": "static", "ipam": _STATIC},
}

FOREIGN_STATE = r"node file /run/foreign"
"""The directory of the foreign IPAM plugin."""

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

    def ignored(self, verb: str) -> tuple[str, ...]:
        """What a removal may leave: the hint of host-local, and after GC what the node does not know: the state of the container's lo."""
        return (HINTS, r"pod (link lo|address .* dev lo)") if verb == "GC" else (HINTS,)

    def faulty(self, verb: str, fault: Count, **keys: Any) -> Outcome | None:
        """One call under a fault; None when there was something wrong with it besides what it may have left."""
        self.plugins.rest()
        before = _descriptors()
        try:
            with injected(fault), termination() as shield:
                outcome = self.plugins(self.plugin, verb, {**self.conf, **keys}, container=self.pod, delivering=shield)
            _ = outcome.result if outcome.code == 0 else outcome.error
        except Exited:
            outcome = None
        except BaseException as error:  # noqa: BLE001 - anything that comes out of the handler is the defect we look for
            self.problems.append(f"{fault}: {type(error).__name__}: {error}")
            return None
        finally:
            self.plugins.rest()
            leaked = _descriptors() - before
            if leaked:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ResourceWarning)
                    gc.collect()  # a traceback may have kept a socket
                leaked &= _descriptors()
            for fd in leaked:
                os.close(fd)
        if leaked and not isinstance(fault, Interrupted | InterruptedAfter):  # after a signal the process ends
            self.problems.append(f"{fault}: descriptors left open: {leaked}")
        return outcome

    def expect(self, fault: Count, before: ledger.Snapshot, when: str, *, ignore: tuple[str, ...] = (HINTS,)) -> None:
        """Note what is not as it was in `before`."""
        left = ledger.diff(before, self.node.ledger(), ignore=ignore)
        if left:
            self.problems.append(f"{fault}, {when}: " + " | ".join(left))

    def lease_outlives_link(self, fault: Count) -> None:
        """Note a lease that was given back while its interface was still there: another pod would get the address."""
        if self.conf.get("ipam", {}).get("type") != "host-local" or self.plugin == "host-local":
            return
        leases = list(Path("/var/lib/cni/networks/net").glob("[0-9a-f]*[.:]*"))
        with self.node.inside():
            links = [link for link in os.listdir("/sys/class/net") if link.startswith("veth")]
        if links and len(leases) < 2:
            self.problems.append(f"{fault}: the link is still there, but its leases are not: {leases}")


def sweep(fault: Callable[[int], Count], case: Callable[[Count], None]) -> int:
    """Run a case for the first operation, the second, and so on, until there is none left to fail; returns how many there were.

    Of faults other than a plain refusal every `STRIDE`-th is tried.
    """
    at = 0
    while True:
        one = fault(at)
        case(one)
        if not one.struck:
            return at
        at += 1 if fault is Refused else STRIDE


@contextmanager
def quick_ledgers() -> Iterator[None]:
    """Ledgers without kernel parameters and iptables, which take most of the time: they are compared once, at the end of a sweep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sysctls, "read", dict)
        patch.setattr(firewall, "iptables", lambda rules: {})
        patch.setattr(posix, "_exit", _exited)
        yield


def _exited(status: int) -> None:
    raise Exited(status)


def _descriptors() -> set[int]:
    listed = os.listdir("/proc/self/fd")
    return {int(name) for name in listed if os.path.lexists(f"/proc/self/fd/{name}")}
