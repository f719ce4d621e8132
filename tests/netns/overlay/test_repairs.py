"""Whatever is knocked over on a node, its overlay works again at once, and the log says what was found and what was done."""

from __future__ import annotations

import re

import pytest

from tests.netns.overlay.keeping import Lines, Listed, Place, subnet
from tests.support.underlay import Underlay

VTEP = "10.5.2.0"
MAC = "$(bridge fdb show dev vxlan.100 | grep -o '^[0-9a-f:]*' | head -n1)"

BREAKS = {
    "the device is deleted": ("ip link delete vxlan.100", "VXLAN device vxlan.100 is gone.*: vxlan.100 is made anew, 3 entries put in$"),
    "the device is down": ("ip link set vxlan.100 down", "vxlan.100 is down.*: vxlan.100 is mended"),
    "the link flaps": ("ip link set vxlan.100 down; ip link set vxlan.100 up", "no route to it via 10.5.2.0: 1 entry put in$"),
    "the MAC is another one": ("ip link set vxlan.100 address 02:00:00:00:00:99", "has the address 02:00:00:00:00:99, not .*mended"),
    "the MTU is another one": ("ip link set vxlan.100 mtu 1300", "has an mtu of 1300, not 1450: vxlan.100 is mended$"),
    "the address is removed": ("ip address flush dev vxlan.100", "vxlan.100 lacks the address 10.5.1.0/32"),
    "the FDB entry is removed": (f"bridge fdb del {MAC} dev vxlan.100", "its FDB entry .* is missing: 1 entry put in$"),
    "the FDB entry leads elsewhere": (
        f"bridge fdb replace {MAC} dev vxlan.100 dst 192.168.77.99",
        "its FDB entry .* leads to 192.168.77.99.*: 1 entry put in, 1 entry taken out$",
    ),
    "the neighbour is removed": (f"ip neigh del {VTEP} dev vxlan.100", "its neighbour entry 10.5.2.0 is missing: 1 entry put in$"),
    "the neighbour is another one": (
        f"ip neigh replace {VTEP} dev vxlan.100 lladdr 02:00:00:00:00:99 nud permanent",
        "its neighbour 10.5.2.0 is at 02:00:00:00:00:99, not .*: 1 entry put in$",
    ),
    "the route is removed": (f"ip route del {subnet(2)}", "peer 192.168.77.12 with 10.5.2.0/24: no route to it via 10.5.2.0: 1 entry"),
    "a route of ours that is no peer's": (
        f"ip route add {subnet(9)} via {VTEP} dev vxlan.100 onlink proto 110",
        "the route to 10.5.9.0/24 is no peer's: 1 entry taken out$",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_knocked_over_is_back_and_one_line_says_what_it_was(pair: list[Place], lines: Lines, name: str) -> None:
    command, expected = BREAKS[name]
    assert pair[0].reaches(VTEP)
    pair[0].sh(command)
    line = lines.wait_for("repaired")
    if "flaps" not in name:  # down and up may be seen as one change or as two
        assert re.search(expected, line), line
    assert pair[0].reaches(VTEP)


def test_what_somebody_else_has_added_stays(pair: list[Place], lines: Lines) -> None:
    pair[0].sh("ip route add 10.77.0.0/16 dev vxlan.100; ip route add 10.5.99.0/24 via 192.168.77.12 dev eth0")
    pair[0].sh(f"ip route del {subnet(2)}")
    lines.wait_for("repaired")
    routes = {route["dst"] for route in pair[0].ip("route")}
    assert {"10.77.0.0/16", "10.5.99.0/24", subnet(2)} <= routes


def test_a_node_whose_address_changes_is_reached_at_the_new_one(pair: list[Place], listed: Listed, lines: Lines) -> None:
    listed.write([("192.168.77.21", subnet(1)), (pair[1].address, subnet(2))])
    lines.wait_for_all("has no subnet of IPv4 for 192.168.77.11", "brought about: peer 192.168.77.21 .* entries put in")
    pair[0].sh("ip address del 192.168.77.11/24 dev eth0; ip address add 192.168.77.21/24 dev eth0")
    repaired = "repaired: .*sends from 192.168.77.11, not 192.168.77.21.*made anew, 3 entries put in"
    lines.wait_for_all("reach this one at 192.168.77.21", repaired)
    assert pair[0].reaches(VTEP)


def test_an_underlay_that_is_gone_and_comes_back_has_the_overlay_again(pair: list[Place], underlay: Underlay, lines: Lines) -> None:
    pair[0].sh("ip link set eth0 name away; ip link delete vxlan.100")
    lines.wait_for("the node has no interface 'eth0'")
    pair[0].sh("ip link set away name eth0; ip link set eth0 up")
    lines.wait_for("repaired: VXLAN device vxlan.100 is gone")
    assert pair[0].reaches(VTEP)


def test_the_mtu_follows_the_underlay(pair: list[Place], lines: Lines) -> None:
    pair[0].sh("ip link set eth0 mtu 1400")
    lines.wait_for("repaired: .*has an mtu of 1450, not 1350")
    lines.wait_for("net5.env has 10.5.1.0/24 with an MTU of 1350 bytes")
    assert "FLANNEL_MTU=1350\n" in pair[0].sh("cat /run/net5.env")
    assert pair[0].reaches(VTEP, size=1350)


def test_a_peer_that_makes_no_sense_keeps_no_other_from_being_reached(pair: list[Place], listed: Listed, lines: Lines) -> None:
    good = [(place.address, subnet(place.number)) for place in pair]
    listed.write([("192.168.77.66", subnet(1)), *good, ("192.168.77.67", "10.6.0.0/24"), ("192.168.77.68", subnet(3))])
    lines.wait_for("joined: peer 192.168.77.68 with 10.5.3.0/24")
    lines.wait_for("brought about: ")
    assert pair[0].reaches(VTEP)


def test_peers_join_and_leave_as_the_file_says(pair: list[Place], places: list[Place], listed: Listed, lines: Lines) -> None:
    first, second = pair
    everybody = [(place.address, subnet(place.number)) for place in places]
    listed.write(everybody)
    for _ in pair:
        lines.wait_for("brought about: peer 192.168.77.13 .*put in")
    places[2].start(listed.table())
    lines.wait_for_all("net5.env has 10.5.3.0/24", "6 entries put in")
    assert first.reaches("10.5.3.0")
    assert second.reaches("10.5.3.0")
    listed.write(everybody[:2])
    for _ in pair:
        lines.wait_for("brought about: .*taken out")
    assert subnet(3) not in {route["dst"] for route in first.ip("route")}
    assert first.reaches(VTEP)


def test_a_file_that_is_gone_or_nonsense_changes_nothing(pair: list[Place], listed: Listed, lines: Lines) -> None:
    listed.path.write_text("[{")
    lines.wait_for("this is not JSON|peersFile")
    pair[0].sh("ip link delete vxlan.100")
    lines.wait_for("repaired: ")
    assert pair[0].reaches(VTEP)


def test_an_agent_that_starts_again_finds_everything_as_it_is(pair: list[Place], listed: Listed, lines: Lines) -> None:
    index = pair[0].ip("link", "show", "vxlan.100")[0]["ifindex"]
    pair[0].stop()
    assert pair[0].reaches(VTEP)
    lines.forget()
    pair[0].start(listed.table())
    lines.wait_for("this node has 10.5.1.0/24")
    pair[0].sh(f"ip route del {subnet(2)}")
    line = lines.wait_for("no route to it")  # so it has looked
    assert line.endswith(": 1 entry put in")
    assert pair[0].ip("link", "show", "vxlan.100")[0]["ifindex"] == index


def test_an_overlay_that_is_not_configured_any_more_is_removed(pair: list[Place], listed: Listed, lines: Lines) -> None:
    pair[0].stop()
    pair[0].start()
    lines.wait_for("removed an overlay that is not configured any more")
    pair[0].stop()
    assert (
        pair[0].sh("ip -o link show type vxlan; ip route show proto 110; ls /run/net5.env /run/cni-plugins/overlay-state/* 2>&- || true")
        == ""
    )
    assert "10.5." not in pair[0].sh("nft list table inet cni_plugins")


def test_an_overlay_with_another_vni_leaves_nothing_of_the_first(pair: list[Place], listed: Listed, lines: Lines) -> None:
    for place in pair:
        place.stop()
        place.start({**listed.table(), "vni": 101})
        lines.wait_for("vxlan.100 is of an earlier configuration.*vxlan.101 is made anew, 3 entries put in")
    assert pair[0].reaches(VTEP)
    assert [link["ifname"] for link in pair[0].ip("link", "show", "type", "vxlan")] == ["vxlan.101"]
