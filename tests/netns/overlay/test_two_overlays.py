"""Two overlays on the same nodes: neither touches what is the other's."""

from __future__ import annotations

import pytest

from tests.netns.overlay.keeping import Lines, Listed, Place
from tests.netns.overlay.wire import Wire

FIRST, SECOND = ("net5: brought about: .*entries put in", "net6: brought about: .*entries put in")


@pytest.fixture
def both(places: list[Place], listed: Listed, other: Listed, lines: Lines) -> list[Place]:
    """Two nodes with both."""
    for place in places[:2]:
        place.start(listed.table(), other.table())
        lines.wait_for_all(FIRST, SECOND, "net5.env has", "net6.env has")
    return places[:2]


def test_both_work_each_with_its_own_vni_on_the_wire_and_its_own_subnet_file(both: list[Place]) -> None:
    with Wire(both[1].node, port=8472) as wire:
        for target, vni in (("10.5.2.0", 100), ("10.6.2.0", 101)):
            assert both[0].reaches(target)
            assert wire.vnis() == {vni}
    assert "FLANNEL_SUBNET=10.5.1.1/24\n" in both[0].sh("cat /run/net5.env")
    assert "FLANNEL_SUBNET=10.6.1.1/24\n" in both[0].sh("cat /run/net6.env")


def test_what_breaks_in_one_is_mended_in_that_one_alone(both: list[Place], lines: Lines) -> None:
    index = both[0].ip("link", "show", "vxlan.101")[0]["ifindex"]
    both[0].sh("ip link delete vxlan.100")
    assert lines.wait_for("repaired").startswith("net5: ")
    assert both[0].reaches("10.5.2.0")
    assert both[0].reaches("10.6.2.0")
    assert both[0].ip("link", "show", "vxlan.101")[0]["ifindex"] == index


def test_one_that_is_taken_out_of_the_configuration_leaves_the_other(both: list[Place], listed: Listed, lines: Lines) -> None:
    both[0].stop()
    both[0].start(listed.table())
    lines.wait_for("removed an overlay that is not configured any more")
    assert both[0].reaches("10.5.2.0")
    rules = both[0].sh("nft list table inet cni_plugins")
    assert "10.5.0.0/16" in rules
    assert "10.6." not in rules
    assert [link["ifname"] for link in both[0].ip("link", "show", "type", "vxlan")] == ["vxlan.100"]


def test_a_second_overlay_with_the_first_ones_network_or_vni_is_named_and_harms_nothing(
    both: list[Place], listed: Listed, lines: Lines
) -> None:
    both[0].stop()
    both[0].start(listed.table(), {**listed.table(vni=102), "name": "again", "subnetFile": "/run/again.env"})
    assert "network: 10.5.0.0/16 overlaps 10.5.0.0/16, which is the overlay 'net5'" in lines.wait_for("again: .*overlaps")
    both[0].stop()
    both[0].start(listed.table(), {**listed.table(), "name": "again", "network": "10.5.0.0/16", "subnetFile": "/run/again.env"})
    lines.wait_for("again: .*(vxlan.100 exists already and is not this network's|vni: 100 is in use)")
    assert both[0].reaches("10.5.2.0")


def test_traffic_between_the_overlays_keeps_its_source_and_what_leaves_them_gets_the_nodes(both: list[Place]) -> None:
    first, second = both
    first.sh("ip link add pods5 type bridge; ip address add 10.5.1.1/24 dev pods5; ip link set pods5 up")
    second.sh("ip link add pods6 type bridge; ip address add 10.6.2.1/24 dev pods6; ip link set pods6 up")
    with Wire(second.node, port=8472) as wire:
        first.node.run(["ping", "-c1", "-i0.2", "-w10", "-I", "10.5.1.1", "10.6.2.1"], check=False)
        assert wire.inner_sources(101) == {"10.5.1.1"}
    with Wire(second.node, port=0) as wire:
        first.node.run(["ping", "-c1", "-i0.2", "-w10", "-I", "10.5.1.1", second.address], check=False)
        assert wire.outer_sources("icmp") == {first.address}
