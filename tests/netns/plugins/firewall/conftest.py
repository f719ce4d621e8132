"""A node that drops what it forwards, networks with bridges and firewall, and packets between all of them."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from conformance.netns import Netns, Outside
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.outcome import Outcome

PATIENCE = 30.0
"""Seconds for what must arrive."""
SILENCE = 0.5
"""Seconds after which a packet on one machine counts as dropped."""
V4, V6 = 0, 1
"""Where addresses of a family stand in lists of them."""

STATIC = r"node (nftables table ip6? filter|iptables ip6?tables-save filter)(?!.*(10\.|fd00)).*"
"""What stays in iptables' filter table, as with the reference: chains and rules that name no address."""


class Pods:
    """Pods on bridges of a node: network number n has the bridge br<n> and the subnets 10.<n>.0.0/24 and fd00:<n>::/64.

    Both plugins are called as a runtime calls a list.
    """

    def __init__(self, node: Node, plugins: InProcess) -> None:
        self.node = node
        self.plugins = plugins
        self.results: dict[tuple[str, int], Any] = {}
        # A bridge cannot ask for its pods' neighbours before it is sure of its own link-local address.
        node.run(["sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0"])

    def conf(self, number: int = 1, **keys: Any) -> dict[str, Any]:
        """The firewall's configuration of a network."""
        return {"cniVersion": "1.1.0", "name": f"net{number}", "type": "firewall", **keys}

    def attach(self, container: Container, number: int = 1, **keys: Any) -> dict[str, Any]:
        """Give a container its interface, without calling the firewall plugin; returns the result."""
        ranges = [[{"subnet": f"10.{number}.0.0/24"}], [{"subnet": f"fd00:{number}::/64"}]]
        conf = {
            "cniVersion": "1.1.0",
            "name": f"net{number}",
            "type": "bridge",
            "bridge": f"br{number}",
            "isDefaultGateway": True,
            "ipam": {"type": "host-local", "ranges": ranges},
            **keys,
        }
        self.results[container.id, number] = self.plugins.good("bridge", "ADD", conf, container=container)
        return dict(self.results[container.id, number])

    def add(self, container: Container, number: int = 1, *, by: Path | None = None, **keys: Any) -> list[str]:
        """Attach a container and let its packets through, by the reference's plugin if one is given; returns its addresses."""
        if (container.id, number) not in self.results:
            self.attach(container, number)
        outcome = self.call("ADD", container, number, by=by, **keys)
        assert outcome.code == 0, outcome
        return self.addresses(container, number)

    def addresses(self, container: Container, number: int = 1) -> list[str]:
        """A container's addresses on a network."""
        return [ip["address"].partition("/")[0] for ip in self.results[container.id, number]["ips"]]

    def call(self, verb: str, container: Container, number: int = 1, *, by: Path | None = None, **keys: Any) -> Outcome:
        """One call of the firewall plugin with prevResult; ours, or the one at `by`."""
        conf = self.conf(number) | {"prevResult": self.results[container.id, number]} | keys
        if by is not None:
            return self.node.cni(by, verb, conf, container=container)
        return self.plugins("firewall", verb, conf, container=container)

    def delete(self, container: Container, number: int = 1, *, by: Path | None = None, **keys: Any) -> None:
        """DEL by the firewall plugin, which must succeed."""
        outcome = self.call("DEL", container, number, by=by, **keys)
        assert outcome.code == 0, outcome

    def drift(self, container: Container, number: int = 1, **keys: Any) -> str:
        """What CHECK complains of, empty if it is content."""
        outcome = self.call("CHECK", container, number, **keys)
        return str(outcome.error["msg"]) if outcome.code else ""


def passes(client: Netns, server: Netns, address: str, *, port: int = 8080, to: int = 0) -> bool:
    """Whether a datagram from `client` to `address`, port `to` (`port` if 0), arrives at port `port` of `server`, and is answered."""
    return _answered(client, server, address, port=port, to=to or port, within=PATIENCE)


def is_dropped(client: Netns, server: Netns, address: str, *, port: int = 8080, to: int = 0) -> bool:
    """The contrary, known sooner."""
    return not _answered(client, server, address, port=port, to=to or port, within=SILENCE)


def _answered(client: Netns, server: Netns, address: str, *, port: int, to: int, within: float) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with server.inside():
        listener = socket.socket(family, socket.SOCK_DGRAM)
    with client.inside():
        sender = socket.socket(family, socket.SOCK_DGRAM)
    with listener, sender:
        listener.bind(("", port))
        listener.settimeout(within)
        sender.settimeout(within)
        try:
            sender.sendto(b"are you there?", (address, to))
            question, peer = listener.recvfrom(100)
            listener.sendto(question, peer)
            return sender.recv(100) == question
        except OSError:
            return False


def drop_forwarded(node: Node, variant: str = "nft") -> None:
    """Have iptables drop whatever nobody accepts, as Docker and ufw do."""
    for program in programs(variant):
        node.run([program, "-P", "FORWARD", "DROP"])


def programs(variant: str) -> tuple[str, str]:
    """iptables and ip6tables of one variant."""
    return f"iptables-{variant}", f"ip6tables-{variant}"


@pytest.fixture
def pods(node: Node, plugins: InProcess) -> Pods:
    """Networks on the node."""
    return Pods(node, plugins)


@pytest.fixture
def plugins(node: Node, tmp_path: Path) -> InProcess:
    """The plugins, called in process on the node."""
    return InProcess(node, tmp_path)


@pytest.fixture
def pod(node: Node) -> Container:
    """A container without any network."""
    return node.container("pod")


@pytest.fixture
def other(node: Node) -> Container:
    """Another one."""
    return node.container("other")


@pytest.fixture
def outside(node: Node) -> Outside:
    """A host beyond the node that knows a way to the pods."""
    outside = node.outside()
    for number in (1, 2):
        for network, via in ((f"10.{number}.0.0/24", outside.node_addresses[0]), (f"fd00:{number}::/64", outside.node_addresses[1])):
            outside.run(["ip", "route", "add", network, "via", via.partition("/")[0]])
    node.run(["ip", "address", "add", "fe80::2/64", "dev", "outside", "nodad"])
    return outside
