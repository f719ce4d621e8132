"""Limits when something goes wrong: every operation that bandwidth performs on the machine fails once, and no limit and no ifb stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.netns.faults.injection import EVERY, REMOVALS, Count, Persistent, Refused
from tests.netns.faults.scenes import Scene, quick_ledgers, sweep
from tests.netns.plugins.bandwidth.shaped import BOTH, conf, pair
from tests.support.node import Node


class Shaped(Scene):
    """bandwidth, in both directions, on the interface of a pod."""

    def __init__(self, node: Node, directory: Path) -> None:
        super().__init__("loopback", node, directory)
        self.plugin = "bandwidth"
        pair(self.pod)
        self.conf = conf(self.pod, **BOTH)
        self.good("ADD")
        self.good("DEL")


@pytest.fixture
def scene(node: Node, tmp_path: Path) -> Shaped:
    """bandwidth on a node where it has been used before."""
    return Shaped(node, tmp_path)


@pytest.mark.parametrize("fault", EVERY)
def test_failed_add_leaves_the_node_as_it_was(scene: Shaped, fault: type[Refused]) -> None:
    everything = scene.node.ledger()
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            outcome = scene.faulty("ADD", one)
            if fault is Persistent or (outcome and outcome.code == 0):
                scene.good("DEL")  # what fails for good fails the undoing too
            scene.expect(one, before, "after ADD and DEL" if outcome and outcome.code == 0 else "after the failed ADD")
            scene.good("DEL")

        assert sweep(fault, case) > 20
    scene.expect(Count(), everything, "at the end")
    assert not scene.problems, "\n".join(scene.problems)


@pytest.mark.parametrize(("verb", "fault"), REMOVALS)
def test_removal_that_failed_can_be_repeated_until_nothing_is_left(scene: Shaped, verb: str, fault: type[Refused]) -> None:
    keys: dict[str, Any] = {"cni.dev/valid-attachments": []} if verb == "GC" else {}
    everything = scene.node.ledger()
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            scene.good("ADD")
            if verb == "DEL without its record":
                for record in Path("/run/cni-plugins/records").iterdir():
                    record.unlink()
            outcome = scene.faulty(verb.partition(" ")[0], one, **keys)
            if outcome and outcome.code == 0:
                scene.expect(one, before, f"after {verb} said that it is done")
            scene.good(verb.partition(" ")[0], **keys)
            scene.expect(one, before, f"after the second {verb}")
            scene.good("DEL")

        assert sweep(fault, case) > 5
    scene.expect(Count(), everything, "at the end")
    assert not scene.problems, "\n".join(scene.problems)


@pytest.mark.parametrize("verb", ["CHECK", "STATUS"])
def test_question_changes_nothing_even_where_it_cannot_be_answered(scene: Shaped, verb: str) -> None:
    keys = {"prevResult": scene.good("ADD")} if verb == "CHECK" else {}
    before = scene.node.ledger()
    with quick_ledgers():
        state = scene.node.ledger()

        def case(one: Count) -> None:
            scene.faulty(verb, one, **keys)
            scene.expect(one, state, f"after {verb}", ignore=())

        assert sweep(Refused, case) > 3
    scene.expect(Count(), before, "at the end", ignore=())
    assert not scene.problems, "\n".join(scene.problems)
