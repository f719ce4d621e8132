"""Masquerading that the reference plugins set up is found and taken out, with any of their back ends."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from cni_plugins.kernel import iptables
from cni_plugins.kernel.nft import Nft
from cni_plugins.legacy import masquerade
from cni_plugins.protocol.attachment import Attachment
from tests.netns.legacy.conftest import Reference
from tests.support.node import Node
from tests.support.paths import REPO

PROGRAM = """
import sys
from cni_plugins.kernel.nft import Nft
from cni_plugins.legacy import masquerade
from cni_plugins.protocol.attachment import Attachment
nft = Nft()
masquerade.drop(nft, masquerade.find(nft, Attachment(*sys.argv[1:])))
"""


def drop(nft: Nft, att: Attachment, addresses: list[str] | None = None) -> None:
    item = masquerade.find(nft, att, addresses or [])
    assert item is not None
    masquerade.drop(nft, item)


def test_nothing_is_left_of_what_the_reference_masqueraded(reference: Reference, node: Node, nft: Nft) -> None:
    pod = node.container()
    before = reference.state()
    att, addresses = reference.add(pod)
    assert reference.state() != before
    drop(nft, att, addresses)
    assert reference.state() == before
    assert masquerade.find(nft, att) is None


def test_nothing_is_left_when_the_addresses_are_not_known_any_more(reference: Reference, node: Node, nft: Nft) -> None:
    pod = node.container()
    before = reference.state()
    att, _ = reference.add(pod)
    drop(nft, att)
    assert reference.state() == before


def test_neighbours_stay_masqueraded(reference: Reference, node: Node, nft: Nft) -> None:
    pod, other = node.container(), node.container("other")
    reference.add(other)
    reference.add(pod, "another-net", "net1", number=8)
    before = reference.state()
    att, addresses = reference.add(pod)
    drop(nft, att, addresses)
    assert reference.state() == before


def test_a_second_interface_on_the_same_network_stays_masqueraded(reference: Reference, node: Node, nft: Nft) -> None:
    pod = node.container()
    before = reference.state()
    eth0, addresses0 = reference.add(pod)
    net1, addresses1 = reference.add(pod, ifname="net1")
    drop(nft, eth0, addresses0)
    state = reference.state()
    assert not [address for address in addresses0 if f"{address} " in state or f"{address}/" in state]
    assert all(address in state for address in addresses1)
    drop(nft, net1, addresses1)
    assert reference.state() == before


def test_the_reference_goes_on_working_after_a_drop(reference: Reference, node: Node, nft: Nft) -> None:
    pod, next_pod = node.container(), node.container("next")
    before = reference.state()
    drop(nft, reference.add(pod)[0])
    reference.delete(pod)
    reference.add(next_pod)
    reference.delete(next_pod)
    assert reference.state() == before


def test_the_runtime_s_log_gets_no_noise(reference: Reference, node: Node) -> None:
    att, _ = reference.add(node.container())
    command = [sys.executable, "-c", PROGRAM, att.network, att.container_id, att.ifname]
    done = node.run(command, env={"PYTHONPATH": str(REPO)})
    assert done.stdout + done.stderr == ""


def test_dropping_twice_is_no_error(reference: Reference, node: Node, nft: Nft) -> None:
    before = reference.state()
    item = masquerade.find(nft, reference.add(node.container())[0])
    assert item is not None
    masquerade.drop(nft, item)
    masquerade.drop(nft, item)
    assert reference.state() == before


def test_dels_at_once_do_not_disturb_each_other(reference: Reference, node: Node) -> None:
    before = reference.state()
    added = [reference.add(node.container(f"pod{number}")) for number in range(3)]

    def delete(att: Attachment, addresses: list[str]) -> None:
        with node.inside():
            nft = Nft()
            item = masquerade.find(nft, att, addresses)
            if item is not None:
                masquerade.drop(nft, item)
            nft.close()

    with ThreadPoolExecutor() as pool:
        for future in [pool.submit(delete, *one) for one in added * 2]:
            future.result()
    assert reference.state() == before


def test_what_a_killed_add_left_is_taken_out_too(reference: Reference, node: Node, nft: Nft) -> None:
    before = reference.state()
    att, addresses = reference.add(node.container())
    for program, address in zip(("iptables", "ip6tables"), addresses, strict=True):
        if reference.variant != "nftables":
            program = f"{program}-{reference.variant.removeprefix('iptables-')}"
            jump = next(line for line in node.run([program, "-t", "nat", "-S"]).stdout.split("\n") if f"-s {address}" in line)
            node.run([f"{program}-restore", "--noflush"], input=f"*nat\n-D{jump.removeprefix('-A')}\nCOMMIT\n")
    drop(nft, att, addresses)
    assert reference.state() == before


def test_other_containers_are_told_from_ours(reference: Reference, node: Node, nft: Nft) -> None:
    pod = node.container()
    reference.add(pod)
    for network, container_id, ifname in (("net", f"{pod.id}0", "eth0"), ("net2", pod.id, "eth0"), ("netp", pod.id[1:] + "p", "eth0")):
        assert masquerade.find(nft, Attachment(network, container_id, ifname)) is None


@pytest.mark.parametrize("reference", ["nftables"], indirect=True)
def test_gc_takes_out_rules_of_vanished_containers_of_its_network_alone(reference: Reference, node: Node, nft: Nft) -> None:
    kept, gone, foreign = node.container("kept"), node.container("gone"), node.container("foreign")
    reference.add(kept)
    reference.add(foreign, "another-net", number=8)
    before = reference.state()
    reference.add(gone)
    item = masquerade.stale(nft, "net", {(kept.id, "eth0")})
    assert item is not None
    masquerade.drop(nft, item)
    assert reference.state() == before
    assert masquerade.stale(nft, "net", {(kept.id, "eth0")}) is None


@pytest.mark.parametrize("reference", ["iptables-legacy"], indirect=True)
def test_a_node_without_the_programs_of_iptables_can_still_delete(
    reference: Reference, node: Node, nft: Nft, monkeypatch: pytest.MonkeyPatch
) -> None:
    att, _ = reference.add(node.container())
    monkeypatch.setattr(iptables, "_DIRECTORIES", ())
    assert masquerade.find(nft, att) is None


def test_looking_on_a_fresh_node_finds_and_makes_nothing(node: Node, nft: Nft) -> None:
    att = Attachment("net", "pod", "eth0")
    assert masquerade.find(nft, att) is None
    assert masquerade.stale(nft, "net", set()) is None
    assert node.run(["nft", "list", "ruleset"]).stdout == ""
    assert node.run(["cat", "/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"]).stdout == ""


def test_names_that_would_be_commands_are_data(node: Node, nft: Nft) -> None:
    hostile = Attachment('net"; flush ruleset; #', "x\nflush ruleset", "$(id)`id`")
    nft.run("add table inet mine")
    assert masquerade.find(nft, hostile) is None
    masquerade.drop(nft, {"rules": [hostile.ifname]})
    assert "mine" in node.run(["nft", "list", "ruleset"]).stdout
