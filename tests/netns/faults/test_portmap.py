"""Mapped ports when something goes wrong: every operation that portmap performs on the machine fails once, and no port stays taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.netns.faults.injection import EVERY, REMOVALS, Count, InterruptedAfter, Persistent, Refused
from tests.netns.faults.scenes import Scene, quick_ledgers, sweep
from tests.netns.plugins.portmap.talk import network, port, ports
from tests.support.node import Node
from tests.support.shared import SHARED

MAPPINGS = (port(8080, 80), port(8081, 81, "udp"), port(8082, 82, "sctp", hostIP="192.0.2.2"))


class Mapped(Scene):
    """portmap behind a bridge, with ports of every kind; UDP packets that went elsewhere are remembered by the kernel."""

    def __init__(self, node: Node, directory: Path) -> None:
        super().__init__("bridge", node, directory)
        node.outside()
        previous = self.plugins.good("bridge", "ADD", network(), container=self.pod)
        self.plugin = "portmap"
        self.conf = ports(*MAPPINGS, prevResult=previous, conditionsV4=["!", "-d", "192.0.2.99"])
        self.good("ADD")
        self.good("DEL")


@pytest.fixture
def scene(node: Node, tmp_path: Path) -> Mapped:
    """portmap on a node where it has been used before."""
    return Mapped(node, tmp_path)


@pytest.mark.parametrize(("fault", "fresh"), [*((fault, False) for fault in EVERY), (Refused, True), (InterruptedAfter, True)])
def test_failed_add_leaves_the_node_as_it_was(scene: Mapped, fault: type[Refused], fresh: bool) -> None:
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            if fresh:
                scene.node.run(["nft", "flush", "ruleset"])
            outcome = scene.faulty("ADD", one)
            if fault is Persistent or (outcome and outcome.code == 0):
                scene.good("DEL")  # what fails for good fails the undoing too
            when = "after ADD and DEL" if outcome and outcome.code == 0 else "after the failed ADD"
            scene.expect(one, before, when, ignore=SHARED)
            scene.good("DEL")

        assert sweep(fault, case) > 10
    assert not scene.problems, "\n".join(scene.problems)


@pytest.mark.parametrize(("verb", "fault"), REMOVALS)
def test_removal_that_failed_can_be_repeated_until_nothing_is_left(scene: Mapped, verb: str, fault: type[Refused]) -> None:
    keys: dict[str, Any] = {"cni.dev/valid-attachments": []} if verb == "GC" else {}
    command = verb.partition(" ")[0]
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            scene.good("ADD")
            if verb == "DEL without its record":
                for record in Path("/run/cni-plugins/records").glob("*.portmap"):
                    record.unlink()
            outcome = scene.faulty(command, one, **keys)
            if outcome and outcome.code == 0:
                scene.expect(one, before, f"after {verb} said that it is done")
            scene.good(command, **keys)
            scene.expect(one, before, f"after the second {verb}")
            scene.good("DEL")

        assert sweep(fault, case) > 5
    assert not scene.problems, "\n".join(scene.problems)


@pytest.mark.parametrize("verb", ["CHECK", "STATUS"])
def test_question_changes_nothing_even_where_it_cannot_be_answered(scene: Mapped, verb: str) -> None:
    if verb == "CHECK":
        scene.good("ADD")
    with quick_ledgers():
        state = scene.node.ledger()

        def case(one: Count) -> None:
            scene.faulty(verb, one)
            scene.expect(one, state, f"after {verb}", ignore=())

        sweep(Refused, case)
    assert not scene.problems, "\n".join(scene.problems)


def test_an_add_that_fails_takes_no_port_from_its_owner(scene: Mapped) -> None:
    other = scene.node.container("other")
    previous = scene.plugins.good("bridge", "ADD", network(), container=other)
    theirs = ports(port(8081, 80, "udp"), prevResult=previous)
    scene.plugins.good("portmap", "ADD", theirs, container=other)
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            outcome = scene.faulty("ADD", one)
            assert outcome is None or outcome.code
            scene.good("DEL")
            scene.expect(one, before, "after the refused ADD")

        sweep(Refused, case)
    assert not scene.problems, "\n".join(scene.problems)
