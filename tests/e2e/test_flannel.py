"""The flannel plugin over real flanneld: pods on several nodes reach each other through the overlay that it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import ping
from tests.lab import peers
from tests.netns.leases.etcd_server import Etcd
from tests.support.flanneld import Flanneld
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.underlay import Underlay

NETWORKS: dict[str, dict[str, Any]] = {
    "IPv4": {"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}},
    "dual stack": {"Network": "10.5.0.0/16", "EnableIPv6": True, "IPv6Network": "fd05::/48", "Backend": {"Type": "vxlan"}},
    "nftables": {"Network": "10.5.0.0/16", "EnableNFTables": True, "Backend": {"Type": "vxlan", "VNI": 7, "Port": 4789}},
    "host-gw": {"Network": "10.5.0.0/16", "Backend": {"Type": "host-gw"}},
}
ENDPOINT = "http://192.168.77.11:2379"
OVERHEAD = {4: 28, 6: 48 + 20}
"""Bytes of an echo request around its data; flanneld tells the MTU of its IPv4 device, that of its IPv6 one is 20 less."""


@pytest.fixture
def underlay(root: None) -> Iterator[Underlay]:
    """Two nodes on a switch."""
    with Underlay(2) as underlay:
        yield underlay


@pytest.fixture
def etcd(underlay: Underlay, tmp_path: Path) -> Etcd:
    """etcd on the first node, open to the others."""
    listen = ["--listen-client-urls", f"{ENDPOINT},http://127.0.0.1:2381"]
    with underlay.nodes[0].inside():
        return Etcd(underlay.nodes[0], tmp_path, options=listen)


@pytest.fixture
def overlay(underlay: Underlay, etcd: Etcd, tmp_path: Path) -> Overlay:
    """Two nodes on which flanneld can be started."""
    return Overlay(underlay, etcd, tmp_path)


class Overlay:
    """flanneld on every node of an underlay."""

    def __init__(self, underlay: Underlay, etcd: Etcd, logs: Path) -> None:
        self.nodes = underlay.nodes
        self._etcd = etcd
        self._logs = logs

    def start(self, network: str, *words: str) -> dict[str, str]:
        """Configure a network and start flanneld; returns what the first node's subnet file says."""
        with self.nodes[0].inside():
            self._etcd.configure(**NETWORKS[network])
        daemons = [Flanneld(node, ENDPOINT, *words, log=self._logs / f"{node.name}.log") for node in self.nodes]
        return daemons[0].subnet_env()


class Pods:
    """Pods of the network `cbr0` on a node, by one implementation of the flannel plugin."""

    def __init__(self, node: Node, program: Path, path: str) -> None:
        self.node = node
        self.program = program
        self.path = path

    def call(self, verb: str, pod: Container | None, **keys: Any) -> Any:
        """One call; its result."""
        conf = {
            "cniVersion": "1.0.0",
            "name": "cbr0",
            "type": "flannel",
            "delegate": {"isDefaultGateway": True, "hairpinMode": True},
            **keys,
        }
        return self.node.cni(self.program, verb, conf, container=pod, path=self.path).result

    def add(self, pod: Container) -> list[str]:
        """Attach a pod; its addresses."""
        return [ip["address"].partition("/")[0] for ip in self.call("ADD", pod)["ips"]]


def ours(node: Node, plugins: Path) -> Pods:
    """Our plugin and our delegates."""
    return Pods(node, plugins / "flannel", str(plugins))


def theirs(node: Node, reference_bin: Path) -> Pods:
    """Flannel's own plugin and the reference's."""
    return Pods(node, peers.program("flannel"), str(reference_bin))


def reach(source: Container, target: str, mtu: int) -> None:
    """Send the largest packet that the overlay takes in one piece, and no piece more."""
    size = mtu - OVERHEAD[6 if ":" in target else 4]
    ping(source, target)
    source.run(["ping", "-n", "-c1", "-w20", "-M", "do", "-s", str(size), target])
    assert source.run(["ping", "-n", "-c1", "-w5", "-M", "do", "-s", str(size + 1), target], check=False).returncode


@pytest.mark.parametrize("network", NETWORKS)
def test_pods_reach_each_other_through_flannelds_overlay_in_full_packets(
    overlay: Overlay, plugins: Path, *, network: str, nothing_left: NothingLeft
) -> None:
    mtu = int(overlay.start(network, "--ip-masq")["FLANNEL_MTU"])
    first, second = (ours(node, plugins) for node in overlay.nodes)
    one, two = (node.container() for node in overlay.nodes)
    second.add(two)  # once before, so that what a network shares is there
    second.call("DEL", two)
    with nothing_left(overlay.nodes[1]):
        own, addresses = first.add(one), second.add(two)
        assert len(addresses) == 1 + (network == "dual stack")
        for source, target in [*((one, address) for address in addresses), *((two, address) for address in own)]:
            reach(source, target, mtu)
        first.call("DEL", one)
        second.call("DEL", two)


def test_pods_of_both_implementations_share_an_overlay_and_a_node(overlay: Overlay, plugins: Path, reference_bin: Path) -> None:
    overlay.start("IPv4", "--ip-masq")
    makers = [kind(node, where) for node in overlay.nodes for kind, where in ((ours, plugins), (theirs, reference_bin))]
    pods = [maker.node.container(f"pod{number}") for number, maker in enumerate(makers)]
    addresses = [maker.add(pod)[0] for maker, pod in zip(makers, pods, strict=True)]
    for number, pod in enumerate(pods):
        ping(pod, *addresses[:number], *addresses[number + 1 :])
    for pod, other in zip(pods, (makers[1], makers[0], makers[3], makers[2]), strict=True):
        other.call("DEL", pod)


def test_pods_reach_the_world_by_the_bridges_masquerading_where_flanneld_does_none(overlay: Overlay, plugins: Path) -> None:
    assert overlay.start("IPv4")["FLANNEL_IPMASQ"] == "false"
    pod = overlay.nodes[1].container()
    ours(overlay.nodes[1], plugins).add(pod)
    ping(pod, "192.168.77.1")
