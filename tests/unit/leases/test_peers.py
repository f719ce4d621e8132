"""From leases to peers: one that is wrong is named and left out, and the others work."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest

from vxlan.leases.network import NetworkConfig
from vxlan.leases.peers import Peer, peers_of
from vxlan.leases.schema import Attributes, Lease, Subnets, Vtep


def network(**keys: Any) -> NetworkConfig:
    """A configuration."""
    return NetworkConfig.parse(json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}, **keys}), source="here")


def lease(number: int, **more: Any) -> Lease:
    """The lease of 10.5.`number`.0/24 by 192.168.77.`number`."""
    subnets = Subnets(IPv4Network(f"10.5.{number}.0/24"))
    values: dict[str, Any] = {"public_ip": IPv4Address(f"192.168.77.{number}"), "vtep": Vtep(1, f"02:00:00:00:00:{number:02x}"), **more}
    return Lease(subnets.key, subnets, Attributes(**values))


OURS = lease(1)
TWO = Peer("10.5.2.0/24", "192.168.77.2", "02:00:00:00:00:02", "10.5.2.0-24")


@pytest.mark.parametrize(
    ("odd", "problem"),
    [
        (Lease("10.5.3.0-24", Subnets(IPv4Network("10.5.3.0/24")), problem="a lease's value is not JSON"), "a lease's value is not JSON"),
        (lease(3, backend="host-gw", vtep=None), "its back end is host-gw, not vxlan"),
        (lease(3, vtep=None), "it does not say how 10.5.3.0/24 is reached"),
        (lease(3, public_ip=None), "it does not say how 10.5.3.0/24 is reached"),
        (lease(3, public_ip=IPv4Address("192.168.77.1")), "it has this node's address, 192.168.77.1"),
        (Lease("10.9.3.0-24", Subnets(IPv4Network("10.9.3.0/24")), lease(3).attributes), "10.9.3.0/24 is not in the network"),
        (Lease("twin", OURS.subnets, lease(3).attributes), "10.5.1.0-24 has 10.5.1.0/24 already"),
        (Lease("twin", lease(2).subnets, lease(3).attributes), "10.5.2.0-24 has 10.5.2.0/24 already"),
    ],
)
def test_a_lease_that_makes_no_peer_is_named_and_the_others_work(odd: Lease, problem: str) -> None:
    peers, problems = peers_of(network(), OURS, [odd, lease(2), OURS])
    assert peers == (TWO,)
    assert problems == (f"the lease {odd.key} is left out: {problem}",)


def test_a_reservation_without_its_node_is_no_problem() -> None:
    reserved = lease(3, backend="", vtep=None)
    assert peers_of(network(), OURS, [reserved, lease(2)]) == ((TWO,), ())


def test_a_dual_stack_node_is_two_peers_and_one_family_where_we_have_one() -> None:
    subnets = Subnets(IPv4Network("10.5.2.0/24"), IPv6Network("fd05:2::/64"))
    both = Lease("two", subnets, Attributes(IPv4Address("192.168.77.2"), IPv6Address("fd77::2"), "host-gw"))
    dual = network(EnableIPv6=True, IPv6Network="fd05::/16", Backend={"Type": "host-gw"})
    peers, _ = peers_of(dual, OURS, [both])
    assert peers == (Peer("10.5.2.0/24", "192.168.77.2", "", "two"), Peer("fd05:2::/64", "fd77::2", "", "two"))


def test_a_node_with_two_leases_is_reached_for_both() -> None:
    peers, problems = peers_of(network(), OURS, [lease(2), lease(3, public_ip=IPv4Address("192.168.77.2"))])
    assert [(peer.subnet, peer.node) for peer in peers] == [("10.5.2.0/24", "192.168.77.2"), ("10.5.3.0/24", "192.168.77.2")]
    assert problems == ()
