"""DEL removes what ADD made, whatever was lost meanwhile: the record, the state, the subnet file, the container."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance import ledger
from tests.netns.plugins.flannel.foreign import RESULT, Foreign
from tests.netns.plugins.flannel.scene import SHARED, STATE, SUBNET_FILE, Scene, states
from tests.netns.plugins.networks import RECORDS

THINGS: dict[str, Callable[[Scene], object]] = {
    "nothing": lambda scene: None,
    "record": lambda scene: shutil.rmtree(RECORDS),
    "own state": lambda scene: (STATE / f"{scene.pod.id}:eth0").unlink(),
    "shared state": lambda scene: (STATE / scene.pod.id).unlink(),
    "subnet file": lambda scene: SUBNET_FILE.unlink(),
    "container": lambda scene: scene.pod.delete(),
}
LOST = [
    "nothing", "record", "own state", "subnet file", "container", "record, own state", "record, shared state", "record, subnet file",
    "record, own state, shared state", "record, own state, shared state, subnet file", "own state, shared state, subnet file, container",
]  # fmt: skip
DAMAGED = {"empty": b"", "half": b'{"name":"net","ty', "a list": b"[1]", "no type": b'{"name":"net"}', "binary": bytes(range(256))}
_IGNORED = (*SHARED, r"node file /run/flannel/subnet.env")


@pytest.fixture
def masqueraded(scene: Scene) -> Scene:
    """A scene where the delegate masquerades, so that there is more to be left behind; `other` is attached and stays."""
    scene.assign(FLANNEL_IPMASQ="false")
    scene.good("ADD", scene.other)
    return scene


def lose(scene: Scene, what: str) -> None:
    """Take away the things that `what` lists."""
    for thing in what.split(", "):
        THINGS[thing](scene)


def removed(scene: Scene, before: ledger.Snapshot) -> list[str]:
    """What is there that was not there before; the container itself may be gone."""
    return [line for line in ledger.diff(before, scene.node.ledger(), ignore=_IGNORED) if not line.startswith("-")]


@pytest.mark.parametrize("lost", LOST)
def test_delete_leaves_nothing_whatever_was_lost(masqueraded: Scene, lost: str) -> None:
    scene, pod = masqueraded, masqueraded.pod
    before, kept = scene.node.ledger(), states()
    scene.good("ADD")
    lose(scene, lost)
    for _ in range(2):
        assert scene.call("DEL", pod).result is None
    assert removed(scene, before) == []
    assert states() == kept


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("subnet_file", ["there", "gone"])
def test_state_that_a_power_failure_damaged_keeps_nothing_from_being_removed(masqueraded: Scene, damage: str, subnet_file: str) -> None:
    scene = masqueraded
    before = scene.node.ledger()
    scene.good("ADD")
    for name in (scene.pod.id, f"{scene.pod.id}:eth0"):
        (STATE / name).write_bytes(DAMAGED[damage])
    lose(scene, "record")
    if subnet_file == "gone":
        SUBNET_FILE.unlink()
    scene.good("DEL")
    assert [line for line in removed(scene, before) if "/records/" not in line] == []
    assert f"{scene.pod.id}:eth0" not in states()


@pytest.mark.parametrize("damage", ["empty", "half"])
@pytest.mark.parametrize("name", ["{id}", "{id}:eth0"])
def test_state_of_which_one_file_was_cut_off_is_removed_whole(masqueraded: Scene, damage: str, name: str) -> None:
    scene = masqueraded
    kept = states()
    scene.good("ADD")
    path = STATE / name.format(id=scene.pod.id)
    path.write_bytes(b"" if damage == "empty" else path.read_bytes()[:40])
    lose(scene, "record")
    scene.good("DEL")
    assert states() == kept


def test_reboot_and_another_configuration_do_not_change_what_is_deleted(masqueraded: Scene) -> None:
    scene = masqueraded
    before = scene.node.ledger()
    scene.good("ADD", delegate={"bridge": "cni0", "macspoofchk": True})
    lose(scene, "record")
    scene.assign(FLANNEL_SUBNET="10.5.99.1/24", FLANNEL_IPV6_SUBNET="")
    scene.good("DEL", delegate={"type": "ptp"}, ipam={"type": "static"})
    assert [line for line in removed(scene, before) if "/records/" not in line] == []


def test_wrong_configuration_keeps_nothing_from_being_removed(masqueraded: Scene) -> None:
    before = masqueraded.node.ledger()
    masqueraded.good("ADD")
    masqueraded.good("DEL", delegate={"name": "mine", "type": 7})
    assert removed(masqueraded, before) == []


@pytest.mark.parametrize("subnet_file", ["there", "gone"])
def test_delete_of_what_was_never_added_is_no_error(scene: Scene, subnet_file: str) -> None:
    if subnet_file == "gone":
        SUBNET_FILE.unlink()
    before = scene.node.ledger()
    scene.good("DEL")
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


def test_state_of_another_interface_of_the_container_is_left_alone(scene: Scene) -> None:
    scene.good("ADD")
    scene.good("ADD", ifname="net1")
    scene.good("DEL", ifname="net1")
    assert f"{scene.pod.id}:eth0" in states()
    assert scene.pod.run(["ip", "link", "show", "eth0"]).stdout


@pytest.fixture
def foreign(scene: Scene, tmp_path: Path) -> Foreign:
    """A delegate of somebody else's."""
    return Foreign(scene, tmp_path)


@pytest.mark.parametrize("lost", ["nothing", "record", "record, own state"])
def test_delegates_delete_gets_the_very_bytes_that_its_add_got(foreign: Foreign, lost: str) -> None:
    assert foreign.call("ADD", ipam={"type": "x", "range": [3, 1, 2]}, runtimeConfig={"ips": ["10.5.52.9"]}).code == 0
    lose(foreign.scene, f"{lost}, subnet file")
    assert foreign.call("DEL", delegate={"type": "bridge"}).code == 0
    assert foreign.calls == ["ADD eth0", "DEL eth0"]
    assert foreign.stdin[0] == foreign.stdin[1]
    assert not states()


def test_delegates_delete_gets_the_result_that_the_runtime_passes_in_its_own_version(foreign: Foreign) -> None:
    result = foreign.call("ADD", cniVersion="0.4.0").result
    assert foreign.call("DEL", cniVersion="1.1.0", prevResult={**RESULT, "cniVersion": "1.1.0"}).code == 0
    sent = json.loads(foreign.stdin[1])
    assert sent.pop("prevResult") == {**result, "cniVersion": "0.4.0"}
    assert sent == json.loads(foreign.stdin[0])


def test_delegate_that_fails_to_add_is_told_to_delete_and_no_state_stays(foreign: Foreign) -> None:
    foreign.answers('echo \'{"code":11,"msg":"busy"}\'; exit 1', verb="ADD")
    before = foreign.scene.node.ledger()
    error = foreign.call("ADD").error
    assert (error["code"], error["msg"]) == (11, "foreign: busy")
    assert foreign.calls == ["ADD eth0", "DEL eth0"]
    assert foreign.stdin[0] == foreign.stdin[1]
    assert ledger.diff(before, foreign.scene.node.ledger(), ignore=SHARED) == []


def test_delegate_that_fails_to_delete_keeps_its_state_until_it_succeeds(foreign: Foreign) -> None:
    assert foreign.call("ADD").code == 0
    lose(foreign.scene, "record")
    foreign.answers('echo \'{"code":11,"msg":"busy"}\'; exit 1', verb="DEL")
    assert "foreign: busy" in foreign.call("DEL").error["msg"]
    assert f"{foreign.scene.pod.id}:eth0" in states()
    foreign.answers()
    assert foreign.call("DEL").code == 0
    assert not states()


def test_second_add_never_reaches_a_foreign_delegate_whose_interface_is_there(foreign: Foreign) -> None:
    assert foreign.call("ADD").code == 0
    foreign.scene.pod.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth9"])
    lose(foreign.scene, "record")
    error = foreign.call("ADD").error
    assert (error["code"], foreign.calls) == (102, ["ADD eth0"])
    assert f"{foreign.scene.pod.id}:eth0" in states()


def test_gc_gives_the_delegates_ipam_plugin_no_descriptor_but_a_lock(scene: Scene, tmp_path: Path) -> None:
    """It would wait for ever for the end of its input, if it had the other end of that."""
    inherited = tmp_path / "inherited"
    script = tmp_path / "foreign"
    script.write_text(
        f"#!/bin/sh\ncase $CNI_COMMAND in\nADD) echo '{json.dumps(RESULT)}' ;;\nGC) readlink /proc/$$/fd/3 >{inherited} || : ;;\nesac\n"
    )
    script.chmod(0o755)
    keys: dict[str, Any] = {"ipam": {"type": "foreign"}, "path": [tmp_path]}
    scene.good("ADD", **keys)
    scene.pod.delete()
    scene.good("GC", **{**keys, "cni.dev/valid-attachments": []})
    assert inherited.read_text() in ("", "/run/cni-plugins/lock\n")


def test_missing_delegate_is_named_with_the_path(scene: Scene, tmp_path: Path) -> None:
    error: dict[str, Any] = scene.call("ADD", delegate={"type": "calico"}).error
    assert "delegate.type: no plugin 'calico' in CNI_PATH" in error["msg"]


def test_foreign_delegate_of_which_nothing_is_known_is_left_alone(foreign: Foreign) -> None:
    SUBNET_FILE.unlink()
    assert foreign.call("DEL").code == 0
    assert foreign.call("GC", **{"cni.dev/valid-attachments": []}).code == 0
    assert foreign.calls == []
    assert foreign.call("DEL", prevResult=RESULT).code == 0
    sent = json.loads(foreign.stdin[0])
    assert sent["ipam"]["ranges"] == [[{"subnet": "10.5.52.0/24"}]]
    assert sent["ipMasq"] is True, "a delegate that may have masqueraded has to look for its rules"
