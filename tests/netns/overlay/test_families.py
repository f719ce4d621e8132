"""Kept overlays of IPv6, of both families, and without tunnels; and what crosses the border of an overlay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.netns.overlay.keeping import Lines, Listed, Place, subnet
from tests.netns.overlay.wire import Wire
from tests.support.underlay import Underlay

V6 = "fd00:5:0:%d::"


@pytest.fixture
def both_families(underlay: Underlay, tmp_path: Path) -> Listed:
    """The first two nodes with a subnet of each family."""
    listed = Listed(tmp_path)
    v4 = [(own[0], subnet(number)) for number, own in enumerate(underlay.addresses[:2], 1)]
    v6 = [(own[1], V6 % number + "/64") for number, own in enumerate(underlay.addresses[:2], 1)]
    listed.write([*v4, *v6])
    return listed


def start(places: list[Place], lines: Lines, table: dict[str, Any]) -> None:
    """Keep an overlay on the first two nodes."""
    for place in places[:2]:
        place.start(table)
        lines.wait_for_all("net5: brought about: .*(entry|entries) put in", "net5.env has ")


def reaches6(place: Place, target: str, size: int) -> bool:
    """Whether a packet of so many bytes gets there and back in one piece."""
    return place.node.run(["ping", "-6", "-c1", "-i0.2", "-w10", "-M", "do", "-s", str(size - 48), target], check=False).returncode == 0


def test_nodes_reach_each_other_in_both_families_and_the_subnet_file_names_both(
    places: list[Place], both_families: Listed, lines: Lines
) -> None:
    start(places, lines, both_families.table(ipv6Network="fd00:5::/48"))
    assert places[0].reaches("10.5.2.0")
    assert reaches6(places[0], V6 % 2, 1430)
    text = places[0].sh("cat /run/net5.env")
    assert "FLANNEL_SUBNET=10.5.1.1/24\n" in text
    assert "FLANNEL_IPV6_SUBNET=fd00:5:0:1::1/64\n" in text
    assert "FLANNEL_MTU=1430\n" in text


def test_what_is_knocked_over_in_one_family_is_put_back_in_that_one(places: list[Place], both_families: Listed, lines: Lines) -> None:
    start(places, lines, both_families.table(ipv6Network="fd00:5::/48"))
    index = places[0].ip("link", "show", "vxlan.100")[0]["ifindex"]
    places[0].sh("ip link delete vxlan6.100")
    lines.wait_for("repaired: VXLAN device vxlan6.100 is gone.*vxlan6.100 is made anew, 3 entries put in$")
    assert reaches6(places[0], V6 % 2, 1430)
    assert places[0].ip("link", "show", "vxlan.100")[0]["ifindex"] == index


def test_ipv6_alone(places: list[Place], both_families: Listed, lines: Lines) -> None:
    table = both_families.table(ipv6Network="fd00:5::/48")
    del table["network"]
    start(places, lines, table)
    assert reaches6(places[0], V6 % 2, 1430)
    assert places[0].ip("link", "show", "type", "vxlan")[0]["ifname"] == "vxlan6.100"


def test_an_overlay_without_tunnels_is_kept_as_well(places: list[Place], listed: Listed, lines: Lines) -> None:
    start(places, lines, listed.table(backend="host-gw"))
    places[1].sh("ip link add pods type bridge; ip address add 10.5.2.1/24 dev pods; ip link set pods up")
    assert places[0].reaches("10.5.2.1", size=1500)
    places[0].sh(f"ip route del {subnet(2)}")
    lines.wait_for("repaired: peer 192.168.77.12 with 10.5.2.0/24: no route to it via 192.168.77.12: 1 entry put in$")
    assert places[0].reaches("10.5.2.1", size=1500)
    assert places[0].ip("link", "show", "type", "vxlan") == []


def test_what_comes_in_from_outside_for_another_nodes_pods_comes_back_the_same_way(
    underlay: Underlay, places: list[Place], listed: Listed, lines: Lines
) -> None:
    start(places, lines, listed.table())
    places[0].sh("echo 1 > /proc/sys/net/ipv4/ip_forward")
    places[1].sh("ip link add pods type bridge; ip address add 10.5.2.1/24 dev pods; ip link set pods up")
    underlay.hub.run(["ip", "route", "add", subnet(2), "via", places[0].address])
    with Wire(places[1].node, port=8472) as wire:
        assert underlay.hub.run(["ping", "-c1", "-i0.2", "-w10", "10.5.2.1"], check=False).returncode == 0
        assert wire.inner_sources(100) == {"10.5.1.0"}


def test_without_ipmasq_what_comes_in_keeps_its_source(underlay: Underlay, places: list[Place], listed: Listed, *, lines: Lines) -> None:
    start(places, lines, listed.table(ipMasq=False))
    places[0].sh("echo 1 > /proc/sys/net/ipv4/ip_forward")
    underlay.hub.run(["ip", "route", "add", subnet(2), "via", places[0].address])
    with Wire(places[1].node, port=8472) as wire:
        underlay.hub.run(["ping", "-c1", "-i0.2", "-w10", "10.5.2.0"], check=False)
        assert wire.inner_sources(100) == {"192.168.77.1"}


def test_ipmasq_that_is_switched_off_masquerades_nothing_any_more(places: list[Place], listed: Listed, lines: Lines) -> None:
    start(places, lines, listed.table())
    places[0].stop()
    lines.forget()
    places[0].start(listed.table(ipMasq=False))
    lines.wait_for("net5.env has")
    assert "FLANNEL_IPMASQ=false\n" in places[0].sh("cat /run/net5.env")
    rules = places[0].sh("nft list table inet cni_plugins")
    assert rules.count("10.5.0.0/16") == 2, "it is one of the overlays, and let through; no more"
    assert "10.5.1.0/24" not in rules
