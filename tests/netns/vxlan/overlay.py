"""An overlay to test on: nodes on an underlay, each with the plugin and with pods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.outcome import Outcome
from tests.support.shared import SHARED
from tests.support.underlay import Underlay

FAMILIES = {"v4": (4,), "v6": (6,), "dual": (4, 6)}
OVERHEAD = {4: 50, 6: 70}
_ICMP = {4: 28, 6: 48}

LEFT = (*SHARED, r"node file /run/cni-plugins/overlays")
"""What a DEL may leave: things without content that all attachments share."""


def subnet(number: int, family: int, *, overlay: int = 5) -> str:
    """The subnet of a node, counted from 1."""
    return f"10.{overlay}.{number}.0/24" if family == 4 else f"fd00:{overlay}:0:{number}::/64"


class Member:
    """A node of an overlay: `number` counts from 1; `keys` are added to its configuration."""

    def __init__(self, underlay: Underlay, number: int, directory: Path, *, families: tuple[int, ...] = (4,)) -> None:
        self.node: Node = underlay.nodes[number - 1]
        self.hub = underlay.hub
        self.number = number
        self.families = families
        directory.mkdir(exist_ok=True)
        self.plugins = InProcess(self.node, directory)
        self.addresses = underlay.addresses
        self.keys: dict[str, Any] = {}
        self.results: dict[str, Any] = {}

    def conf(self, *, overlay: int = 5, **keys: Any) -> dict[str, Any]:
        """The configuration, the same on all nodes but for the subnet."""
        networks: dict[str, Any] = {}
        for family in self.families:
            names = ("ipv6Network", "ipv6Subnet") if family == 6 and 4 in self.families else ("network", "subnet")
            whole = f"10.{overlay}.0.0/16" if family == 4 else f"fd00:{overlay}::/48"
            networks |= dict(zip(names, (whole, subnet(self.number, family, overlay=overlay)), strict=True))
        conf = {"cniVersion": "1.1.0", "name": "net", "type": "vxlan", "vni": 100, "underlay": "eth0", "peers": self.peers(overlay=overlay)}
        return {key: value for key, value in {**conf, **networks, **self.keys, **keys}.items() if value is not None}

    def peers(self, *, overlay: int = 5) -> list[dict[str, str]]:
        """Every node of the overlay, this one included."""
        return [
            {"node": own[family == 6], "subnet": subnet(number, family, overlay=overlay)}
            for number, own in enumerate(self.addresses, 1)
            for family in self.families
        ]

    def call(self, verb: str, pod: Container | None = None, **keys: Any) -> Outcome:
        """One call."""
        return self.plugins("vxlan", verb, self.conf(**keys), container=pod)

    def pod(self, container: str = "pod", /, **keys: Any) -> Container:
        """A pod on the overlay."""
        pod = self.node.container(container)
        self.results[container] = self.call("ADD", pod, **keys).result
        return pod

    def check(self, pod: Container, **keys: Any) -> str:
        """What CHECK complains of; empty when it does not."""
        outcome = self.call("CHECK", pod, prevResult=self.results[pod.name], **keys)
        if outcome.code == 0:
            return ""
        assert outcome.error["code"] == 103, outcome
        return str(outcome.error["msg"])

    def ip(self, *words: str) -> Any:
        """What ip(8) lists on the node."""
        return json.loads(self.node.run(["ip", "-json", "-details", *words]).stdout or "[]")

    def sh(self, command: str) -> str:
        """Run a command on the node."""
        return self.node.run(["sh", "-ec", command]).stdout


def address(member: Member, pod: Container, family: int) -> str:
    """A pod's address."""
    found = [ip["address"].partition("/")[0] for ip in member.results[pod.name]["ips"] if (":" in ip["address"]) == (family == 6)]
    return str(found[0])


def reaches(pod: Container, target: str, *, mtu: int, within: float = 10) -> bool:
    """Whether packets of exactly `mtu` bytes get there and back in one piece, within so many seconds."""
    size = mtu - _ICMP[6 if ":" in target else 4]
    done = pod.run(["ping", "-c1", "-i0.2", f"-w{within}", "-M", "do", "-s", str(size), target], check=False)
    return done.returncode == 0


def mtu_of(pod: Container) -> int:
    """The MTU of a pod's interface."""
    return int(json.loads(pod.run(["ip", "-json", "link", "show", "eth0"]).stdout)[0]["mtu"])
