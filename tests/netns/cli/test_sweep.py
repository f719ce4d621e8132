"""`cnictl sweep` removes what is stale, exactly what `--dry-run` lists, and nothing else."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.cli.held import Held
from cni_plugins.kernel import calls
from cni_plugins.kernel.nfnetlink import Nfnetlink
from cni_plugins.kernel.rtnl import NetlinkError
from cni_plugins.plan import removal
from cni_plugins.plan.locks import AttachmentLock
from cni_plugins.plan.plugin import Plugin
from cni_plugins.plan.world import World
from cni_plugins.protocol.attachment import Attachment
from conformance import ledger
from tests.netns.cli.breaking import WAYS, netns_gone, record_of, unfinished, vanished
from tests.netns.cli.conftest import Cnictl
from tests.netns.plugins.networks import LEASES, RECORDS, full_bridge, host_local, leases, network, records
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node


def names_in(line: str) -> list[str]:
    """What a line of the list names: the words of the thing's name that a ledger shows."""
    what, name = line.partition("  (")[0].split(None, 1)
    return name.split()[1:] if what in ("record", "draft") else name.split()


@pytest.mark.parametrize("way", WAYS)
def test_dry_run_lists_what_a_sweep_removes_and_the_ledger_agrees(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, other: Container, node: Node, way: str
) -> None:
    for container in (pod, other):
        plugins.good("bridge", "ADD", conf, container=container)
    WAYS[way](pod)
    before = node.ledger()
    foretold = cnictl("sweep", "--dry-run")
    assert foretold.lines
    assert all(way in line for line in foretold.lines)
    assert ledger.diff(before, node.ledger()) == [], "a dry run changed something"
    swept = cnictl("sweep")
    assert (swept.status, swept.lines) == (0, foretold.lines)
    gone = vanished(before, node.ledger())
    for line in swept.lines:
        assert any(all(name in thing for name in names_in(line)) for thing in gone), f"not removed: {line}"
    for thing in gone:
        assert any(name in thing for line in swept.lines for name in names_in(line)), f"not listed: {thing}"
    assert cnictl("sweep").lines == []


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_of_what_was_stale_and_the_living_keep_all(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, other: Container, node: Node, way: str
) -> None:
    result = plugins.good("bridge", "ADD", conf, container=other)
    before = node.ledger()
    plugins.good("bridge", "ADD", conf, container=pod)
    WAYS[way](pod)
    cnictl("sweep")
    assert vanished(node.ledger(), before) == []
    plugins.good("bridge", "CHECK", conf | {"prevResult": result}, container=other)


def test_sweep_of_a_healthy_node_changes_nothing(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, node: Node
) -> None:
    plugins.good("bridge", "ADD", conf, container=pod)
    plugins.good("loopback", "ADD", network("loopback"), container=pod, ifname="lo")
    before = node.ledger()
    assert cnictl("sweep").lines == []
    assert ledger.diff(before, node.ledger()) == []


def test_sweep_goes_over_every_network_configured_or_not(cnictl: Cnictl, plugins: InProcess, pod: Container, other: Container) -> None:
    plugins.good("bridge", "ADD", full_bridge(name="red", ipam=host_local("10.2.0.0/24")), container=pod)
    plugins.good("ptp", "ADD", network("ptp", name="blue", ipMasq=True, ipam=host_local("10.3.0.0/24")), container=other)
    for container in (pod, other):
        container.delete()
    assert cnictl("sweep").status == 0
    assert not records()
    assert not leases("red")
    assert not leases("blue")


def test_leases_below_a_directory_of_their_own_are_listed_too(cnictl: Cnictl, plugins: InProcess, pod: Container) -> None:
    conf = full_bridge(ipam=host_local("10.2.0.0/24", dataDir="/run/leases"))
    plugins.good("bridge", "ADD", conf, container=pod)
    pod.delete()
    assert any(line.startswith("lease") for line in cnictl("sweep", "--dry-run").lines)
    cnictl("sweep")
    assert not Path("/run/leases/net/10.2.0.2").exists()


def test_a_lease_that_only_its_file_speaks_of_is_not_swept(cnictl: Cnictl) -> None:
    (LEASES / "net").mkdir(parents=True)
    (LEASES / "net/10.1.0.9").write_text("somebody\r\neth0")
    assert cnictl("sweep").lines == []
    assert leases() == {"10.1.0.9"}


def test_the_draft_of_a_record_is_swept(cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container) -> None:
    plugins.good("bridge", "ADD", conf, container=pod)
    record = record_of(pod)
    plugins.good("bridge", "DEL", conf, container=pod)
    draft = RECORDS / f".{record.name}.new"
    draft.write_bytes(b"{")
    (line,) = cnictl("sweep", "--dry-run").lines
    assert line.startswith("draft ")
    assert cnictl("sweep").lines == [line]
    assert not draft.exists()


@pytest.mark.parametrize("when", ["before the look", "after the look"])
def test_who_is_being_added_or_deleted_is_left_alone_and_named(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, node: Node, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins.good("bridge", "ADD", conf, container=pod)
    unfinished(pod)
    before = node.ledger()
    if when == "after the look":
        monkeypatch.setattr("cni_plugins.cli.inventory.is_busy", lambda *_: False)
    with AttachmentLock("/run/cni-plugins", "bridge", Attachment("net", pod.id, "eth0").key):
        for arguments in (["sweep"], ["gc", "net"]):
            printed = cnictl(*arguments)
            assert (printed.status, printed.lines) == (0, [])
            assert f"left alone: net/{pod.id}/eth0" in printed.remarks
    assert ledger.diff(before, node.ledger()) == []


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Has something happen between the look that finds an attachment stale and the lock on it."""

    def arrange(happen: Callable[[], object]) -> None:
        real, once = calls.lock_byte, iter([happen])

        def lock(*args: Any, **kwargs: Any) -> None:
            if not kwargs.get("wait", True):
                next(once, lambda: None)()
            real(*args, **kwargs)

        monkeypatch.setattr("cni_plugins.cli.inventory.is_busy", lambda *_: False)
        monkeypatch.setattr(calls, "lock_byte", lock)

    return arrange


def test_an_attachment_that_was_added_again_meanwhile_is_left_alone(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    plugins.good("bridge", "ADD", conf, container=pod)
    unfinished(pod)
    meanwhile(lambda: plugins.good("bridge", "ADD", conf, container=pod))
    printed = cnictl("sweep")
    assert printed.lines == []
    assert "is not stale any more" in printed.remarks
    assert records()


def test_what_a_del_has_removed_meanwhile_is_not_said_to_be_removed_by_the_sweep(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    plugins.good("bridge", "ADD", conf, container=pod)
    unfinished(pod)
    meanwhile(lambda: plugins.good("bridge", "DEL", conf, container=pod))
    printed = cnictl("sweep")
    assert printed.lines == []
    assert "is not stale any more" in printed.remarks


def test_an_add_that_comes_while_a_plugins_del_takes_its_turn_is_not_undone(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, once = Held.let_go, iter([lambda: plugins.good("bridge", "ADD", conf, container=pod)])

    def let_go(locks: Held) -> None:
        real(locks)
        next(once, lambda: None)()

    plugins.good("bridge", "ADD", conf, container=pod)
    unfinished(pod)
    monkeypatch.setattr("cni_plugins.cli.inventory.is_busy", lambda *_: False)
    monkeypatch.setattr(Held, "let_go", let_go)
    printed = cnictl("sweep")
    assert (printed.status, printed.lines) == (0, [])
    assert "left alone" in printed.remarks
    assert cnictl("attachments").lines[1].endswith("live")


def test_a_plugins_del_finds_the_locks_of_plugins_that_it_delegates_to_free(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = removal.delete, []

    def delete(plugin: Plugin, world: World, att: Attachment) -> None:
        with (
            AttachmentLock("/run/cni-plugins", "ptp", att.key, wait=False) as theirs,
            AttachmentLock("/run/cni-plugins", "bridge", att.key, wait=False) as own,
        ):
            seen.append((theirs.held, own.held))
        real(plugin, world, att)

    plugins.good("bridge", "ADD", conf, container=pod)
    unfinished(pod)
    monkeypatch.setattr(removal, "delete", delete)
    assert cnictl("sweep").status == 0
    assert set(seen) == {(True, False)}


def test_what_is_undone_inside_a_container_is_listed_too(cnictl: Cnictl, plugins: InProcess, pod: Container) -> None:
    plugins.good("loopback", "ADD", network("loopback"), container=pod, ifname="lo")
    record = record_of(pod, "loopback")
    record.write_text(json.dumps(json.loads(record.read_bytes()) | {"done": False}))
    foretold = cnictl("sweep", "--dry-run").lines
    assert [line.split()[0] for line in foretold] == ["record", "loopback"]
    assert cnictl("sweep").lines == foretold
    assert "UP" not in pod.run(["ip", "-brief", "link", "show", "dev", "lo"]).stdout.split("<")[1]


def test_records_of_a_plugin_that_this_build_has_not_are_left_alone(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, node: Node
) -> None:
    plugins.good("bridge", "ADD", conf, container=pod)
    record = record_of(pod)
    record.rename(record.with_suffix(".newer"))
    pod.delete()
    before = node.ledger()
    assert cnictl("sweep").lines == []
    assert cnictl("gc", "net").lines == []
    assert ledger.diff(before, node.ledger()) == []


def test_what_cannot_be_removed_is_said_and_the_rest_is_swept(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, other: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    for container in (pod, other):
        plugins.good("bridge", "ADD", conf, container=container)
        netns_gone(container)
    real, failures = Nfnetlink.transact, iter([True])

    def once(*args: Any) -> list[NetlinkError]:
        return [NetlinkError(errno.EPERM, "delete an element")] if next(failures, False) else real(*args)

    monkeypatch.setattr(Nfnetlink, "transact", once)
    printed = cnictl("sweep")
    assert printed.status == 1
    assert "failed: net/" in printed.remarks
    assert "nftables" in printed.remarks
    assert len(records()) == 1, "one failure kept the rest"
    assert len(leases()) == 2, "a lease is given back before everything else is gone"
    assert cnictl("sweep").status == 0
    assert not records()
    assert not leases()
