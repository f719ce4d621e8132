"""GC removes what belongs to attachments that the runtime does not list, of its own network, and nothing else."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.kernel.nfnetlink import Nfnetlink
from cni_plugins.kernel.rtnl import NetlinkError
from conformance import ledger
from tests.netns.plugins.networks import LEASES, RECORDS, full_bridge, host_local, leases, network, records
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.shared import SHARED


def listed(*containers: Container, key: str = "cni.dev/valid-attachments") -> dict[str, Any]:
    """The runtime's list, each container with its eth0."""
    return {key: [{"containerID": container.id, "ifname": "eth0"} for container in containers]}


@pytest.mark.parametrize("conf", [full_bridge(), network("ptp", ipMasq=True)], ids=lambda conf: str(conf["type"]))
@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_gc_removes_the_stale_and_keeps_the_listed(
    plugins: InProcess, *, pod: Container, other: Container, node: Node, conf: dict[str, Any], key: str
) -> None:
    plugins.good(conf["type"], "ADD", conf, container=other)
    before = node.ledger()
    plugins.good(conf["type"], "ADD", conf, container=pod)
    assert plugins(conf["type"], "GC", conf | listed(other, key=key)).result is None
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


def test_gc_with_an_empty_list_removes_everything_of_the_network(plugins: InProcess, pod: Container, other: Container, node: Node) -> None:
    before = node.ledger()
    for container in (pod, other):
        plugins.good("bridge", "ADD", full_bridge(), container=container)
    plugins.good("bridge", "GC", full_bridge() | listed())
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


@pytest.mark.parametrize("absent", [{}, {"cni.dev/valid-attachments": None}])
@pytest.mark.parametrize("plugin", ["bridge", "ptp", "host-local", "loopback", "static"])
def test_gc_without_a_list_removes_nothing(plugins: InProcess, *, pod: Container, node: Node, plugin: str, absent: dict[str, Any]) -> None:
    static: dict[str, Any] = {"ipam": {"type": "static", "addresses": [{"address": "10.1.0.9/24"}]}} if plugin == "static" else {}
    conf = network(plugin, **static)
    plugins.good(plugin, "ADD", conf, container=pod)
    before = node.ledger()
    plugins.good(plugin, "GC", conf | absent)
    assert ledger.diff(before, node.ledger()) == []


def test_gc_lends_a_foreign_ipam_plugin_the_lock_of_the_attachment_that_it_deletes(
    plugins: InProcess, pod: Container, tmp_path: Path
) -> None:
    """Should the GC be killed, nobody is at work on the attachment before that plugin has ended."""
    inherited, script = tmp_path / "inherited", tmp_path / "foreign"
    result = '{"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.9/24"}]}'
    script.write_text(f"#!/bin/sh\ncase $CNI_COMMAND in\nADD) echo '{result}' ;;\nDEL) readlink /proc/$$/fd/3 >{inherited} || : ;;\nesac\n")
    script.chmod(0o755)
    conf = network("bridge", ipam={"type": "foreign"})
    plugins.good("bridge", "ADD", conf, container=pod, path=[tmp_path])
    plugins.good("bridge", "GC", conf | listed(), path=[tmp_path])
    assert inherited.read_text() == "/run/cni-plugins/lock\n"


def test_gc_leaves_other_networks_alone(plugins: InProcess, pod: Container, node: Node) -> None:
    plugins.good("bridge", "ADD", full_bridge(name="net2", ipam=host_local("10.2.0.0/24")), container=pod)
    plugins.good("ptp", "ADD", network("ptp", name="net3", ipMasq=True, ipam=host_local("10.3.0.0/24")), container=pod, ifname="eth1")
    before = node.ledger()
    plugins.good("bridge", "GC", full_bridge() | listed())
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


@pytest.mark.parametrize("state", ["kept", "lost", "damaged"])
def test_gc_finds_what_a_vanished_container_left(plugins: InProcess, pod: Container, other: Container, node: Node, *, state: str) -> None:
    before = node.ledger()
    plugins.good("bridge", "ADD", full_bridge(), container=pod)
    pod.delete()
    if state == "lost":
        shutil.rmtree(RECORDS)
    elif state == "damaged":
        for record in records():
            Path(RECORDS, record).write_bytes(b"")
    plugins.good("bridge", "GC", full_bridge() | listed(other))
    lines = [line for line in ledger.diff(before, node.ledger(), ignore=SHARED) if not line.startswith("-")]
    assert lines == []
    assert not leases()
    assert not records()


def test_gc_frees_leases_of_nobody_that_a_killed_process_left(plugins: InProcess, pod: Container) -> None:
    plugins.good("host-local", "ADD", network("host-local"), container=pod)
    kept = leases()
    (LEASES / "net/10.1.0.77").touch()
    (LEASES / "net/10.1.0.78").write_text("gone\r\neth0")
    plugins.good("host-local", "GC", network("host-local") | listed(pod))
    assert leases() == kept


def test_gc_removes_the_draft_of_a_record_that_a_killed_add_did_not_come_to_write(
    plugins: InProcess, pod: Container, other: Container, node: Node
) -> None:
    plugins.good("bridge", "ADD", full_bridge(), container=other)
    kept, before = set(records()), node.ledger()
    plugins.good("bridge", "ADD", full_bridge(), container=pod)
    (record,) = set(records()) - kept
    Path(RECORDS, record).rename(RECORDS / f".{record}.new")
    pod.delete()
    plugins.good("bridge", "GC", full_bridge() | listed(other))
    assert [line for line in ledger.diff(before, node.ledger(), ignore=SHARED) if not line.startswith("-")] == []


def test_gc_goes_on_past_what_it_cannot_remove(
    plugins: InProcess, pod: Container, other: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    for container in (pod, other):
        plugins.good("bridge", "ADD", full_bridge(), container=container)
    real, failures = Nfnetlink.transact, iter([True])

    def once(*args: Any) -> list[NetlinkError]:
        return [NetlinkError(errno.EPERM, "delete an element")] if next(failures, False) else real(*args)

    monkeypatch.setattr(Nfnetlink, "transact", once)
    error = plugins("bridge", "GC", full_bridge() | listed()).error
    assert "nftables" in error["msg"]
    assert len(records()) <= 1, "one failure kept GC from removing the rest"
    plugins.good("bridge", "GC", full_bridge() | listed())
    assert not records()
    assert not leases()


def test_delegate_gets_the_list_and_one_that_does_not_know_gc_is_no_error(plugins: InProcess, pod: Container, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = tmp_path / "ipam"
    script.write_text(
        f'#!/bin/sh\ncat >{seen}\necho "$CNI_COMMAND" >>{seen}\necho \'{{"code":4,"msg":"unknown CNI_COMMAND: GC"}}\'\nexit 1\n'
    )
    script.chmod(0o755)
    plugins.good("bridge", "GC", network(ipam={"type": "ipam"}) | listed(pod), path=[tmp_path])
    assert pod.id in seen.read_text()
    assert seen.read_text().endswith("GC\n")
    script.write_text('#!/bin/sh\necho \'{"code":5,"msg":"disk on fire"}\'\nexit 1\n')
    error = plugins("bridge", "GC", network(ipam={"type": "ipam"}) | listed(pod), path=[tmp_path]).error
    assert (error["code"], error["msg"]) == (5, "ipam: disk on fire")
