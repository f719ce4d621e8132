"""What the pod's annotation says about a network, as the multi-network specification has it."""

from __future__ import annotations

from cni_plugins.protocol.ip import parse_cidr
from cni_plugins.protocol.result import Interface, Ip, Result, Route
from multus_lite.networks import Network, NetworkList
from multus_lite.status import network_status

INSIDE = "/run/netns/x"


def network(*, master: bool = False) -> Network:
    """A network of which nothing but its names matters."""
    return Network(NetworkList("net", "1.1.0", []), title="ns/net", ifname="net1", master=master)


def test_interface_in_the_container_is_the_one_that_is_told() -> None:
    interfaces = [Interface("br0", mac="aa"), Interface("net1", mac="bb", mtu=1450, sandbox=INSIDE)]
    result = Result(interfaces, ips=[Ip(parse_cidr("10.1.0.2/24"), interface=1)], dns={"nameservers": ["10.1.0.1"]})
    assert network_status(network(), result) == [
        {"name": "ns/net", "interface": "net1", "ips": ["10.1.0.2"], "mac": "bb", "mtu": 1450, "dns": {"nameservers": ["10.1.0.1"]}}
    ]


def test_default_network_and_its_gateways_are_marked() -> None:
    routes = [Route(parse_cidr("0.0.0.0/0"), gw="10.1.0.1"), Route(parse_cidr("10.0.0.0/8"), gw="10.1.0.9")]
    (entry,) = network_status(network(master=True), Result([Interface("eth0", sandbox=INSIDE)], routes=routes))
    assert entry == {"name": "ns/net", "interface": "eth0", "default": True, "dns": {}, "gateway": ["10.1.0.1"]}


def test_network_without_interface_is_told_all_the_same() -> None:
    assert network_status(network(), Result()) == [{"name": "ns/net", "dns": {}}]


def test_several_interfaces_of_a_network_have_their_own_addresses() -> None:
    interfaces = [Interface("a", sandbox=INSIDE), Interface("host"), Interface("b", sandbox=INSIDE)]
    ips = [
        Ip(parse_cidr("10.1.0.2/24"), interface=0),
        Ip(parse_cidr("10.2.0.2/24"), interface=2, gateway="10.2.0.1"),
        Ip(parse_cidr("10.3.0.2/24")),
    ]
    told = network_status(network(master=True), Result(interfaces, ips=ips))
    assert [(one["interface"], one["ips"], one.get("default", False)) for one in told] == [
        ("a", ["10.1.0.2"], False),
        ("b", ["10.2.0.2", "10.3.0.2"], True),
    ]
