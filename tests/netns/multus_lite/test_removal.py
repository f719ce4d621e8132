"""DEL and GC remove what ADD made, whatever was lost meanwhile: the record, the state, the answers, the container."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance import ledger
from tests.netns.multus_lite.foreign import Foreign
from tests.netns.multus_lite.scene import RESULTS, SHARED, STATE, Scene, bridge, leases, links, states, valid
from tests.netns.plugins.networks import RECORDS

THINGS: dict[str, Callable[[Scene], object]] = {
    "nothing": lambda scene: None,
    "records": lambda scene: shutil.rmtree(RECORDS),
    "own state": lambda scene: scene.state_file().unlink(),
    "shared state": lambda scene: (STATE / scene.pod.id).unlink(),
    "answers": lambda scene: shutil.rmtree(RESULTS),
    "answers' content": lambda scene: [path.write_bytes(b"") for path in RESULTS.glob(f"*-{scene.pod.id}-*")],
    "container": lambda scene: scene.pod.delete(),
    "half of the state": lambda scene: [
        path.write_bytes(path.read_bytes()[:200]) for path in (scene.state_file(), STATE / scene.pod.id) if path.exists()
    ],
    "one network's state": lambda scene: _damage(scene.state_file()),
}
LOST = [
    "nothing", "records", "own state", "container", "records, own state", "records, shared state", "records, own state, shared state",
    "records, own state, shared state, answers", "own state, shared state, answers, container", "records, half of the state",
    "records, one network's state", "records, half of the state, answers", "records, half of the state, container",
    "records, half of the state, answers' content",
]  # fmt: skip


def _damage(path: Path) -> None:
    """Change one network's configuration, as a failing disk does."""
    elements = json.loads(path.read_text())
    elements[1]["Bytes"] = elements[0]["Bytes"]
    path.write_text(json.dumps(elements))


def lose(scene: Scene, what: str) -> None:
    """Take away the things that `what` lists."""
    for thing in what.split(", "):
        THINGS[thing](scene)


def removed(scene: Scene, before: ledger.Snapshot) -> list[str]:
    """What is there that was not there before; the container itself may be gone."""
    return [line for line in ledger.diff(before, scene.node.ledger(), ignore=SHARED) if not line.startswith("-")]


@pytest.fixture
def used(scene: Scene) -> Scene:
    """A scene where `other` is attached, and stays."""
    scene.good("ADD", scene.other)
    return scene


@pytest.mark.parametrize("lost", LOST)
def test_delete_leaves_nothing_whatever_was_lost(used: Scene, lost: str) -> None:
    scene, pod = used, used.pod
    before, kept = scene.node.ledger(), states()
    scene.good("ADD")
    lose(scene, lost)
    for _ in range(2):
        assert scene.call("DEL", pod).result is None
    assert states() - kept == set()
    assert removed(scene, before) == []


@pytest.mark.parametrize("lost", ["nothing", "records", "own state", "records, own state, shared state", "records, half of the state"])
def test_gc_removes_what_belongs_to_vanished_containers_and_nothing_else(used: Scene, lost: str) -> None:
    scene = used
    before = scene.node.ledger()
    scene.good("ADD")
    lose(scene, lost)
    scene.pod.delete()
    scene.gc((scene.other, "eth0"))
    assert removed(scene, before) == []
    assert set(links(scene.other)) == {"eth0", "net1", "net2"}
    assert len(leases()) == 3
    assert states() >= {f"{scene.other.id}:eth0", scene.other.id}


def test_damaged_state_is_said_and_put_together_again(used: Scene) -> None:
    scene, log = used, Path("/run/multus.log")
    scene.good("ADD")
    lose(scene, "records, one network's state")
    scene.delegates = scene.delegates[:1]
    scene.good("DEL", logFile=str(log), logToStderr=False)
    assert f"{scene.state_file()}: damaged: 1 of 3 networks cannot be read; 3 networks of it are known all the same" in log.read_text()
    assert links(scene.pod) == {}
    assert len(leases()) == 3  # those of the other container


def test_gc_that_does_not_know_what_a_live_container_has_leaves_its_networks_alone(used: Scene) -> None:
    scene = used
    _damage(scene.state_file(scene.other))
    error = scene.call("GC", **valid((scene.other, "eth0"))).error
    assert error["code"] == 6
    assert str(scene.state_file(scene.other)) in error["msg"]
    assert set(links(scene.other)) == {"eth0", "net1", "net2"}
    assert len(leases()) == 3


def test_gc_reaches_every_network_with_the_interfaces_that_the_runtime_does_not_know(scene: Scene, tmp_path: Path) -> None:
    foreign = Foreign(tmp_path)
    ours = {"cniVersion": "1.1.0", "type": "foreign"}
    scene.delegates = [bridge(1), {**ours, "name": "net8"}, {**ours, "name": "net9", "cniVersion": "1.0.0"}]
    scene.good("ADD", path=[foreign.directory])
    scene.delegates = [bridge(1), {**ours, "name": "net7"}]
    foreign.forget()
    scene.good("GC", path=[foreign.directory], **valid((scene.pod, "eth0")))
    wanted = [{"containerID": scene.pod.id, "ifname": name} for name in ("eth0", "net1", "net2")]
    assert {got["name"]: got["cni.dev/valid-attachments"] for got in foreign.stdin} == {"net7": wanted, "net8": wanted}


def test_network_that_cannot_be_deleted_does_not_keep_the_others_but_its_state(scene: Scene, tmp_path: Path) -> None:
    foreign = Foreign(tmp_path)
    stubborn = {"cniVersion": "1.1.0", "type": "foreign"}
    scene.delegates = [{**stubborn, "name": "net8"}, bridge(1), {**stubborn, "name": "net9"}]
    before = scene.node.ledger()
    scene.good("ADD", path=[foreign.directory])
    foreign.answers("DEL")
    error = scene.call("DEL", path=[foreign.directory]).error
    assert "network net9: foreign: told to fail; network net8: foreign: told to fail" in error["msg"]
    assert error["code"] == 77
    assert leases() == set()
    assert f"{scene.pod.id}:eth0" in states()
    foreign.answers()
    foreign.forget()
    scene.good("DEL", path=[foreign.directory])
    assert foreign.calls == ["DEL net2", "DEL eth0"]
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


def test_state_of_another_network_in_the_same_directory_is_left_alone(scene: Scene) -> None:
    scene.good("ADD")
    kept = states()
    scene.delegates = [bridge(5)]
    scene.good("GC", name="another", **valid())
    assert states() == kept
    assert set(links(scene.pod)) == {"eth0", "net1", "net2"}
