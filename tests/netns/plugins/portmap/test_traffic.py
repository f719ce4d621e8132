"""Whoever asks a mapped port of the node is answered by the container: with real packets, through every kind of mapping."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.netns.plugins.portmap.talk import KINDS, PATIENCE, addresses, attach, client, detach, network, port, sees, server
from tests.support.inprocess import InProcess
from tests.support.netns import Container, Outside
from tests.support.node import Node

PROTOCOLS = list(KINDS)


@pytest.fixture
def outside(node: Node) -> Outside:
    """A host that reaches the node and knows nothing of pods."""
    return node.outside()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("plugin", ["bridge", "ptp"])
def test_a_host_outside_is_answered_and_seen_as_itself(
    plugins: InProcess, node: Node, pod: Container, outside: Outside, *, plugin: str, protocol: str
) -> None:
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    net = network(type=plugin, isDefaultGateway=False, isGateway=True, ipam=network()["ipam"] | {"routes": routes})
    attach(plugins, pod, port(8080, 80, protocol), net=net)
    with server(pod, 80, protocol) as listening:
        for there, here in zip(outside.addresses, outside.node_addresses, strict=True):
            assert sees(listening, outside, here, 8080) == there


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_node_is_answered_on_127_0_0_1_and_on_its_own_addresses(
    plugins: InProcess, node: Node, pod: Container, outside: Outside, *, protocol: str
) -> None:
    attach(plugins, pod, port(8080, 80, protocol))
    with server(pod, 80, protocol) as listening:
        assert sees(listening, node, "127.0.0.1", 8080) == "10.1.0.1", "nobody can answer to 127.0.0.1 but the node itself"
        for here in outside.node_addresses:
            assert sees(listening, node, here, 8080) == here


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("filtered", [False, True])
def test_a_pod_reaches_itself_and_its_neighbour_through_the_node(
    plugins: InProcess, node: Node, pod: Container, other: Container, *, outside: Outside, filtered: bool, protocol: str
) -> None:
    """Where what is bridged passes the node's firewall, a mapping turns packets round on their port: that takes hairpinMode."""
    for family in ("ip", "ip6"):
        Path(f"/proc/sys/net/bridge/bridge-nf-call-{family}tables").write_text(f"{filtered:d}")
    net = network(hairpinMode=filtered)
    attach(plugins, pod, port(8080, 80, protocol), net=net)
    attach(plugins, other, net=net)
    with server(pod, 80, protocol) as listening:
        for here, gateway in zip(outside.node_addresses, ("10.1.0.1", "fd00:1::1"), strict=True):
            for asker in (pod, other):
                assert sees(listening, asker, here, 8080) == gateway


def test_a_pod_of_another_network_is_seen_as_itself(
    plugins: InProcess, node: Node, pod: Container, other: Container, *, outside: Outside
) -> None:
    attach(plugins, pod, port(8080, 80))
    far = network(
        name="far", bridge="far0", ipam={"type": "host-local", "ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd00:9::/64"}]]}
    )
    theirs = addresses(attach(plugins, other, net=far))
    with server(pod, 80) as listening:
        for here, family in zip(outside.node_addresses, (4, 6), strict=True):
            assert sees(listening, other, here, 8080) == theirs[family]


def test_masqall_hides_every_sender(plugins: InProcess, node: Node, pod: Container, outside: Outside) -> None:
    attach(plugins, pod, port(8080, 80), masqAll=True)
    with server(pod, 80) as listening:
        for here, gateway in zip(outside.node_addresses, ("10.1.0.1", "fd00:1::1"), strict=True):
            assert sees(listening, outside, here, 8080) == gateway
        assert sees(listening, node, "127.0.0.1", 8080) == "10.1.0.1"


def test_without_snat_every_sender_is_seen_and_127_0_0_1_is_not_routed(
    plugins: InProcess, node: Node, pod: Container, outside: Outside
) -> None:
    attach(plugins, pod, port(8080, 80), snat=False)
    with server(pod, 80) as listening:
        assert sees(listening, outside, outside.node_addresses[0], 8080) == outside.addresses[0]
        assert node.run(["sysctl", "-n", "net.ipv4.conf.cni0.route_localnet"]).stdout.strip() == "0"


def test_one_address_of_the_node_wins_over_any(
    plugins: InProcess, node: Node, pod: Container, other: Container, *, outside: Outside
) -> None:
    node.run(["ip", "address", "add", "192.0.2.77/24", "dev", "outside"])
    specific = attach(plugins, pod, port(8080, 80, hostIP="192.0.2.77"))
    attach(plugins, other, port(8080, 80))
    with server(pod, 80) as listening:
        sees(listening, outside, "192.0.2.77", 8080)
    with server(other, 80) as listening:
        sees(listening, outside, "192.0.2.2", 8080)
        detach(plugins, pod, specific)
        sees(listening, outside, "192.0.2.77", 8080)


def test_an_address_of_a_family_that_the_pod_lacks_is_skipped(plugins: InProcess, node: Node, pod: Container, outside: Outside) -> None:
    net = network(ipam={"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]]})
    attach(plugins, pod, port(8080, 80, hostIP="2001:db8::2"), port(8081, 80, hostIP="0.0.0.0"), port(8082, 80, hostIP="::"), net=net)
    with server(pod, 80) as listening:
        sees(listening, outside, "192.0.2.2", 8081)
        for number in (8080, 8082):
            with pytest.raises(ConnectionRefusedError), client(outside, "192.0.2.2", number):
                pass


def test_the_unspecified_address_means_its_family_alone(plugins: InProcess, node: Node, pod: Container, outside: Outside) -> None:
    attach(plugins, pod, port(8080, 80, hostIP="0.0.0.0"), port(8081, 80, hostIP="::"))
    with server(pod, 80) as listening:
        sees(listening, outside, "192.0.2.2", 8080)
        sees(listening, outside, "2001:db8::2", 8081)
    for address, number in (("2001:db8::2", 8080), ("192.0.2.2", 8081)):
        with pytest.raises(ConnectionRefusedError), client(outside, address, number):
            pass


def test_many_ports_of_one_pod_all_lead_to_it(plugins: InProcess, node: Node, pod: Container, outside: Outside) -> None:
    conf = attach(plugins, pod, *(port(9000 + number, 80) for number in range(200)))
    with server(pod, 80) as listening:
        for number in (9000, 9113, 9199):
            sees(listening, outside, "192.0.2.2", number)
    detach(plugins, pod, conf)
    assert "elements" not in node.run(["nft", "list", "table", "inet", "cni_plugins"]).stdout


def test_rules_of_somebody_else_do_not_take_a_mapped_port_away(plugins: InProcess, node: Node, pod: Container, outside: Outside) -> None:
    attach(plugins, pod, port(8080, 80))
    theirs = "add chain ip theirs in { type nat hook prerouting priority -100; }; add rule ip theirs in tcp dport 8080 dnat to 192.0.2.99:1"
    node.run(["nft", f"add table ip theirs; {theirs}"])
    with server(pod, 80) as listening:
        sees(listening, outside, "192.0.2.2", 8080)


def test_what_is_forwarded_through_the_node_is_not_taken_for_its_own(
    plugins: InProcess, node: Node, pod: Container, other: Container, *, outside: Outside
) -> None:
    attach(plugins, pod, port(80, 80))
    attach(plugins, other, net=network(ipMasq=True))
    with server(outside, 80) as listening:
        sees(listening, other, outside.addresses[0], 80)


def test_a_pod_does_not_reach_what_listens_on_the_node_s_127_0_0_1(
    plugins: InProcess, node: Node, pod: Container, outside: Outside
) -> None:
    attach(plugins, pod, port(8080, 80, "udp"))
    assert node.run(["sysctl", "-n", "net.ipv4.conf.cni0.route_localnet"]).stdout.strip() == "1"
    pod.run(["ip", "route", "add", "127.0.0.1/32", "via", "10.1.0.1", "dev", "eth0", "table", "9"])
    pod.run(["ip", "rule", "add", "priority", "0", "to", "127.0.0.1", "dport", "7777", "table", "9"])
    pod.run(["ip", "rule", "delete", "table", "local"])
    pod.run(["ip", "rule", "add", "priority", "5", "table", "local"])
    pod.run(["sysctl", "-q", "net.ipv4.conf.all.route_localnet=1"])
    with server(node, 7777, "udp") as listening, client(pod, "127.0.0.1", 7777, "udp", source="10.1.0.2") as asking:
        asking.socket.send(b"question")
        assert not listening.asked()
        with client(pod, "10.1.0.1", 7777, "udp") as fair:
            listening.seen(fair)
        node.run(["nft", "flush", "chain", "inet", "cni_plugins", "localnet"])
        asking.socket.send(b"question")
        assert listening.asked(within=PATIENCE), "this test does not see what it is about"
