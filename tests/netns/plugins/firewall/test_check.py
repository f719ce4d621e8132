"""CHECK of the firewall plugin finds what somebody took away, and changes nothing."""

from __future__ import annotations

import pytest

from conformance import ledger
from tests.netns.plugins.firewall.conftest import Pods, drop_forwarded, programs
from tests.support.netns import Container
from tests.support.node import Node

TABLE = "inet cni_plugins"
POLICY = "isolated"


def harms(variant: str) -> list[tuple[str, str]]:
    """What is done to the rules of iptables, and what CHECK is to say."""
    found = []
    for program in programs(variant):
        found += [
            (f"{program} -F FORWARD", "CNI-FORWARD"),
            (f"{program} -F CNI-FORWARD", "CNI-ADMIN"),
            (f"{program} -D CNI-FORWARD 2", "0x1000"),
            (f"{program} -D CNI-FORWARD 1", "CNI-ADMIN"),
            (f"{program} -F; {program} -X", "CNI-FORWARD"),
        ]
    return found


@pytest.mark.parametrize(("variant", "harm", "says"), [(variant, *one) for variant in ("nft", "legacy") for one in harms(variant)])
def test_lost_rules_of_iptables(node: Node, pods: Pods, *, pod: Container, variant: str, harm: str, says: str) -> None:
    drop_forwarded(node, variant)
    pods.add(pod)
    assert not pods.drift(pod)
    node.run(["sh", "-c", harm])
    before = node.ledger()
    assert says in pods.drift(pod)
    assert ledger.diff(before, node.ledger()) == []


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("delete element {table} accepted4 {{ 10.1.0.2 }}", "10.1.0.2"),
        ("delete element {table} accepted6 {{ fd00:1::2 }}", "fd00:1::2"),
        ("flush set {table} accepted4_owner", "10.1.0.2"),
        ("flush chain {table} accept_begin", "accept_begin"),
        ("flush chain {table} accept_end", "accept_end"),
        ("delete chain {table} accept_end", "accept_end"),
        ("delete table {table}", "10.1.0.2, fd00:1::2"),
        ("flush ruleset", "10.1.0.2, fd00:1::2"),
        ("flush set {table} bridges", "bridges of br1"),
        ("flush set {table} same", "same of br1"),
        ("flush set {table} closed", "closed of br1"),
        ("flush map {table} holders", "hold"),
        ("flush chain {table} isolation", "@closed"),
        ("flush set bridge cni_plugins isolated", "port veth"),
        ("flush chain bridge cni_plugins isolation", "@isolated"),
        ("delete table bridge cni_plugins", "port veth"),
    ],
)
def test_lost_pieces_of_our_tables(node: Node, pods: Pods, *, pod: Container, harm: str, says: str) -> None:
    pods.add(pod, ingressPolicy=POLICY)
    assert not pods.drift(pod, ingressPolicy=POLICY)
    node.run(["nft", harm.format(table=TABLE)])
    before = node.ledger()
    assert says in pods.drift(pod, ingressPolicy=POLICY)
    assert ledger.diff(before, node.ledger()) == []


def test_one_of_several_rules_that_is_lost(node: Node, pods: Pods, pod: Container) -> None:
    pods.add(pod)
    listing = node.run(["nft", "-a", "list", "chain", "inet", "cni_plugins", "accept_begin"]).stdout
    handles = [line.rpartition(" ")[2] for line in listing.split("\n") if "@accepted" in line]
    assert len(handles) == 6
    node.run(["nft", f"delete rule {TABLE} accept_begin handle {handles[2]}"])
    assert "accept_begin" in pods.drift(pod)


def test_check_on_a_node_that_lost_everything_makes_nothing(node: Node, pods: Pods, pod: Container) -> None:
    pods.add(pod, ingressPolicy=POLICY)
    node.run(["nft", "flush", "ruleset"])
    assert pods.drift(pod, ingressPolicy=POLICY)
    assert node.run(["nft", "list", "ruleset"]).stdout == ""


def test_rules_that_others_added_are_no_drift(node: Node, pods: Pods, pod: Container, other: Container) -> None:
    pods.add(pod)
    node.run(["iptables-nft", "-I", "FORWARD", "-s", "192.0.2.7", "-j", "DROP"])
    node.run(["iptables-nft", "-I", "CNI-FORWARD", "-s", "192.0.2.7", "-j", "DROP"])
    pods.add(other, 2, iptablesAdminChainName="SECOND")
    assert not pods.drift(pod)
