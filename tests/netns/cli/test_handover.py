"""`cnictl handover` gives a node back to the reference plugins: their rules come first, what is stale goes, what stays is named."""

from __future__ import annotations

import errno
import re
import socket
from typing import Any

from conformance import ledger
from tests.netns.cli.breaking import vanished
from tests.netns.cli.conftest import Cnictl
from tests.netns.plugins.networks import network, records
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node

OURS = """\
table inet cni_plugins {
  map ports { type inet_proto . inet_service : ipv4_addr . inet_service; }
  set ports_owner { type ipv6_addr . inet_proto . inet_service; }
  chain prerouting {
    type nat hook prerouting priority -101; policy accept;
    dnat ip to meta l4proto . th dport map @ports comment "by port"
  }
  chain output {
    type nat hook output priority -101; policy accept;
    ip daddr 127.0.0.0/8 tcp dport 80 counter dnat ip to 127.0.0.1:1001
  }
  chain forward { type filter hook forward priority -10; policy accept; }
}
"""
THEIRS = """\
table ip theirs {
  chain output { type nat hook output priority -100; policy accept; tcp dport 80 counter dnat to 127.0.0.1:1002; }
}
"""


def load(node: Node, rules: str) -> None:
    """Load nftables rules."""
    node.run(["nft", "-f", "-"], input=rules)


def priorities(node: Node) -> dict[str, int]:
    """The priority of each of our base chains."""
    listing = node.run(["nft", "-y", "list", "table", "inet", "cni_plugins"]).stdout
    return {name: int(priority) for name, priority in re.findall(r"chain (\S+) {\s+type \w+ hook \w+ priority (-?\d+);", listing)}


def counted(node: Node) -> dict[str, int]:
    """How many new connections the rule with a counter has decided about, in each table."""
    tables = node.run(["nft", "list", "ruleset"]).stdout.split("\ntable ")
    return {
        table.removeprefix("table ").split()[1]: int(found[1]) for table in tables if (found := re.search(r"counter packets (\d+)", table))
    }


def winner(node: Node) -> set[str]:
    """Whose rule decides about a new connection to port 80."""
    before = counted(node)
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", 80)) == errno.ECONNREFUSED
    return {table for table, packets in counted(node).items() if packets > before[table]}


def test_after_a_handover_the_reference_wins_and_after_its_undo_we_do(cnictl: Cnictl, node: Node) -> None:
    load(node, OURS + THEIRS)
    assert winner(node) == {"cni_plugins"}
    before = node.ledger()
    assert cnictl("handover").status == 0
    assert priorities(node) == {"prerouting": -99, "output": -99, "forward": -10}
    assert winner(node) == {"theirs"}
    assert cnictl("handover", "--undo").status == 0
    assert winner(node) == {"cni_plugins"}
    assert ledger.diff(before, node.ledger()) == []


def test_an_add_after_a_handover_takes_the_node_back(
    cnictl: Cnictl, plugins: InProcess, *, pod: Container, other: Container, node: Node
) -> None:
    for container, port in ((pod, {"hostPort": 8080}), (other, {"hostPort": 8081, "hostIP": "127.0.0.1"})):
        result = plugins.good("bridge", "ADD", network(isGateway=True), container=container)
        mapping = {"portMappings": [{"containerPort": 80, "protocol": "tcp", **port}]}
        plugins.good("portmap", "ADD", network("portmap", prevResult=result, runtimeConfig=mapping), container=container)
        assert priorities(node)["hostports_in"] == -101
        assert cnictl("handover").status == 0
        assert priorities(node)["hostports_in"] == -99


def test_a_dry_run_says_what_moves_and_moves_nothing(cnictl: Cnictl, node: Node) -> None:
    load(node, OURS)
    before = node.ledger()
    foretold = cnictl("handover", "--dry-run")
    assert foretold.lines == [
        "chain       inet cni_plugins prerouting  (hook prerouting: priority -101 -> -99)",
        "chain       inet cni_plugins output  (hook output: priority -101 -> -99)",
    ]
    assert ledger.diff(before, node.ledger()) == []
    assert cnictl("handover").lines == foretold.lines
    assert cnictl("handover").lines == []
    assert "every NAT chain is where it should be" in cnictl("handover").remarks


def test_the_stale_goes_and_what_stays_is_named_with_its_reason(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, other: Container, node: Node
) -> None:
    plugins.good("bridge", "ADD", conf, container=other)
    living = node.ledger()
    plugins.good("bridge", "ADD", conf, container=pod)
    pod.delete()
    printed = cnictl("handover")
    assert printed.status == 0
    assert vanished(node.ledger(), living) == []
    assert f"stays: net/{other.id}/eth0: in use. " in printed.remarks
    assert "except for masquerade, spoofcheck, which `cnictl sweep` takes then" in printed.remarks
    assert pod.id not in printed.remarks
    assert len(records()) == 1


def test_pods_of_ours_go_with_the_references_del_and_a_sweep(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, node: Node, reference_bin: Any
) -> None:
    plugins.good("bridge", "ADD", conf, container=node.container("first"))
    before = node.ledger()
    result = plugins.good("bridge", "ADD", conf, container=pod)
    assert cnictl("handover").status == 0
    assert node.cni(reference_bin / "bridge", "DEL", conf | {"prevResult": result}, container=pod, path=reference_bin).code == 0
    assert cnictl("sweep").status == 0
    assert vanished(node.ledger(), before) == []


def test_a_node_without_anything_of_ours_is_given_back_as_it_is(cnictl: Cnictl, node: Node) -> None:
    before = node.ledger()
    for arguments in (["handover"], ["handover", "--undo"]):
        assert (cnictl(*arguments).status, cnictl(*arguments).lines) == (0, [])
    assert ledger.diff(before, node.ledger()) == []
