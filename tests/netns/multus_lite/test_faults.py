"""Every operation that the plugin performs on the machine fails once, those of its networks' plugins included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.netns.faults import scenes
from tests.netns.faults.injection import AnswerLost, Count, InterruptedAfter, Persistent, Refused
from tests.netns.faults.scenes import quick_ledgers, sweep
from tests.netns.multus_lite.scene import SHARED
from tests.support.node import Node
from tests.support.shared import INDEX

_CONF: dict[str, Any] = {
    "type": "multus",
    "delegates": [
        {"name": "net1", "type": "bridge", "bridge": "br1", "isGateway": True, "ipam": {"type": "foreign"}},
        {"cniVersion": "1.1.0", "name": "net2", "plugins": [{"type": "bridge", "bridge": "br2"}, {"type": "tuning", "mtu": 1400}]},
        {"name": "net3", "type": "foreign"},
        {"name": "net4", "type": "another"},
    ],
}


def scene_on(node: Node, directory: Path) -> scenes.Scene:
    """A scene of the fault tests with four networks, all but the first of them set up at once; two of these are other people's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scenes.CONFIGURATIONS, "multus", _CONF)
        scene = scenes.Scene("multus", node, directory)
    (scene.plugins.directory / "another").symlink_to("foreign")
    return scene


@pytest.fixture
def scene(node: Node, tmp_path: Path) -> scenes.Scene:
    """Networks that have been used before."""
    scene = scene_on(node, tmp_path)
    scene.good("ADD")
    scene.good("DEL")
    return scene


class Killed(Refused):
    """From this operation on nothing can be done any more: what a process leaves that is killed there."""

    def strikes(self, name: str) -> bool:
        return self.struck or super().strikes(name)


@pytest.mark.parametrize("fault", [Refused, AnswerLost, InterruptedAfter])
def test_failed_add_leaves_the_node_as_it_was(scene: scenes.Scene, fault: type[Refused]) -> None:
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            outcome = scene.faulty("ADD", one)
            if outcome and outcome.code == 0:
                scene.good("DEL")
            scene.expect(one, before, "after it", ignore=SHARED)
            scene.good("DEL")

        assert sweep(fault, case) > 50
    assert not scene.problems, "\n".join(scene.problems)


@pytest.mark.parametrize("fault", [Persistent, Killed])
def test_del_clears_up_after_an_add_that_was_killed_or_could_not_be_undone(scene: scenes.Scene, fault: type[Refused]) -> None:
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            scene.faulty("ADD", one)
            scene.good("DEL")
            scene.expect(one, before, "after DEL", ignore=SHARED)

        assert sweep(fault, case) > 50
    assert not scene.problems, "\n".join(scene.problems)


def test_delete_that_was_killed_is_finished_by_the_next(scene: scenes.Scene) -> None:
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            scene.good("ADD")
            scene.faulty("DEL", one)
            scene.good("DEL")
            scene.expect(one, before, "after the second DEL", ignore=SHARED)

        assert sweep(Killed, case) > 20
    assert not scene.problems, "\n".join(scene.problems)


@pytest.mark.parametrize(("verb", "fault"), [("DEL", Refused), ("DEL", InterruptedAfter), ("GC", Persistent)])
def test_removal_that_failed_can_be_repeated_until_nothing_is_left(scene: scenes.Scene, verb: str, fault: type[Refused]) -> None:
    keys: dict[str, Any] = {"cni.dev/valid-attachments": []} if verb == "GC" else {}
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            scene.good("ADD")
            outcome = scene.faulty(verb, one, **keys)
            if outcome and outcome.code == 0:
                scene.expect(one, before, f"after {verb} said that it is done", ignore=(*scene.ignored(verb), *SHARED, INDEX))
            scene.good(verb, **keys)
            scene.expect(one, before, f"after the second {verb}", ignore=(*scene.ignored(verb), *SHARED))
            scene.good("DEL")

        assert sweep(fault, case) > 20
    assert not scene.problems, "\n".join(scene.problems)


@pytest.mark.parametrize("verb", ["CHECK", "STATUS"])
def test_question_changes_nothing_even_where_it_cannot_be_answered(scene: scenes.Scene, verb: str) -> None:
    keys = {"prevResult": scene.good("ADD")} if verb == "CHECK" else {}
    with quick_ledgers():
        state = scene.node.ledger()

        def case(one: Count) -> None:
            scene.faulty(verb, one, **keys)
            scene.expect(one, state, f"after {verb}", ignore=())

        assert sweep(Refused, case) > 10
    assert not scene.problems, "\n".join(scene.problems)
