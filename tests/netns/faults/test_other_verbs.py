"""DEL, GC, CHECK and STATUS when something goes wrong: every operation that they perform on the machine fails once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.netns.faults.injection import AnswerLost, Count, Interrupted, InterruptedAfter, Persistent, Refused
from tests.netns.faults.scenes import CONFIGURATIONS, Scene, quick_ledgers, sweep
from tests.support.node import Node
from tests.support.shared import INDEX


@pytest.fixture(params=list(CONFIGURATIONS))
def scene(request: pytest.FixtureRequest, node: Node, tmp_path: Path) -> Scene:
    """A plugin on a node where it has been used before."""
    scene = Scene(request.param, node, tmp_path)
    scene.good("ADD")
    scene.good("DEL")
    return scene


@pytest.mark.parametrize("fault", [Refused, AnswerLost, Persistent, Interrupted, InterruptedAfter])
@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_removal_that_failed_can_be_repeated_until_nothing_is_left(scene: Scene, verb: str, fault: type[Refused]) -> None:
    keys: dict[str, Any] = {"cni.dev/valid-attachments": []} if verb == "GC" else {}
    everything = scene.node.ledger()
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            scene.good("ADD")
            outcome = scene.faulty(verb, one, **keys)
            scene.lease_outlives_link(one)
            if outcome and outcome.code == 0:
                scene.expect(one, before, f"after {verb} said that it is done", ignore=(*scene.ignored(verb), INDEX))
            scene.good(verb, **keys)
            scene.expect(one, before, f"after the second {verb}", ignore=scene.ignored(verb))
            scene.good("DEL")

        sweep(fault, case)
    scene.expect(Count(), everything, "at the end")
    assert not scene.problems, "\n".join(scene.problems)


@pytest.mark.parametrize("fault", [Refused, Persistent])
@pytest.mark.parametrize("verb", ["CHECK", "STATUS"])
def test_question_changes_nothing_even_where_it_cannot_be_answered(scene: Scene, verb: str, fault: type[Refused]) -> None:
    keys = {"prevResult": scene.good("ADD")} if verb == "CHECK" else {}
    scene.call(verb, **keys)  # the answer of static is that nobody has put its address anywhere
    before = scene.node.ledger()

    with quick_ledgers():
        state = scene.node.ledger()

        def case(one: Count) -> None:
            scene.faulty(verb, one, **keys)
            scene.expect(one, state, f"after {verb}", ignore=())

        sweep(fault, case)
    scene.expect(Count(), before, "at the end", ignore=())
    assert not scene.problems, "\n".join(scene.problems)
