"""GC takes back what was changed for attachments that the runtime does not list, and their state files, and nothing else."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from conformance import ledger
from tests.netns.plugins.networks import RECORDS, records
from tests.netns.plugins.tuning.tuned import ALL, HOMES, LINK, STATE, conf, interface, seen, state
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node


def listed(*containers: Container) -> dict[str, Any]:
    """The runtime's list, each container with its eth0."""
    return {"cni.dev/valid-attachments": [{"containerID": one.id, "ifname": "eth0"} for one in containers]}


def test_gc_takes_back_the_stale_and_keeps_the_listed(plugins: InProcess, pod: Container, other: Container, node: Node) -> None:
    plugins.good("tuning", "ADD", conf(interface(other), **ALL), container=other)
    interface(pod)
    before = node.ledger()
    plugins.good("tuning", "ADD", conf(pod, **ALL), container=pod)
    plugins.good("tuning", "GC", conf() | listed(other))
    assert ledger.diff(before, node.ledger(), ignore=HOMES) == []
    plugins.good("tuning", "GC", conf())
    assert seen(other) == LINK


@pytest.mark.parametrize("state_of_records", ["kept", "lost", "damaged"])
def test_gc_finds_what_a_vanished_container_left(plugins: InProcess, pod: Container, other: Container, *, state_of_records: str) -> None:
    for container in (pod, other):
        plugins.good("tuning", "ADD", conf(interface(container), **ALL), container=container)
    pod.delete()
    if state_of_records == "lost":
        shutil.rmtree(RECORDS)
    elif state_of_records == "damaged":
        for record in records():
            (RECORDS / record).write_bytes(b"")
    plugins.good("tuning", "GC", conf() | listed(other))
    assert list(STATE.iterdir()) == [state(other)]
    plugins.good("tuning", "DEL", conf(), container=other)
    assert not seen(other)["promisc"]


def test_gc_leaves_other_networks_and_other_people_s_files_alone(plugins: InProcess, pod: Container) -> None:
    plugins.good("tuning", "ADD", conf(interface(pod), **LINK, name="another"), container=pod)
    (STATE / "somebody_eth0.json").write_text(json.dumps({"mtu": 1500}))
    (STATE / "notes.txt").write_text("not ours")
    before = sorted(STATE.iterdir())
    plugins.good("tuning", "GC", conf() | listed())
    assert sorted(STATE.iterdir()) == before
    assert seen(pod) == LINK


def test_stale_record_takes_no_file_that_another_network_has_written_since(plugins: InProcess, pod: Container) -> None:
    interface(pod)
    plugins.good("tuning", "ADD", conf(pod, mtu=1400), container=pod)
    pod.run(["ip", "link", "delete", "eth0"])
    interface(pod)
    plugins.good("tuning", "ADD", conf(pod, mtu=1300, name="another"), container=pod)
    plugins.good("tuning", "GC", conf() | listed())
    assert state(pod).exists()
    assert seen(pod)["mtu"] == 1300
