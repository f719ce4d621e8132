"""`cnictl gc NETWORK` removes what is not in use of one network: leases that a reboot left, and what the reference plugins left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.cli import clearing
from cni_plugins.cli.context import Context
from cni_plugins.cli.held import Held
from cni_plugins.cli.inventory import Entry
from cni_plugins.kernel import calls
from conformance import ledger
from tests.netns.cli.breaking import WAYS, vanished
from tests.netns.cli.conftest import Cnictl, configure
from tests.netns.cli.test_leases import foreign
from tests.netns.plugins.networks import RECORDS, full_bridge, host_local, leases, records
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node

OLD = 1_000_000_000


def aged(file: Path) -> Path:
    """The same lease, taken long ago."""
    os.utime(file, (OLD, OLD))
    return file


@pytest.mark.parametrize("way", [way for way in WAYS if way != "mark without record"])
def test_gc_removes_exactly_what_its_dry_run_lists(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, other: Container, node: Node, way: str
) -> None:
    plugins.good("bridge", "ADD", conf, container=other)
    living = node.ledger()
    plugins.good("bridge", "ADD", conf, container=pod)
    WAYS[way](pod)
    aged(foreign("10.1.0.77", "gone"))
    before = node.ledger()
    foretold = cnictl("gc", "net", "--dry-run")
    assert ledger.diff(before, node.ledger()) == [], "a dry run changed something"
    collected = cnictl("gc", "net")
    assert (collected.status, collected.lines) == (0, foretold.lines)
    assert vanished(node.ledger(), living) == []
    assert cnictl("gc", "net").lines == []


def test_gc_keeps_what_is_in_use_though_its_record_is_lost(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, node: Node
) -> None:
    plugins.good("bridge", "ADD", conf, container=pod)
    WAYS["mark without record"](pod)
    before = node.ledger()
    assert cnictl("gc", "net").lines == []
    assert ledger.diff(before, node.ledger()) == []


def test_after_a_reboot_gc_frees_every_lease(cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container) -> None:
    plugins.good("bridge", "ADD", conf, container=pod)
    pod.delete()
    shutil.rmtree(RECORDS)
    plugins.node.run(["nft", "flush", "ruleset"])
    for lease in leases():
        aged(Path("/var/lib/cni/networks/net", lease))
    assert cnictl("gc", "net").status == 0
    assert leases() == set()


def test_gc_leaves_other_networks_and_other_plugins_containers_alone(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, other: Container, node: Node
) -> None:
    plugins.good("bridge", "ADD", full_bridge(name="red", ipam=host_local("10.2.0.0/24")), container=pod)
    pod.delete()
    other.run(["ip", "link", "add", "eth0", "type", "bridge"])
    other.run(["ip", "address", "add", "10.1.0.7/24", "dev", "eth0"])
    aged(foreign("10.1.0.7", "theirs"))
    before = node.ledger()
    assert cnictl("gc", conf["name"]).lines == []
    assert ledger.diff(before, node.ledger()) == []


def test_gc_waits_until_a_lease_without_an_interface_cannot_be_an_add_under_way(
    cnictl: Cnictl, conf: dict[str, Any], pod: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(seconds: float) -> None:
        assert seconds <= 2
        pod.run(["ip", "link", "add", "eth0", "type", "bridge"])
        pod.run(["ip", "address", "add", "10.1.0.7/24", "dev", "eth0"])

    foreign("10.1.0.7", pod.id)
    monkeypatch.setattr(calls, "sleep", meanwhile)
    printed = cnictl("gc", conf["name"])
    assert printed.lines == []
    assert "is not stale any more" in printed.remarks
    assert leases() == {"10.1.0.7"}


def test_gc_does_not_delete_what_was_added_again_while_it_worked(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = clearing.remove_stale

    def remove_stale(context: Context, entry: Entry, locks: Held) -> None:
        real(context, entry, locks)
        plugins.good("bridge", "ADD", conf, container=pod)

    plugins.good("bridge", "ADD", conf, container=pod)
    WAYS["unfinished"](pod)
    monkeypatch.setattr(clearing, "remove_stale", remove_stale)
    printed = cnictl("gc", "net")
    assert (printed.status, printed.lines) == (0, [])
    assert "left alone" in printed.remarks
    assert cnictl("attachments").lines[1].endswith("live")


def test_gc_removes_what_the_reference_plugins_left_of_a_container_that_is_gone(
    cnictl: Cnictl, plugins: InProcess, *, pod: Container, other: Container, node: Node, reference_bin: Path
) -> None:
    conf = configure(full_bridge(ipMasqBackend="nftables"))
    assert node.cni(reference_bin / "bridge", "ADD", conf, container=other, path=reference_bin).result
    before = node.ledger()
    assert node.cni(reference_bin / "bridge", "ADD", conf, container=pod, path=reference_bin).result
    pod.delete()
    for lease in leases():
        aged(Path("/var/lib/cni/networks/net", lease))
    foretold = cnictl("gc", "net", "--dry-run")
    assert sum("of the reference plugins" in line for line in foretold.lines) == 2
    assert cnictl("gc", "net").lines == foretold.lines
    assert vanished(node.ledger(), before) == []


def test_gc_of_a_network_that_is_not_configured_is_an_error(cnictl: Cnictl, node: Node) -> None:
    printed = cnictl("gc", "nowhere")
    assert (printed.status, printed.lines) == (1, [])
    assert "no file in /etc/cni/net.d configures a network 'nowhere'" in printed.remarks


def test_plugins_that_are_not_ours_are_named(cnictl: Cnictl) -> None:
    configure(full_bridge(), {"type": "frobnicate"})
    printed = cnictl("gc", "net")
    assert printed.status == 0
    assert "frobnicate is not one of these plugins" in printed.remarks


def test_a_configuration_of_an_old_version_is_collected_too(cnictl: Cnictl, plugins: InProcess, pod: Container) -> None:
    conf = configure(full_bridge(version="0.4.0"))
    plugins.good("bridge", "ADD", conf, container=pod)
    pod.delete()
    assert cnictl("gc", "net").status == 0
    assert not records()
    assert not leases()
