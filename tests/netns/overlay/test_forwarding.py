"""What a node forwards from and to an overlay that the agent keeps passes where somebody drops the rest, as with flanneld."""

from __future__ import annotations

import pytest

from tests.netns.overlay.keeping import Lines, Listed, Place, until
from tests.netns.plugins.firewall.conftest import drop_forwarded, programs

VARIANTS = ("nft", "legacy")
DONE = "iptables' filter table lacks .*what is forwarded is let through"


@pytest.fixture
def hosts(pair: list[Place]) -> list[Place]:
    """Two nodes with what takes the place of pods: by plugins of somebody else, of which the agent knows nothing."""
    for place in pair:
        subnet = f"10.5.{place.number}"
        place.node.container("pod")
        place.sh(
            "echo 1 > /proc/sys/net/ipv4/ip_forward; ip link add veth type veth peer name eth0 netns pod;"
            f"ip address add {subnet}.1/24 dev veth; ip link set veth up;"
            f"ip -n pod address add {subnet}.2/24 dev eth0; ip -n pod link set eth0 up; ip -n pod route add default via {subnet}.1"
        )
    return pair


def look(place: Place) -> None:
    """Have the agent look, as it does each minute, and when rules of nftables are deleted."""
    assert place.overlays
    place.overlays.wake()


def is_let_through(hosts: list[Place]) -> bool:
    """Whether the first node's pod gets an answer from the second's."""
    return hosts[0].node.run(["ip", "netns", "exec", "pod", "ping", "-c1", "-W5", "10.5.2.2"], check=False).returncode == 0


def is_kept_back(hosts: list[Place]) -> bool:
    """Whether it gets none."""
    return hosts[0].node.run(["ip", "netns", "exec", "pod", "ping", "-c1", "-W0.5", "10.5.2.2"], check=False).returncode == 1


def accepted(place: Place) -> set[str]:
    """The networks that the node lets through."""
    return {word for word in place.sh("nft list set inet cni_plugins overlay_accepted4").split() if word.startswith("10.")}


def test_a_policy_that_comes_after_the_agent_finds_the_overlay_accepted(hosts: list[Place]) -> None:
    for place in hosts:
        drop_forwarded(place.node)
    assert is_let_through(hosts)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_was_flushed_is_put_back_when_the_agent_looks(hosts: list[Place], lines: Lines, variant: str) -> None:
    for place in hosts:
        drop_forwarded(place.node, variant)
        if variant == "legacy":  # until now there was none of it
            look(place)
            lines.wait_for(DONE)
    assert is_let_through(hosts)
    flush = "nft flush ruleset" if variant == "nft" else f"{programs(variant)[0]} -F FORWARD"
    hosts[0].sh(flush)
    drop_forwarded(hosts[0].node, variant)
    look(hosts[0])
    lines.wait_for(f"repaired: .*{DONE}")
    assert is_let_through(hosts)


def test_without_forwardrules_it_is_left_to_the_nodes_own_rules(hosts: list[Place], listed: Listed) -> None:
    drop_forwarded(hosts[0].node)
    assert is_let_through(hosts)
    hosts[0].start(listed.table(forwardRules=False))
    until(lambda: accepted(hosts[0]) == set(), "the network is let through all the same")
    assert is_kept_back(hosts)


def test_an_overlay_that_is_removed_is_let_through_no_more_and_another_is(
    hosts: list[Place], listed: Listed, other: Listed, lines: Lines
) -> None:
    hosts[0].start(listed.table(), other.table())
    lines.wait_for_all("net6: brought about: .*entries put in", "net6.env has")
    assert accepted(hosts[0]) == {"10.5.0.0/16", "10.6.0.0/16"}
    hosts[0].start(other.table())
    lines.wait_for("removed an overlay that is not configured any more")
    assert accepted(hosts[0]) == {"10.6.0.0/16"}
