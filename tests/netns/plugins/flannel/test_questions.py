"""CHECK compares with what ADD made, STATUS tells whether an ADD could be served, GC removes what nobody has any more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance import ledger
from tests.netns.plugins.flannel.foreign import RESULT, Foreign
from tests.netns.plugins.flannel.scene import SHARED, STATE, SUBNET_FILE, Scene, states
from tests.netns.plugins.networks import RECORDS, leases, records
from tests.support.netns import Container


def listed(*containers: Container, ifname: str = "eth0") -> dict[str, Any]:
    """The runtime's list of attachments to keep."""
    return {"cni.dev/valid-attachments": [{"containerID": container.id, "ifname": ifname} for container in containers]}


@pytest.fixture
def foreign(scene: Scene, tmp_path: Path) -> Foreign:
    """A delegate of somebody else's."""
    return Foreign(scene, tmp_path)


def test_check_finds_a_live_attachment_as_it_was_made(scene: Scene) -> None:
    result = scene.good("ADD")
    before = scene.node.ledger()
    assert scene.good("CHECK", prevResult=result) is None
    assert ledger.diff(before, scene.node.ledger()) == []


def test_check_compares_with_what_add_made_not_with_what_it_would_make_now(scene: Scene) -> None:
    result = scene.good("ADD")
    scene.assign(FLANNEL_SUBNET="10.5.99.1/24", FLANNEL_MTU="1400")
    scene.good("CHECK", prevResult=result, delegate={"bridge": "cbr9"})
    SUBNET_FILE.unlink()
    scene.good("CHECK", prevResult=result)


def test_check_names_what_is_not_as_it_was(scene: Scene) -> None:
    result = scene.good("ADD")
    scene.pod.run(["ip", "address", "del", "10.5.52.2/24", "dev", "eth0"])
    error = scene.call("CHECK", prevResult=result).error
    assert error["code"] == 103
    assert error["msg"].startswith("bridge: ")
    assert "10.5.52.2/24" in error["msg"]


@pytest.mark.parametrize("subnet_file", ["there", "gone"])
def test_check_names_a_state_that_is_gone(scene: Scene, subnet_file: str) -> None:
    result = scene.good("ADD")
    for name in states():
        (STATE / name).unlink()
    if subnet_file == "gone":
        SUBNET_FILE.unlink()
    error = scene.call("CHECK", prevResult=result).error
    assert error["code"] == 103
    assert f"the state of net/{scene.pod.id}/eth0 in /var/lib/cni/flannel is gone" in error["msg"]


@pytest.mark.parametrize(
    ("added", "verbs"), [("1.0.0", ["ADD eth0", "CHECK eth0"]), ("0.4.0", ["ADD eth0", "CHECK eth0"]), ("0.3.1", ["ADD eth0"])]
)
def test_delegate_is_checked_in_the_version_in_which_it_was_added(foreign: Foreign, added: str, verbs: list[str]) -> None:
    foreign.call("ADD", cniVersion=added).result  # noqa: B018 - must be one
    assert foreign.call("CHECK", cniVersion="1.1.0", prevResult={**RESULT, "cniVersion": "1.1.0"}).code == 0
    assert foreign.calls == verbs
    sent = json.loads(foreign.stdin[-1])
    assert sent["cniVersion"] == added
    if len(verbs) == 2:
        assert sent["prevResult"]["cniVersion"] == added


def test_drift_that_a_foreign_delegate_reports_is_passed_on(foreign: Foreign) -> None:
    result = foreign.call("ADD").result
    foreign.answers('echo \'{"code":120,"msg":"no such port"}\'; exit 1', verb="CHECK")
    error = foreign.call("CHECK", prevResult=result).error
    assert (error["code"], error["msg"]) == (103, "foreign: no such port")


def test_status_is_good_where_a_pod_could_be_added(scene: Scene) -> None:
    before = scene.node.ledger()
    assert scene.good("STATUS") is None
    assert ledger.diff(before, scene.node.ledger()) == []


@pytest.mark.parametrize(
    ("text", "word"),
    [(None, "/run/flannel/subnet.env is not there"), ("FLANNEL_MTU=1450\n", "FLANNEL_SUBNET"), ("FLANNEL_NETWORK=x\n", "FLANNEL_MTU")],
    ids=["missing", "incomplete", "nonsense"],
)
def test_status_says_that_the_node_has_no_subnet(scene: Scene, text: str | None, word: str) -> None:
    SUBNET_FILE.unlink() if text is None else SUBNET_FILE.write_text(text)
    error = scene.call("STATUS").error
    assert error["code"] == 50
    assert word in error["msg"]


def test_status_says_that_states_cannot_be_written(scene: Scene) -> None:
    STATE.mkdir(parents=True)
    scene.node.run(["mount", "-t", "tmpfs", "-o", "ro", "node", str(STATE)])
    error = scene.call("STATUS").error
    assert (error["code"], str(STATE) in error["msg"]) == (50, True)


def test_status_says_that_the_delegate_is_not_ready(scene: Scene, foreign: Foreign) -> None:
    error = scene.call("STATUS", delegate={"type": "calico"}).error
    assert (error["code"], "calico" in error["msg"]) == (50, True)
    foreign.answers('echo \'{"code":50,"msg":"no uplink"}\'; exit 1', verb="STATUS")
    error = foreign.call("STATUS").error
    assert (error["code"], error["msg"]) == (50, "foreign: no uplink")


def test_delegate_too_old_to_know_a_verb_is_taken_for_ready_and_for_clean(foreign: Foreign) -> None:
    for verb in ("STATUS", "GC"):
        foreign.answers(f'echo \'{{"code":4,"msg":"unknown CNI_COMMAND: {verb}"}}\'; exit 1', verb=verb)
        assert foreign.call(verb, **(listed() if verb == "GC" else {})).code == 0


def test_gc_removes_the_stale_and_keeps_the_listed(scene: Scene) -> None:
    scene.assign(FLANNEL_IPMASQ="false")
    scene.good("ADD", scene.other)
    before = scene.node.ledger()
    scene.good("ADD")
    scene.good("GC", **listed(scene.other))
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []
    assert states() == {scene.other.id, f"{scene.other.id}:eth0"}


@pytest.mark.parametrize("subnet_file", ["there", "gone"])
def test_gc_finds_what_was_left_before_a_reboot(scene: Scene, subnet_file: str) -> None:
    scene.good("ADD")
    scene.pod.delete()
    for path in RECORDS.iterdir():
        path.unlink()
    if subnet_file == "gone":
        SUBNET_FILE.unlink()
    scene.good("GC", **listed(scene.other))
    assert (leases(), states(), records()) == (set(), set(), [])


def test_gc_without_a_list_removes_nothing(scene: Scene) -> None:
    scene.good("ADD")
    before = scene.node.ledger()
    scene.good("GC")
    assert ledger.diff(before, scene.node.ledger()) == []


def test_gc_leaves_other_networks_in_the_same_directory_alone(scene: Scene) -> None:
    scene.good("ADD")
    scene.good("ADD", scene.other, name="second", delegate={"bridge": "cni1"}, ifname="net1")
    for name, text in {"foreign": '{"name":"third","type":"bridge"}', "junk": "?", "gone:eth0": '{"name":"third","type":"bridge"}'}.items():
        (STATE / name).write_text(text)
    before = scene.node.ledger()
    scene.good("GC", **listed(scene.pod))
    assert ledger.diff(before, scene.node.ledger()) == []


def test_gc_deletes_what_flannels_own_plugin_left_of_a_container_that_is_gone(foreign: Foreign) -> None:
    STATE.mkdir(parents=True)
    old = {"cniVersion": "1.0.0", "name": "net", "type": "foreign", "ipam": {"type": "host-local"}}
    for container in ("gone", foreign.scene.pod.id):
        (STATE / container).write_text(json.dumps(old))
    assert foreign.call("GC", **listed(foreign.scene.pod)).code == 0
    assert foreign.calls == ["GC", "DEL eth0"]
    assert json.loads(foreign.stdin[1]) == old
    assert states() == {foreign.scene.pod.id}


def test_gc_deletes_what_a_state_tells_of_where_the_delegate_has_no_gc(foreign: Foreign) -> None:
    assert foreign.call("ADD").code == 0
    for path in RECORDS.iterdir():
        path.unlink()
    assert foreign.call("GC", **listed(foreign.scene.other)).code == 0
    assert foreign.calls == ["ADD eth0", "DEL eth0", "GC"]
    assert foreign.stdin[0] == foreign.stdin[1]
    assert not states()


def test_gc_hands_the_list_on_with_what_the_delegate_would_get(foreign: Foreign) -> None:
    assert foreign.call("GC", **listed(foreign.scene.pod)).code == 0
    sent = json.loads(foreign.stdin[0])
    assert sent["cni.dev/valid-attachments"] == [{"containerID": foreign.scene.pod.id, "ifname": "eth0"}]
    assert sent["ipam"]["ranges"] == [[{"subnet": "10.5.52.0/24"}], [{"subnet": "fd05:0:0:34::/64"}]]


def test_gc_that_the_delegate_refuses_keeps_the_states(foreign: Foreign) -> None:
    assert foreign.call("ADD").code == 0
    foreign.answers('echo \'{"code":11,"msg":"busy"}\'; exit 1', verb="DEL")
    assert "foreign: busy" in foreign.call("GC", **listed()).error["msg"]
    assert states() == {foreign.scene.pod.id, f"{foreign.scene.pod.id}:eth0"}
    foreign.answers()
    assert foreign.call("GC", **listed()).code == 0
    assert not states()
