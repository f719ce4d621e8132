"""Which packets are mapped, by whose mark, and what becomes of UDP flows that began before."""

from __future__ import annotations

import json

import pytest

from conformance import ledger
from tests.netns.plugins.portmap.talk import attach, client, detach, network, port, ports, sees, server
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.shared import SHARED


def test_conditions_say_which_packets_are_mapped(plugins: InProcess, node: Node, pod: Container, other: Container) -> None:
    outside = node.outside()
    node.run(["ip", "address", "add", "192.0.2.77/24", "dev", "outside"])
    attach(plugins, pod, port(8080, 80), conditionsV4=["!", "-d", "192.0.2.77"], conditionsV6=["!", "-s", "2001:db8::1"])
    attach(plugins, other, port(8081, 80), conditionsV4=["ip daddr", "192.0.2.77"])
    with server(pod, 80) as listening:
        sees(listening, outside, "192.0.2.2", 8080)
        sees(listening, node, "2001:db8::2", 8080)
    for address, number in (("192.0.2.77", 8080), ("2001:db8::2", 8080), ("192.0.2.2", 8081)):
        with pytest.raises(ConnectionRefusedError), client(outside, address, number):
            pass
    with server(other, 80) as listening:
        sees(listening, outside, "192.0.2.77", 8081)
        sees(listening, outside, "2001:db8::2", 8081)


def test_a_packet_that_a_specific_mapping_declines_meets_the_wildcard_s(
    plugins: InProcess, node: Node, pod: Container, other: Container
) -> None:
    outside = node.outside()
    attach(plugins, pod, port(8080, 80, hostIP="192.0.2.2"), conditionsV4=["ip saddr 192.0.2.200"])
    attach(plugins, other, port(8080, 80))
    with server(other, 80) as listening:
        sees(listening, outside, "192.0.2.2", 8080)


@pytest.mark.parametrize("words", [["-m", "recent", "--name", "x", "--rcheck"], ["--nonsense"], ["no", "such", "thing"]])
def test_conditions_that_nobody_understands_are_refused_and_leave_nothing(
    plugins: InProcess, node: Node, pod: Container, words: list[str]
) -> None:
    previous = plugins.good("bridge", "ADD", network(), container=pod)
    before = node.ledger()
    error = plugins("portmap", "ADD", ports(port(8080, 80), conditionsV4=words, prevResult=previous), container=pod).error
    assert error["code"] in (7, 100), json.dumps(error)
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


def test_the_mark_is_the_one_that_was_asked_for(plugins: InProcess, node: Node, pod: Container, other: Container) -> None:
    attach(plugins, pod, port(8080, 80), markMasqBit=20)
    assert "0x00100000" in node.run(["nft", "-nn", "list", "table", "inet", "cni_plugins"]).stdout
    assert "0x00002000" not in node.run(["nft", "-nn", "list", "table", "inet", "cni_plugins"]).stdout
    attach(plugins, other, port(8081, 80), externalSetMarkChain="KUBE-MARK-MASQ")
    assert "0x00100000" in node.run(["nft", "-nn", "list", "table", "inet", "cni_plugins"]).stdout
    assert "0x00002000" in node.run(["nft", "-nn", "list", "table", "inet", "cni_plugins"]).stdout
    for container, number in ((pod, 8080), (other, 8081)):
        with server(container, 80) as listening:
            assert sees(listening, node, "127.0.0.1", number) == "10.1.0.1"


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_udp_packets_do_not_go_on_where_they_went_before(
    plugins: InProcess, node: Node, pod: Container, other: Container, *, verb: str
) -> None:
    """A sender that never pauses keeps its flow alive for ever (containernetworking/plugins#1190)."""
    outside = node.outside()
    first = attach(plugins, pod, port(8080, 80, "udp"))
    if verb == "ADD":  # the node itself was asked before, and tracked the packet
        detach(plugins, pod, first)
        with server(node, 8080, "udp") as listening, client(outside, "192.0.2.2", 8080, "udp", source_port=5000) as asking:
            node.run(
                [
                    "nft",
                    "add table inet t; add chain inet t c { type filter hook input priority 0; }; add rule inet t c ct state new accept",
                ]
            )
            listening.seen(asking)
    else:
        with server(pod, 80, "udp") as listening, client(outside, "192.0.2.2", 8080, "udp", source_port=5000) as asking:
            listening.seen(asking)
        detach(plugins, pod, first)
        assert "dport=8080" not in node.run(["conntrack", "-L", "-p", "udp"], check=False).stdout
    attach(plugins, other, port(8080, 80, "udp"))
    with server(other, 80, "udp") as listening, client(outside, "192.0.2.2", 8080, "udp", source_port=5000) as asking:
        listening.seen(asking)


def test_udp_flows_to_other_hosts_and_ports_are_left_alone(plugins: InProcess, node: Node, pod: Container, other: Container) -> None:
    outside = node.outside()
    attach(plugins, other, net=network(ipMasq=True))
    with server(outside, 53, "udp") as dns, client(other, "192.0.2.1", 53, "udp") as asking:
        dns.seen(asking)
        before = node.run(["conntrack", "-L", "-p", "udp"]).stdout
        assert "dport=53" in before
        conf = attach(plugins, pod, port(53, 53, "udp"))
        detach(plugins, pod, conf)
        assert node.run(["conntrack", "-L", "-p", "udp"]).stdout.count("src=") == before.count("src=")
        dns.seen(asking)
