"""ADD when something goes wrong: every operation that it performs on the machine fails once, for every plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.netns.faults.injection import AnswerLost, Count, Interrupted, InterruptedAfter, Persistent, Refused
from tests.netns.faults.scenes import CONFIGURATIONS, FOREIGN_STATE, Scene, quick_ledgers, sweep
from tests.support.node import Node
from tests.support.shared import SHARED

_LOOPBACK = r"pod address 127\.0\.0\.1/8 dev lo"
"""Linux leaves it on an `lo` that was up once."""


@pytest.fixture(params=list(CONFIGURATIONS))
def scene(request: pytest.FixtureRequest, node: Node, tmp_path: Path) -> Scene:
    """A plugin on a node where it has been used before."""
    scene = Scene(request.param, node, tmp_path)
    scene.good("ADD")
    scene.good("DEL")
    return scene


@pytest.mark.parametrize("fault", [Refused, AnswerLost, Interrupted, InterruptedAfter])
def test_failed_add_leaves_the_node_as_it_was(scene: Scene, fault: type[Refused]) -> None:
    everything = scene.node.ledger()
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            outcome = scene.faulty("ADD", one)
            if outcome and outcome.code == 0:
                scene.good("DEL")
            scene.expect(one, before, "after ADD and DEL" if outcome and outcome.code == 0 else "after the failed ADD")
            scene.good("DEL")

        assert sweep(fault, case) > 3
    scene.expect(Count(), everything, "at the end")
    assert not scene.problems, "\n".join(scene.problems)


def test_del_clears_up_after_an_add_whose_undoing_failed_too(scene: Scene) -> None:
    everything = scene.node.ledger()
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            scene.faulty("ADD", one)
            scene.good("DEL")
            scene.expect(one, before, "after DEL")

        assert sweep(Persistent, case) > 3
    scene.expect(Count(), everything, "at the end")
    assert not scene.problems, "\n".join(scene.problems)


@pytest.mark.parametrize("name", list(CONFIGURATIONS))
def test_failed_first_add_leaves_a_fresh_node_as_it_was(name: str, root: None, tmp_path: Path) -> None:
    problems: list[str] = []

    def case(one: Count) -> None:
        directory = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        with Node() as node:
            scene = Scene(name, node, directory)
            before = node.ledger()
            outcome = scene.faulty("ADD", one)
            if outcome and outcome.code == 0:
                scene.good("DEL")
            scene.expect(one, before, "after it", ignore=(*SHARED, FOREIGN_STATE, _LOOPBACK))
            problems.extend(scene.problems)

    with quick_ledgers():
        assert sweep(Refused, case) > 3
    assert not problems, "\n".join(problems)
