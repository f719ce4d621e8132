"""The same configuration, run by Multus and by ours in turn: each deletes what the other added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance import ledger
from tests.lab import peers
from tests.netns.multus_lite.scene import SHARED, Scene, bridge, chain, defaults, leases, links, states, valid
from tests.support.outcome import Outcome

_OURS = (*SHARED, r"node file /run/cni-plugins/records/[^/]+", r"node file /var/lib/cni/multus/[^/]+:[^/]+")
"""What Multus cannot know of and therefore leaves of ours: our records, and the states under our name."""


class Theirs:
    """Multus with plugins from `path`."""

    def __init__(self, scene: Scene, path: Path) -> None:
        self.scene = scene
        self.path = path
        self.program = peers.program("multus")

    def call(self, verb: str, **keys: Any) -> Outcome:
        """One call for the scene's pod."""
        conf = self.scene.conf(binDir=str(self.path), logLevel="panic", **keys)
        container = None if verb in ("GC", "STATUS") else self.scene.pod
        return self.scene.node.cni(self.program, verb, conf, container=container, path=self.path)


@pytest.fixture(params=["our plugins", "the reference plugins"])
def theirs(request: pytest.FixtureRequest, scene: Scene, reference_bin: Path, plugin_dir: Path) -> Theirs:
    """Multus on the scene, whose bridges have been used before by both."""
    scene.delegates[1:] = [chain(2)]
    other = Theirs(scene, plugin_dir if request.param == "our plugins" else reference_bin)
    scene.keys = {"binDir": str(other.path)}
    for call in (scene.call, other.call):
        for verb in ("ADD", "DEL"):
            assert call(verb).code == 0
    return other


def test_both_make_the_same_networks(theirs: Theirs) -> None:
    scene = theirs.scene
    theirs_result = theirs.call("ADD").result
    made = (set(links(scene.pod)), defaults(scene.pod))
    assert theirs.call("DEL").code == 0
    ours = scene.good("ADD")
    assert (set(links(scene.pod)), defaults(scene.pod)) == made
    for result in (ours, theirs_result):
        for interface in result["interfaces"]:
            interface.pop("mac", None), interface.pop("mtu", None)
        result["interfaces"][1].pop("name")
        result["ips"][0].pop("address")
    assert ours == theirs_result


def test_attachment_that_multus_added_is_deleted_by_ours(theirs: Theirs) -> None:
    scene = theirs.scene
    before = scene.node.ledger()
    assert theirs.call("ADD").code == 0
    scene.delegates = scene.delegates[:1]  # not from the configuration
    for _ in range(2):
        scene.good("DEL")
    assert links(scene.pod) == {}
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


def test_attachment_that_ours_added_is_deleted_by_multus_and_by_ours_once_more(theirs: Theirs) -> None:
    scene = theirs.scene
    before = scene.node.ledger()
    scene.good("ADD")
    assert theirs.call("DEL").code == 0
    assert not leases()
    assert ledger.diff(before, scene.node.ledger(), ignore=_OURS) == []
    scene.good("DEL")
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


def test_attachment_that_multus_added_passes_our_check_and_fails_it_when_it_drifts(theirs: Theirs) -> None:
    scene = theirs.scene
    result = theirs.call("ADD").result
    scene.good("CHECK", prevResult=result)
    scene.pod.run(["ip", "link", "delete", "net1"])
    assert "network net2 (net1)" in scene.call("CHECK", prevResult=result).error["msg"]


def test_attachment_that_ours_added_passes_the_check_of_multus(theirs: Theirs) -> None:
    result = theirs.scene.good("ADD")
    assert theirs.call("CHECK", prevResult=result).code == 0


def test_our_gc_removes_what_multus_left_of_vanished_containers(theirs: Theirs) -> None:
    scene = theirs.scene
    assert theirs.call("ADD").code == 0
    scene.pod.delete()
    scene.gc()
    assert (leases(), states()) == (set(), set())


def test_our_gc_keeps_what_multus_added_for_a_container_that_is_there(theirs: Theirs) -> None:
    scene = theirs.scene
    assert theirs.call("ADD").code == 0
    before = scene.node.ledger()
    scene.gc((scene.pod, "eth0"))
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


def test_state_that_multus_wrote_for_another_network_in_the_same_directory_is_left_alone(theirs: Theirs) -> None:
    scene = theirs.scene
    assert theirs.call("ADD").code == 0
    kept = states()
    scene.delegates = [bridge(5)]
    scene.good("GC", name="another", **valid())
    assert states() == kept
    assert set(links(scene.pod)) == {"eth0", "net1"}
