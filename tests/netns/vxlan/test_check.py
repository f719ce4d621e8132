"""CHECK names each piece of an overlay that was knocked over, and the next ADD puts it back; STATUS says what stands in an ADD's way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.protocol.ip import parse_address
from conformance import ledger
from tests.netns.vxlan.overlay import FAMILIES, Member, address, reaches
from tests.support.underlay import Underlay
from vxlan.peerlist import vtep_mac

PEER = "192.168.77.12"
MAC = vtep_mac(parse_address(PEER), 100)
MAC6 = vtep_mac(parse_address("fd77::12"), 100)
_LINK_LOCAL = r"\S+ (address|route) fe80:.*"


def drift(member: Member, pod: Any) -> str:
    """What CHECK says; it must say something, and change nothing."""
    before = member.node.ledger()
    said = member.check(pod)
    assert ledger.diff(before, member.node.ledger(), ignore=(_LINK_LOCAL,)) == []
    assert said, "CHECK found nothing"
    return said


TUNNELS = [
    ("ip link delete vxlan.100", ["vxlan.100 is gone", f"peer {PEER}", "10.5.2.0"]),
    ("ip link delete vxlan6.100", ["vxlan6.100 is gone", "peer fd77::12"]),
    ("ip link set vxlan.100 down", ["vxlan.100 is down"]),
    ("ip link set vxlan.100 mtu 1300", ["vxlan.100", "1300", "1450"]),
    ("ip link set vxlan.100 address 02:00:00:00:00:77", ["vxlan.100", "02:00:00:00:00:77"]),
    ("ip link set vxlan.100 alias mine", ["vxlan.100 does not bear the mark"]),
    ("ip address delete 10.5.1.0/32 dev vxlan.100", ["vxlan.100 lacks the address 10.5.1.0/32"]),
    ("ip address delete fd00:5:0:1::/128 dev vxlan6.100", ["vxlan6.100 lacks the address fd00:5:0:1::/128"]),
    ("ip route delete 10.5.2.0/24", [f"peer {PEER} with 10.5.2.0/24: no route to it via 10.5.2.0"]),
    ("ip -6 route delete fd00:5:0:2::/64", ["peer fd77::12", "no route"]),
    ("ip route add 10.5.9.0/24 via 10.5.9.0 dev vxlan.100 onlink proto 110", ["route to 10.5.9.0/24 is no peer's"]),
    ("ip neighbour delete 10.5.2.0 dev vxlan.100", [f"peer {PEER}", "neighbour entry 10.5.2.0 is missing"]),
    ("ip -6 neighbour delete fd00:5:0:2:: dev vxlan6.100", ["peer fd77::12", "neighbour entry fd00:5:0:2:: is missing"]),
    ("ip neighbour replace 10.5.2.0 lladdr 02:00:00:00:00:77 dev vxlan.100 nud permanent", [f"peer {PEER}", "02:00:00:00:00:77", MAC]),
    ("ip neighbour add 10.5.9.0 lladdr 02:00:00:00:00:77 dev vxlan.100 nud permanent", ["neighbour 10.5.9.0 at 02:00:00:00:00:77"]),
    (f"bridge fdb delete {MAC} dev vxlan.100", [f"peer {PEER}", f"FDB entry {MAC} is missing"]),
    (f"bridge fdb delete {MAC6} dev vxlan6.100", ["peer fd77::12", f"FDB entry {MAC6} is missing"]),
    (f"bridge fdb replace {MAC} dst 192.168.77.99 dev vxlan.100 self permanent", [f"peer {PEER}", "192.168.77.99"]),
    ("bridge fdb append 00:00:00:00:00:00 dst 192.168.77.99 dev vxlan.100 self permanent", ["192.168.77.99 is no peer's"]),
    ("bridge fdb add 02:00:00:00:00:77 dst 192.168.77.99 dev vxlan.100 self permanent", ["02:00:00:00:00:77", "no peer's"]),
    ("ip link set vxlan.100 type vxlan learning", ["vxlan.100 learns addresses"]),
    ("ip link delete vxbr100", ["vxbr100 is gone"]),
    ("ip address delete 10.5.1.1/24 dev vxbr100", ["vxbr100 lacks the gateway address 10.5.1.1/24"]),
    ("nft delete element inet cni_plugins overlays4 '{ 10.5.0.0/16 }'", ["nftables: 10.5.0.0/16"]),
    ("nft delete element inet cni_plugins overlay_pods6 '{ fd00:5:0:1::/64 }'", ["nftables: fd00:5:0:1::/64"]),
    ("nft flush ruleset", ["nftables"]),
    ("nft flush chain inet cni_plugins overlays; nft delete chain inet cni_plugins overlays", ["nftables: everything"]),
    ("ip link set eth0 mtu 1400", ["vxlan.100 has an mtu of 1450, not 1350"]),
    ("ip address delete 192.168.77.11/24 dev eth0; ip address add 192.168.77.50/24 dev eth0", ["192.168.77.11, not 192.168.77.50"]),
    ("ip link set eth0 name lan0", ["underlay: the node has no interface 'eth0'"]),
    ("echo 0 > /proc/sys/net/ipv4/ip_forward", ["ip_forward"]),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "names"), TUNNELS)
def test_each_piece_that_is_knocked_over_is_named(member: Member, harm: str, names: list[str]) -> None:
    member.keys = {"ipMasq": True}
    pod = member.pod()
    assert member.check(pod) == ""
    member.sh(harm)
    said = drift(member, pod)
    assert not [name for name in names if name not in said], said


@pytest.mark.parametrize("harm", [harm for harm, _ in TUNNELS if not any(word in harm for word in ("vxbr100", "eth0", "alias"))])
def test_what_was_knocked_over_is_put_back_by_the_next_add(pair: list[Member], harm: str) -> None:
    member, other = pair
    member.keys = {"ipMasq": True}
    far, pod = other.pod(), member.pod()
    member.sh(harm)
    again = member.pod("again")
    assert member.check(again) == ""
    assert member.check(pod) == ""
    for family in member.families:
        assert reaches(pod, address(other, far, family), mtu=1430)


def test_device_that_differs_in_what_cannot_be_changed_is_made_anew(pair: list[Member]) -> None:
    member, other = pair
    far, pod = other.pod(), member.pod()
    member.sh(
        "ip link delete vxlan.100;"
        "ip link add vxlan.100 type vxlan id 100 dev eth0 local 192.168.77.11 dstport 4789 nolearning;"
        f"ip link set vxlan.100 alias '{_alias(member)}'"
    )
    said = drift(member, pod)
    assert "vxlan.100 has the UDP port 4789, not 8472" in said
    assert member.check(member.pod("again")) == ""
    assert reaches(pod, address(other, far, 4), mtu=1430)


def _alias(member: Member) -> str:
    return str(member.ip("link", "show", "vxlan6.100")[0]["ifalias"])


@pytest.fixture
def gateway(root: None, tmp_path: Path) -> Iterator[Member]:
    """A node of a host-gw overlay."""
    with Underlay(2) as underlay:
        underlay.nodes[0].enter()
        member = Member(underlay, 1, tmp_path / "1", families=FAMILIES["dual"])
        member.keys = {"backend": "host-gw"}
        yield member


@pytest.mark.parametrize(
    ("harm", "names"),
    [
        ("ip route delete 10.5.2.0/24", [f"peer {PEER} with 10.5.2.0/24: no route to it via {PEER}"]),
        ("ip route add 10.5.9.0/24 via 192.168.77.99 dev eth0 proto 110", ["route to 10.5.9.0/24 is no peer's"]),
        ("ip route replace 10.5.2.0/24 via 192.168.77.99 dev eth0 proto 110", ["leads via 192.168.77.99", "no route"]),
        ("ip link add vxlan.100 type vxlan id 100 dev eth0 dstport 8472; ip link set vxlan.100 alias ALIAS", ["vxlan.100 is there"]),
    ],
)
def test_host_gw_names_and_mends_routes(gateway: Member, harm: str, names: list[str]) -> None:
    pod = gateway.pod()
    alias = gateway.ip("link", "show", "vxbr100")[0]["ifalias"]
    gateway.sh(harm.replace("ALIAS", f"'{alias}'"))
    said = drift(gateway, pod)
    assert not [name for name in names if name not in said], said
    gateway.pod("again")
    assert gateway.check(pod) == ""


def test_routes_of_others_are_left_alone(member: Member) -> None:
    """Only what carries our mark is pruned: the number of our routes, the alias of our devices."""
    pod = member.pod()
    member.sh("ip route add 10.5.9.0/24 via 192.168.77.12 dev eth0 proto static; ip route add 10.9.0.0/24 via 192.168.77.12 proto 110")
    assert member.check(pod) == ""
    member.pod("again")
    assert {"10.5.9.0/24", "10.9.0.0/24"} <= {route["dst"] for route in member.ip("route", "show")}


def test_switching_the_back_end_moves_every_peer(pair: list[Member]) -> None:
    for backend in ("host-gw", "vxlan", "host-gw"):
        for member in pair:
            member.keys = {"backend": backend}
            member.pod(f"{backend}{len(member.results)}")
        member, other = pair
        pod = member.node.containers[list(member.results)[-1]]
        far = other.node.containers[list(other.results)[-1]]
        assert member.check(pod) == ""
        assert reaches(pod, address(other, far, 4), mtu=1400)


def test_peers_that_come_and_go_in_the_file_are_followed_at_each_add(member: Member) -> None:
    with member.node.inside():
        peers = Path("/run/peers.json")
    member.keys = {"peers": None, "peersFile": str(peers)}
    peers.write_text("[]")
    pod = member.pod()
    assert member.ip("route", "show", "proto", "110") == []
    peers.write_text(json.dumps(member.peers()))
    assert f"peer {PEER}" in drift(member, pod)
    again = member.pod("again")
    assert member.check(again) == ""
    assert [route["dst"] for route in member.ip("route", "show", "proto", "110")] == ["10.5.2.0/24"]
    peers.write_text("[]")
    member.pod("third")
    assert member.ip("route", "show", "proto", "110") == []
    assert [entry for entry in member.ip("neighbour", "show", "dev", "vxlan.100") if "PERMANENT" in entry["state"]] == []
    assert member.sh("bridge fdb show dev vxlan.100 | grep permanent || true") == ""


BAD = [
    ({"node": "192.168.77.13"}, "subnet is missing"),
    ({"node": "nowhere", "subnet": "10.5.3.0/24"}, "'nowhere' is not an IP address"),
    ({"node": "192.168.77.13", "subnet": "10.5.3.0/24", "mac": "01:00:00:00:00:01"}, "multicast"),
    ("peer", "is not an object"),
    ({"node": "192.168.77.13", "subnet": "10.99.3.0/24"}, "is not a part of 10.5.0.0/16"),
    ({"node": "192.168.77.13", "subnet": "10.5.2.128/25"}, "10.5.2.0/24 of 192.168.77.12 is there too"),
    ({"node": "192.168.77.13", "subnet": "10.5.1.0/24"}, "overlaps this node's own"),
    ({"node": "fd77::13", "subnet": "10.5.3.0/24"}, "family"),
    ({"node": "192.168.77.13", "subnet": "10.5.3.0/24", "mac": MAC}, "VXLAN device too"),
]


@pytest.mark.parametrize(("bad", "named"), BAD)
def test_bad_peer_in_the_file_is_named_and_keeps_nobody_from_the_others(pair: list[Member], bad: Any, named: str) -> None:
    member, other = pair
    far = other.pod()
    with member.node.inside():
        peers = Path("/run/peers.json")
    peers.write_text(json.dumps([bad, *member.peers()]))
    member.keys = {"peers": None, "peersFile": str(peers)}
    pod = member.pod()
    assert reaches(pod, address(other, far, 4), mtu=1430)
    assert named in drift(member, pod)


def test_peer_that_the_kernel_refuses_keeps_nobody_from_the_others(pair: list[Member]) -> None:
    member, other = pair
    far = other.pod()
    member.keys = {"peers": [{"node": "192.168.77.13", "subnet": "10.5.3.0/24"}, *member.peers()]}
    member.sh("ip route add 10.5.3.0/24 via 192.168.77.1 dev eth0 proto static")
    pod = member.pod()
    assert reaches(pod, address(other, far, 4), mtu=1430)
    assert "peer 192.168.77.13 with 10.5.3.0/24: no route" in drift(member, pod)
    assert "proto static" in member.sh("ip route show 10.5.3.0/24")


REFUSED: list[tuple[str, dict[str, Any], str, int]] = [
    ("true", {"underlay": "eth7"}, "underlay: the node has no interface 'eth7'", 7),
    ("ip address flush dev eth0", {}, "eth0 has no IPv4 address, which 10.5.0.0/16 needs", 7),
    ("true", {"node": "192.168.77.99"}, "node: eth0 does not have the address 192.168.77.99", 7),
    ("true", {"mtu": 1460}, "mtu: 1460 does not fit through eth0, which has room for 1450", 7),
    ("true", {"peers": None, "peersFile": "/run/none"}, "peersFile: /run/none does not exist", 7),
    ("ip link add vxlan.100 type bridge", {}, "vxlan.100 exists already and is not this network's", 102),
    ("ip link add flannel.100 type vxlan id 100 dev eth0 local 192.168.77.11 dstport 8472", {}, "vni: 100 is in use by flannel.100", 102),
    ("ip link add vxbr100 type vxlan id 7 dev eth0 dstport 99", {}, "vxbr100", 102),
    ("true", {"peers": [{"node": "192.168.77.12", "subnet": "10.5.1.0/24"}]}, "overlaps this node's own", 7),
    ("true", {"backend": "host-gw", "peers": [{"node": "192.168.99.12", "subnet": "10.5.2.0/24"}]}, "not on the link of eth0", 7),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "keys", "message", "code"), REFUSED)
def test_what_cannot_work_is_refused_before_anything_is_changed(
    member: Member, *, harm: str, keys: dict[str, Any], message: str, code: int
) -> None:
    member.sh(harm)
    pod = member.node.container("pod")
    before = member.node.ledger()
    error = member.call("ADD", pod, **keys).error
    assert (message in error["msg"], error["code"]) == (True, code), error
    assert ledger.diff(before, member.node.ledger(), ignore=(r"node file /run/cni-plugins(/lock)?", _LINK_LOCAL)) == []
    status = member.call("STATUS", **keys).error
    assert (message in status["msg"], status["code"]) == (True, 50), status


def test_two_networks_cannot_have_one_overlay(member: Member) -> None:
    member.pod()
    error = member.call("ADD", member.node.container("other"), name="blue", vni=200).error
    assert "network: 10.5.0.0/16 overlaps 10.5.0.0/16, which is the overlay 'net'" in error["msg"]
    error = member.call("ADD", member.node.container("third"), name="blue", overlay=6).error
    assert "vxlan.100 exists already and is not this network's" in error["msg"]
