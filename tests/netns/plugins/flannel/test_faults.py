"""Every operation that the flannel plugin performs on the machine fails once, its delegate's included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.netns.faults import scenes
from tests.netns.faults.injection import AnswerLost, Count, Interrupted, InterruptedAfter, Persistent, Refused
from tests.netns.faults.scenes import FOREIGN_STATE, quick_ledgers, sweep
from tests.netns.plugins.flannel.scene import REST, SHARED, SUBNET_FILE, V4, subnet_env
from tests.support.node import Node
from tests.support.shared import INDEX

_LOOPBACK = r"pod address 127\.0\.0\.1/8 dev lo"
_CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "bridge": {"type": "flannel", "delegate": {"ipMasq": True}},
    "foreign": {"type": "flannel", "delegate": {"type": "foreign"}},
}


def scene_on(node: Node, directory: Path, delegate: str) -> scenes.Scene:
    """A scene of the fault tests on a node that has a subnet."""
    SUBNET_FILE.parent.mkdir()
    SUBNET_FILE.write_text(subnet_env(V4 | REST))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scenes.CONFIGURATIONS, "flannel", _CONFIGURATIONS[delegate])
        return scenes.Scene("flannel", node, directory)


@pytest.fixture(params=list(_CONFIGURATIONS))
def scene(request: pytest.FixtureRequest, node: Node, tmp_path: Path) -> scenes.Scene:
    """A network that has been used before."""
    scene = scene_on(node, tmp_path, request.param)
    scene.good("ADD")
    scene.good("DEL")
    return scene


@pytest.mark.parametrize("fault", [Refused, AnswerLost, Interrupted, InterruptedAfter])
def test_failed_add_leaves_the_node_as_it_was(scene: scenes.Scene, fault: type[Refused]) -> None:
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            outcome = scene.faulty("ADD", one)
            if outcome and outcome.code == 0:
                scene.good("DEL")
            scene.expect(one, before, "after it")
            scene.good("DEL")

        assert sweep(fault, case) > 20
    assert not scene.problems, "\n".join(scene.problems)


def test_del_clears_up_after_an_add_whose_undoing_failed_too(scene: scenes.Scene) -> None:
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            scene.faulty("ADD", one)
            scene.good("DEL")
            scene.expect(one, before, "after DEL")

        assert sweep(Persistent, case) > 20
    assert not scene.problems, "\n".join(scene.problems)


def test_failed_first_add_leaves_a_fresh_node_as_it_was(root: None, tmp_path: Path) -> None:
    problems: list[str] = []

    def case(one: Count) -> None:
        directory = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        with Node() as node:
            scene = scene_on(node, directory, "foreign")
            before = node.ledger()
            outcome = scene.faulty("ADD", one)
            if outcome and outcome.code == 0:
                scene.good("DEL")
            scene.expect(one, before, "after it", ignore=(*SHARED, FOREIGN_STATE, _LOOPBACK))
            problems.extend(scene.problems)

    with quick_ledgers():
        assert sweep(Refused, case) > 20
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("fault", [Refused, AnswerLost, Persistent, Interrupted, InterruptedAfter])
@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_removal_that_failed_can_be_repeated_until_nothing_is_left(scene: scenes.Scene, verb: str, fault: type[Refused]) -> None:
    keys: dict[str, Any] = {"cni.dev/valid-attachments": []} if verb == "GC" else {}
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            scene.good("ADD")
            outcome = scene.faulty(verb, one, **keys)
            if outcome and outcome.code == 0:
                scene.expect(one, before, f"after {verb} said that it is done", ignore=(*scene.ignored(verb), INDEX))
            scene.good(verb, **keys)
            scene.expect(one, before, f"after the second {verb}", ignore=scene.ignored(verb))
            scene.good("DEL")

        assert sweep(fault, case) > 10
    assert not scene.problems, "\n".join(scene.problems)


@pytest.mark.parametrize("fault", [Refused, Persistent])
@pytest.mark.parametrize("verb", ["CHECK", "STATUS"])
def test_question_changes_nothing_even_where_it_cannot_be_answered(scene: scenes.Scene, verb: str, fault: type[Refused]) -> None:
    keys = {"prevResult": scene.good("ADD")} if verb == "CHECK" else {}
    with quick_ledgers():
        state = scene.node.ledger()

        def case(one: Count) -> None:
            scene.faulty(verb, one, **keys)
            scene.expect(one, state, f"after {verb}", ignore=())

        assert sweep(fault, case) > 5
    assert not scene.problems, "\n".join(scene.problems)
