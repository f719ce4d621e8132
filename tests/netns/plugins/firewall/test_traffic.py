"""Packets of pods pass where the node drops what it forwards, and only they."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.netns.plugins.firewall.conftest import V4, V6, Pods, drop_forwarded, is_dropped, passes, programs
from tests.support.netns import Container, Outside
from tests.support.node import Node

VARIANTS = ("nft", "legacy")
DROP = """
table inet somebody {
    chain forward {
        type filter hook forward priority 0; policy drop;
        meta mark and 0x1000 == 0x1000 counter accept
    }
}
"""


def save(node: Node, program: str) -> str:
    """What iptables-save says, without counters and times."""
    lines = node.run([f"{program}-save"]).stdout.split("\n")
    return "\n".join(line.partition(" [")[0] for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_pods_reach_each_other_and_the_outside_where_iptables_drops(
    node: Node, pods: Pods, *, pod: Container, other: Container, outside: Outside, variant: str
) -> None:
    drop_forwarded(node, variant)
    mine, theirs = pods.add(pod), pods.add(other, 2)
    for family in (V4, V6):
        beyond = outside.addresses[family].partition("/")[0]
        assert passes(pod, other, theirs[family])
        assert passes(other, pod, mine[family])
        assert passes(pod, outside, beyond)
        assert is_dropped(outside, pod, mine[family]), "whom the node's policy keeps out stays out, as with the reference"
    pods.delete(pod)
    assert is_dropped(pod, outside, outside.addresses[V4].partition("/")[0])


@pytest.mark.parametrize("by", ["ours", "reference"])
def test_what_comes_from_outside_through_a_port_mapping_passes(
    node: Node, pods: Pods, *, pod: Container, outside: Outside, by: str, reference_bin: Path
) -> None:
    drop_forwarded(node)
    mine = pods.add(pod, by=reference_bin / "firewall" if by == "reference" else None)
    for word, target in (("ip", mine[V4]), ("ip6", f"[{mine[V6]}]")):
        node.run(["nft", f"add table {word} mapping; add chain {word} mapping in {{ type nat hook prerouting priority -100; }}"])
        node.run(["nft", f"add rule {word} mapping in udp dport 9000 dnat to {target}:8080"])
    for family in (V4, V6):
        entry = outside.node_addresses[family].partition("/")[0]
        assert (passes if by == "ours" else is_dropped)(outside, pod, entry, port=8080, to=9000), "the reference leaves mapped ports closed"


@pytest.mark.parametrize("variant", VARIANTS)
def test_rules_survive_what_iptables_saves_and_restores(node: Node, pods: Pods, *, pod: Container, other: Container, variant: str) -> None:
    drop_forwarded(node, variant)
    pods.add(pod)
    theirs = pods.add(other, 2)
    saved = {program: node.run([f"{program}-save"]).stdout for program in programs(variant)}
    shown = {program: save(node, program) for program in saved}
    for program in saved:
        node.run([f"{program}-restore"], input="*filter\n:FORWARD DROP [0:0]\nCOMMIT\n")
    assert is_dropped(pod, other, theirs[V4])
    for program, text in saved.items():
        node.run([f"{program}-restore"], input=text)
        assert save(node, program) == shown[program]
        assert "CNI-FORWARD" in text
    assert not pods.drift(pod)
    assert all(passes(pod, other, address) for address in theirs)


@pytest.mark.parametrize("name", ["", "MY-OWN"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_users_rules_in_the_admin_chain_are_asked_first(
    node: Node, pods: Pods, *, pod: Container, outside: Outside, variant: str, name: str
) -> None:
    drop_forwarded(node, variant)
    pods.add(pod, iptablesAdminChainName=name or None)
    for program, beyond in zip(programs(variant), outside.addresses, strict=True):
        address = beyond.partition("/")[0]
        assert passes(pod, outside, address)
        node.run([program, "-A", name or "CNI-ADMIN", "-p", "udp", "--dport", "8080", "-d", address, "-j", "DROP"])
        assert is_dropped(pod, outside, address)


def test_second_network_with_an_admin_chain_of_its_own_keeps_the_first(
    node: Node, pods: Pods, *, pod: Container, other: Container, outside: Outside
) -> None:
    drop_forwarded(node)
    pods.add(pod)
    pods.add(other, 2, iptablesAdminChainName="SECOND")
    beyond = outside.addresses[V4].partition("/")[0]
    for chain, port in (("CNI-ADMIN", 8081), ("SECOND", 8082)):
        node.run(["iptables-nft", "-A", chain, "-p", "udp", "--dport", str(port), "-j", "DROP"])
        for container in (pod, other):
            assert is_dropped(container, outside, beyond, port=port)
            assert passes(container, outside, beyond)


def test_one_line_in_somebody_s_own_ruleset_lets_pods_through(
    node: Node, pods: Pods, *, pod: Container, other: Container, outside: Outside
) -> None:
    node.run(["nft", "-f", "-"], input=DROP)
    mine, theirs = pods.add(pod), pods.add(other, 2)
    for family in (V4, V6):
        assert passes(pod, other, theirs[family])
        assert passes(pod, outside, outside.addresses[family].partition("/")[0])
        assert is_dropped(outside, pod, mine[family])


def test_mark_is_seen_by_nobody_behind_the_filters(node: Node, pods: Pods, pod: Container, outside: Outside) -> None:
    pods.add(pod)
    node.run(
        ["nft", "-f", "-"],
        input="""
        table inet watch {
            chain before { type filter hook forward priority -20; }
            chain amid { type filter hook forward priority 0; meta mark 0x1001 counter name amid; }
            chain after { type filter hook postrouting priority 0; meta mark 0x1 counter name after; }
            counter amid { }
            counter after { }
        }
        add rule inet watch before meta mark set 0x1
    """,
    )
    assert all(passes(pod, outside, address.partition("/")[0]) for address in outside.addresses)
    counted = node.run(["nft", "list", "counters"]).stdout
    assert counted.count("packets 4") == 2, counted


@pytest.mark.parametrize("variant", VARIANTS)
def test_policy_that_comes_after_the_pods_finds_them_accepted(
    node: Node, pods: Pods, *, pod: Container, other: Container, variant: str
) -> None:
    for program in programs(variant):
        node.run([program, "-L"])
    pods.add(pod)
    theirs = pods.add(other, 2)
    drop_forwarded(node, variant)
    assert all(passes(pod, other, address) for address in theirs)


def test_node_without_a_filter_table_gets_what_later_comers_need(node: Node, pods: Pods, pod: Container, other: Container) -> None:
    pods.add(pod)
    theirs = pods.add(other, 2)
    for program in ("iptables", "ip6tables"):
        node.run([program, "-P", "FORWARD", "DROP"])
    assert all(passes(pod, other, address) for address in theirs)


def test_both_kinds_of_iptables_at_once_let_pods_through(node: Node, pods: Pods, pod: Container, other: Container) -> None:
    for variant in VARIANTS:
        drop_forwarded(node, variant)
    pods.add(pod)
    theirs = pods.add(other, 2)
    assert all(passes(pod, other, address) for address in theirs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_rules_do_not_grow_with_pods(node: Node, pods: Pods, variant: str) -> None:
    drop_forwarded(node, variant)
    containers = [node.container(f"pod{number}") for number in range(3)]
    pods.add(containers[0])

    def state() -> list[str]:
        listings = [save(node, program) for program in programs(variant)]
        chains = node.run(["nft", "-s", "list", "table", "inet", "cni_plugins"]).stdout
        return [*listings, "\n".join(line for line in chains.split("\n") if "net1/" not in line and " . " not in line)]

    before = state()
    for container in containers[1:]:
        pods.add(container)
    assert state() == before
    for container in containers[1:]:
        pods.delete(container)
    assert state() == before
