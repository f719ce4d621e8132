"""`cnictl overlay`: what it shows of an overlay, and what it says is wrong between two nodes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from cni_plugins.cli import main
from tests.netns.overlay.keeping import Lines, Listed, Place, subnet

Cnictl = Callable[..., tuple[int, str]]
NODE = "192.168.77.12"


@pytest.fixture
def cnictl(pair: list[Place], capsys: pytest.CaptureFixture[str]) -> Iterator[Cnictl]:
    """The command on the first node: its exit status and all that it prints."""

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        status = main(["overlay", *arguments], executable=(0, 0))
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    with pair[0].node.inside():
        yield run


def test_status_shows_nodes_with_their_subnets_and_that_all_is_well(cnictl: Cnictl) -> None:
    status, text = cnictl("status")
    assert status == 0
    assert "overlay net5: vxlan, VNI 100, UDP port 8472, over eth0; leases in static" in text
    assert "this node: 192.168.77.11 with 10.5.1.0/24 of 10.5.0.0/16, MTU 1450" in text
    assert [line.split()[:2] + line.split()[-1:] for line in text.splitlines() if line.startswith(NODE)] == [[NODE, subnet(2), "ok"]]


def test_status_in_json_says_what_differs(cnictl: Cnictl, pair: list[Place]) -> None:
    pair[0].stop()
    pair[0].sh(f"ip route del {subnet(2)}; ip link set vxlan.100 mtu 1200")
    (overlay,) = json.loads(cnictl("status", "--json")[1])
    assert overlay["here"] == [{"network": "10.5.0.0/16", "subnet": subnet(1), "node": "192.168.77.11", "device": "vxlan.100", "mtu": 1450}]
    assert overlay["peers"][0]["state"] == "no route to it via 10.5.2.0"
    assert overlay["differences"] == [
        "vxlan.100 has an mtu of 1200, not 1450",
        f"peer {NODE} with {subnet(2)}: no route to it via 10.5.2.0",
    ]


def test_status_changes_nothing(cnictl: Cnictl, pair: list[Place]) -> None:
    pair[0].stop()
    pair[0].sh("ip link delete vxlan.100")
    assert "differs: VXLAN device vxlan.100 is gone" in cnictl("status")[1]
    assert pair[0].ip("link", "show", "type", "vxlan") == []


@pytest.mark.parametrize("name", [NODE, "10.5.2.7", subnet(2)])
def test_check_finds_a_peer_by_address_by_a_pods_address_and_by_its_lease(cnictl: Cnictl, name: str) -> None:
    assert cnictl("check", name) == (0, f"net5: {NODE} with {subnet(2)}: its VTEP 10.5.2.0 answers packets of 1450 bytes\n")


def test_check_names_a_node_that_is_no_peer(cnictl: Cnictl) -> None:
    assert cnictl("check", "192.168.77.99") == (1, "cnictl: 192.168.77.99 is not a peer of this node in net5\n")


LOSES_FULL_PACKETS = (
    "nft 'add table netdev fw; add chain netdev fw in { type filter hook ingress device %s priority 0; }; "
    "add rule netdev fw in meta length > 1400 drop'"
)
WRONG = {
    "the tunnels' port is rejected": (
        "nft 'add table inet fw; add chain inet fw in { type filter hook input priority 0; }; add rule inet fw in udp dport 8472 reject'",
        "its UDP port 8472 is closed: no overlay with this port runs there, or a firewall rejects it",
    ),
    "the tunnels' port is dropped": (
        "nft 'add table inet fw; add chain inet fw in { type filter hook input priority 0; }; add rule inet fw in udp dport 8472 drop'",
        "it answers on the underlay, but its VTEP 10.5.2.0 does not: UDP port 8472 is blocked, or it does not know this node as its peer",
    ),
    "no overlay runs there": ("ip link delete vxlan.100", "its UDP port 8472 is closed: no overlay with this port runs there"),
    "the node is away": ("ip link set eth0 down", "it does not answer on eth0 either: the node is down, or the way to it is broken"),
    "full packets are lost": (
        LOSES_FULL_PACKETS % "eth0",
        "the underlay does not carry packets of 1500 bytes to it, but small ones: a link between has a smaller MTU than eth0",
    ),
    "full packets are lost in the tunnel": (
        LOSES_FULL_PACKETS % "vxlan.100",
        "packets of 1450 bytes do not get through the tunnel, small ones do: set a smaller mtu for the overlay",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_check_says_what_is_wrong_in_a_sentence(cnictl: Cnictl, pair: list[Place], name: str) -> None:
    command, expected = WRONG[name]
    pair[1].stop()
    pair[1].sh(command)
    status, text = cnictl("check", NODE)
    assert status == 1
    assert text.startswith(f"net5: {NODE} with {subnet(2)}: {expected}")


def test_check_says_what_is_wrong_on_this_node(cnictl: Cnictl, pair: list[Place]) -> None:
    pair[0].stop()
    pair[0].sh(f"ip route del {subnet(2)}")
    assert "this node is not set up for it: no route to it via 10.5.2.0" in cnictl("check", NODE)[1]


def test_without_an_overlay_both_say_so(cnictl: Cnictl, pair: list[Place], listed: Listed, lines: Lines) -> None:
    pair[0].stop()
    pair[0].start()
    lines.wait_for("removed an overlay")
    assert cnictl("status") == (0, "the agent keeps no overlay on this node\n")
    status, text = cnictl("check", NODE)
    assert status == 1
    assert "the agent keeps none on this node" in text
    assert "the agent keeps no overlay 'net5' on this node" in cnictl("status", "net5")[1]
