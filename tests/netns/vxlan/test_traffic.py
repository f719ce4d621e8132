"""Pods of two and three nodes reach each other at full size, in both families, by tunnels and by plain routes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from tests.netns.vxlan.overlay import FAMILIES, OVERHEAD, Member, address, mtu_of, reaches
from tests.support.underlay import Underlay

Members = Callable[..., list[Member]]


@pytest.fixture
def members(root: None, tmp_path: Path) -> Iterator[Members]:
    """Makes the nodes of an overlay."""
    made: list[Underlay] = []

    def make(count: int, *, families: tuple[int, ...] = (4,), **how: Any) -> list[Member]:
        made.append(Underlay(count, **how))
        return [Member(made[0], number, tmp_path / str(number), families=families) for number in range(1, count + 1)]

    yield make
    for underlay in made:
        underlay.__exit__(None, None, None)


def everybody_reaches_everybody(members: list[Member], *, mtu: int) -> None:
    pods = [(member, member.pod(), member.pod("second")) for member in members]
    for member, first, second in pods:
        assert mtu_of(first) == mtu
        for family in member.families:
            assert reaches(first, address(member, second, family), mtu=mtu)
    for (one, pod, _), (other, target, _) in permutations(pods, 2):
        for family in one.families:
            assert reaches(pod, address(other, target, family), mtu=mtu), f"{one.node.name} to {other.node.name} over IPv{family}"


@pytest.mark.parametrize("kind", list(FAMILIES))
def test_pods_of_three_nodes_reach_each_other_at_full_mtu(members: Members, kind: str) -> None:
    families = FAMILIES[kind]
    everybody_reaches_everybody(members(3, families=families), mtu=1500 - max(OVERHEAD[family] for family in families))


@pytest.mark.parametrize("kind", list(FAMILIES))
def test_host_gw_gives_pods_the_whole_mtu_of_the_underlay(members: Members, kind: str) -> None:
    nodes = members(3, families=FAMILIES[kind])
    for member in nodes:
        member.keys = {"backend": "host-gw"}
    everybody_reaches_everybody(nodes, mtu=1500)
    assert not nodes[0].ip("link", "show", "type", "vxlan")


@pytest.mark.parametrize("kind", list(FAMILIES))
def test_direct_routing_uses_tunnels_only_where_a_router_is_between(members: Members, kind: str) -> None:
    families = FAMILIES[kind]
    first, second, far = nodes = members(3, families=families, routed=[3])
    for member in nodes:
        member.keys = {"directRouting": True}
    everybody_reaches_everybody(nodes, mtu=1500 - max(OVERHEAD[family] for family in families))
    for family in families:
        device = "vxlan6.100" if family == 6 else "vxlan.100"
        routes = {route["dst"]: (route["dev"], route["gateway"]) for route in first.ip(f"-{family}", "route", "show", "proto", "110")}
        assert {dev for dev, _ in routes.values()} == {"eth0", device}
        direct = [gateway for dev, gateway in routes.values() if dev == "eth0"]
        assert direct == [second.addresses[1][family == 6]]
    assert len(far.ip("route", "show", "proto", "110")) == (2 if 4 in families else 0)


def test_mtu_follows_a_small_and_a_jumbo_underlay(members: Members) -> None:
    everybody_reaches_everybody(members(2, families=(4,), mtu=9000), mtu=8950)


def test_own_mac_addresses_of_peers_are_used_where_they_are_given(members: Members) -> None:
    """A peer that runs flanneld has an address that its kernel made up."""
    ours, theirs = members(2)
    away = theirs.pod()
    pod = ours.pod()
    (device,) = ours.ip("link", "show", "vxlan.100")
    theirs.sh("ip link set vxlan.100 address 02:00:00:00:00:99")
    theirs.sh(f"ip neighbour replace 10.5.1.0 lladdr {device['address']} dev vxlan.100 nud permanent")  # Linux has flushed it
    assert not reaches(pod, address(theirs, away, 4), mtu=1450, within=1)
    peers = [{**peer, "mac": "02-00-00-00-00-99"} if peer["node"] == ours.addresses[1][0] else peer for peer in ours.peers()]
    ours.keys = {"peers": peers}
    other = ours.pod("other")
    assert reaches(other, address(theirs, away, 4), mtu=1450)
    assert ours.check(other) == ""


@pytest.mark.parametrize("kind", ["v4", "v6"])
def test_pods_are_masqueraded_to_the_outside_and_nowhere_in_an_overlay(members: Members, kind: str) -> None:
    """Two overlays side by side: what goes from one to the other keeps its source, what leaves both gets the node's."""
    (family,) = families = FAMILIES[kind]
    first, second = members(2, families=families)
    for member in (first, second):
        member.keys = {"ipMasq": True}
    blue = {"name": "blue", "vni": 200, "overlay": 6}
    pod = first.pod()
    red, other = second.pod(), second.pod("blue", **blue)
    first.pod("first-blue", **blue)
    watched = [(red, address(second, red, family)), (other, address(second, other, family))]
    for target, its_address in watched:
        assert _seen_by(target, pod, its_address) == address(first, pod, family)
    assert _seen_by(first.hub, pod, "fd77::1" if family == 6 else "192.168.77.1") == first.addresses[0][family == 6]


def _seen_by(target: Any, pod: Any, its_address: str) -> str:
    """The source address that a packet from a pod arrives with."""
    listener = target.popen(["python3", "-c", _ECHO, its_address])
    assert listener.stdout.readline() == "listening\n"
    pod.run(["python3", "-c", _SAY, its_address])
    return str(listener.stdout.readline().strip())


_ECHO = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as listener:
    listener.bind((sys.argv[1], 9999))
    print("listening", flush=True)
    print(listener.recvfrom(100)[1][0], flush=True)
"""
_SAY = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as socket:
    socket.sendto(b"hello", (sys.argv[1], 9999))
"""
