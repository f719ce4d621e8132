"""Ports that the reference's portmap mapped are found, taken for what they are, and taken out: in all three of its forms."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.kernel import iptables
from cni_plugins.kernel.nft import Nft
from cni_plugins.legacy import portmap
from cni_plugins.protocol.attachment import Attachment
from tests.netns.legacy.conftest import Reference
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node

PORTS = [
    {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
    {"hostPort": 8081, "containerPort": 81, "protocol": "udp", "hostIP": "192.0.2.2"},
]


class Mapper:
    """The reference's portmap behind its bridge; `plugins` are ours, on the same node."""

    def __init__(self, reference: Reference, plugins: InProcess) -> None:
        self.reference = reference
        self.plugins = plugins
        earlier = reference.node.container("earlier-with-ports")
        conf = self.add(earlier, ports=[])
        self.delete(earlier, self.conf(conf["prevResult"], PORTS))
        self.add(earlier, ports=PORTS)
        self.delete(earlier, self.conf(conf["prevResult"], PORTS))

    def conf(self, previous: Any, ports: list[dict[str, Any]], network: str = "net") -> dict[str, Any]:
        return {
            "cniVersion": "1.0.0",
            "name": network,
            "type": "portmap",
            "backend": "nftables" if self.reference.variant == "nftables" else "iptables",
            "prevResult": previous,
            "runtimeConfig": {"portMappings": ports},
        }

    def add(self, container: Container, network: str = "net", *, ports: list[dict[str, Any]], ifname: str = "eth0", number: int = 7) -> Any:
        """Bridge and portmap by the reference; returns portmap's configuration."""
        first = self.reference.conf(network, number=number, ipMasq=False)
        previous = self.call("bridge", "ADD", container, first, ifname=ifname).result
        conf = self.conf(previous, ports, network)
        assert self.call("portmap", "ADD", container, conf, ifname=ifname).code == 0
        return conf

    def delete(self, container: Container, conf: dict[str, Any]) -> None:
        """Both, by the reference."""
        assert self.call("portmap", "DEL", container, conf).code == 0
        assert self.call("bridge", "DEL", container, self.reference.conf(conf["name"], ipMasq=False)).code == 0

    def call(self, plugin: str, verb: str, container: Container, conf: dict[str, Any], *, ifname: str = "eth0") -> Any:
        env = {"PATH": f"/run/programs:{os.environ['PATH']}"}
        directory = self.reference.directory
        return self.reference.node.cni(directory / plugin, verb, conf, container=container, ifname=ifname, path=directory, env=env)

    def state(self) -> str:
        return self.reference.state()


@pytest.fixture
def mapper(reference: Reference, tmp_path: Path) -> Mapper:
    """The reference on a node where it has mapped ports before: chains that it never removes are there."""
    return Mapper(reference, InProcess(reference.node, tmp_path))


@pytest.mark.parametrize("keys", [{}, {"prevResult": None, "runtimeConfig": None}])
def test_our_del_takes_out_what_the_reference_mapped_and_nothing_else(mapper: Mapper, node: Node, keys: dict[str, Any]) -> None:
    pod, other = node.container(), node.container("other")
    mapper.add(other, ports=[{**PORTS[0], "hostPort": 9000}])
    before = mapper.state()
    conf = mapper.add(pod, ports=PORTS)
    assert mapper.state() != before
    for _ in range(2):
        mapper.plugins.good("portmap", "DEL", conf | keys, container=pod)
        assert mapper.state() == before


def test_our_check_accepts_what_the_reference_mapped_until_it_is_gone(mapper: Mapper, node: Node) -> None:
    pod = node.container()
    conf = mapper.add(pod, ports=PORTS)
    before = mapper.state()
    mapper.plugins.good("portmap", "CHECK", conf, container=pod)
    assert mapper.state() == before
    assert mapper.call("portmap", "DEL", pod, conf).code == 0
    assert mapper.plugins("portmap", "CHECK", conf, container=pod).error["code"] == 103


def test_the_reference_goes_on_working_after_our_del(mapper: Mapper, node: Node) -> None:
    pod = node.container()
    before = mapper.state()
    conf = mapper.add(pod, ports=PORTS)
    mapper.plugins.good("portmap", "DEL", conf, container=pod)
    assert mapper.call("portmap", "ADD", pod, conf).code == 0
    assert mapper.call("portmap", "CHECK", pod, conf).code == 0
    assert mapper.call("portmap", "DEL", pod, conf).code == 0
    assert mapper.state() == before


def test_the_reference_can_delete_what_we_added_and_we_add_after_it(mapper: Mapper, node: Node) -> None:
    pod = node.container()
    previous = mapper.call("bridge", "ADD", pod, mapper.reference.conf("net", ipMasq=False)).result
    conf = mapper.conf(previous, PORTS)
    mapper.plugins.good("portmap", "ADD", conf, container=pod)
    mapper.delete(pod, conf)
    again = node.container("again")
    mapper.plugins.good("portmap", "ADD", conf, container=again)
    mapper.plugins.good("portmap", "CHECK", conf, container=again)


@pytest.mark.parametrize("reference", ["nftables"], indirect=True)
def test_ports_of_the_same_container_on_another_network_stay(mapper: Mapper, node: Node, nft: Nft) -> None:
    pod = node.container()
    mapper.add(pod, ports=PORTS)
    before = mapper.state()
    conf = mapper.add(pod, "second", ports=[{**PORTS[0], "hostPort": 9000}], ifname="eth1", number=8)
    addresses = [ip["address"].partition("/")[0] for ip in conf["prevResult"]["ips"]]
    item = portmap.find(nft, Attachment("second", pod.id, "eth1"), addresses)
    assert item is not None
    portmap.drop(nft, item)
    assert mapper.state() == before


@pytest.mark.parametrize("reference", ["iptables-nft", "iptables-legacy"], indirect=True)
def test_gc_takes_out_chains_of_vanished_containers_of_its_network_alone(mapper: Mapper, node: Node) -> None:
    kept, gone, foreign = node.container("kept"), node.container("gone"), node.container("foreign")
    mapper.add(kept, ports=[{**PORTS[0], "hostPort": 9000}])
    mapper.add(foreign, "another-net", ports=[{**PORTS[0], "hostPort": 9001}], number=8)
    before = mapper.state()
    conf = mapper.add(gone, ports=PORTS)
    conf["cniVersion"] = "1.1.0"
    mapper.plugins.good("portmap", "GC", conf)
    assert mapper.state() != before
    mapper.plugins.good("portmap", "GC", conf | {"cni.dev/valid-attachments": [{"containerID": kept.id, "ifname": "eth0"}]})
    assert mapper.state() == before


@pytest.mark.parametrize("reference", ["iptables-nft", "iptables-legacy"], indirect=True)
def test_chains_of_very_old_releases_go_too(mapper: Mapper, node: Node, nft: Nft) -> None:
    pod = node.container()
    form = mapper.reference.variant.removeprefix("iptables-")
    program = iptables.program("ip", form)
    assert program is not None
    before = mapper.state()
    conf = mapper.add(pod, ports=PORTS)
    (chain,) = {line.split()[-1] for line in program.chain("CNI-HOSTPORT-DNAT", table="nat") or () if " CNI-DN-" in line}
    old = chain.replace("DN", "SN")
    program.change(["-N CNI-HOSTPORT-SNAT", f"-N {old}", f"-A CNI-HOSTPORT-SNAT -j {old}"], table="nat")
    mapper.plugins.good("portmap", "DEL", conf, container=pod)
    program.change(["-X CNI-HOSTPORT-SNAT"], table="nat")
    assert mapper.state() == before


def test_nothing_is_found_of_containers_that_it_did_not_add(mapper: Mapper, node: Node, nft: Nft) -> None:
    pod = node.container()
    mapper.add(pod, ports=PORTS)
    for network, container_id in (("net2", pod.id), ("net", f"{pod.id}0"), ("net", 'x"; flush ruleset')):
        found = portmap.find(nft, Attachment(network, container_id, "eth0"), ["10.99.0.1"])
        assert found is None
