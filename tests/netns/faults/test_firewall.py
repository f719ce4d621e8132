"""The firewall plugin when something goes wrong: every operation that it performs on the machine fails once, and no hole stays open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance import ledger
from tests.netns.faults.injection import AnswerLost, Count, Interrupted, InterruptedAfter, Persistent, Refused
from tests.netns.faults.scenes import Scene, quick_ledgers, sweep
from tests.netns.plugins.firewall.conftest import STATIC
from tests.netns.plugins.networks import network
from tests.support.node import Node
from tests.support.shared import SHARED

EVERY = [Refused, AnswerLost, Persistent, Interrupted, InterruptedAfter]


class Guarded(Scene):
    """firewall with a policy, on a pod whose bridge another pod shares."""

    def __init__(self, node: Node, directory: Path, variant: str) -> None:
        super().__init__("loopback", node, directory)
        self.plugin = "firewall"
        for program in ("iptables", "ip6tables"):
            node.run([f"{program}-{variant}", "-P", "FORWARD", "DROP"])
        mine = self.plugins.good("bridge", "ADD", network(), container=self.pod)
        self.conf = network("firewall", ingressPolicy="isolated", prevResult=mine)
        other = node.container("other")
        prev = self.plugins.good("bridge", "ADD", network(), container=other)
        self.plugins.good("firewall", "ADD", self.conf | {"prevResult": prev}, container=other)
        self.good("ADD")
        self.good("DEL")


@pytest.fixture(params=["nft", "legacy"])
def scene(request: pytest.FixtureRequest, node: Node, tmp_path: Path) -> Guarded:
    """firewall on a node where it has been used before."""
    return Guarded(node, tmp_path, request.param)


@pytest.mark.parametrize("fault", EVERY)
def test_failed_add_leaves_the_node_as_it_was(scene: Guarded, fault: type[Refused]) -> None:
    everything = scene.node.ledger()
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            outcome = scene.faulty("ADD", one)
            if fault is Persistent or (outcome and outcome.code == 0):
                scene.good("DEL")
            scene.expect(one, before, "after it")
            scene.good("DEL")

        assert sweep(fault, case) > 3
    scene.expect(Count(), everything, "at the end")
    assert not scene.problems, "\n".join(scene.problems)


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_failed_first_add_leaves_no_more_than_what_all_pods_share(variant: str, root: None, tmp_path: Path) -> None:
    problems: list[str] = []

    def case(one: Count) -> None:
        directory = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        with Node() as node:
            scene = Scene("loopback", node, directory)
            scene.plugin = "firewall"
            for program in ("iptables", "ip6tables"):
                node.run([f"{program}-{variant}", "-P", "FORWARD", "DROP"])
            prev = scene.plugins.good("bridge", "ADD", network(), container=scene.pod)
            scene.conf = network("firewall", ingressPolicy="isolated", prevResult=prev)
            before = node.ledger()
            outcome = scene.faulty("ADD", one)
            if outcome and outcome.code == 0:
                scene.good("DEL")
            scene.expect(one, before, "after it", ignore=(*SHARED, STATIC))
            scene.good("ADD")
            scene.good("CHECK")
            problems.extend(scene.problems)

    with quick_ledgers():
        assert sweep(Refused, case) > 3
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("fault", EVERY)
@pytest.mark.parametrize("verb", ["DEL", "GC"])
@pytest.mark.parametrize("scene", ["nft"], indirect=True)
def test_removal_that_failed_can_be_repeated_until_nothing_is_left(scene: Guarded, verb: str, fault: type[Refused]) -> None:
    valid = [{"containerID": scene.node.containers["other"].id, "ifname": "eth0"}]
    keys: dict[str, Any] = {"cni.dev/valid-attachments": valid} if verb == "GC" else {}
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            scene.good("ADD")
            outcome = scene.faulty(verb, one, **keys)
            if outcome and outcome.code == 0:
                scene.expect(one, before, f"after {verb} said that it is done")
            scene.good(verb, **keys)
            scene.expect(one, before, f"after the second {verb}")
            scene.good("DEL")

        sweep(fault, case)
    assert not scene.problems, "\n".join(scene.problems)


@pytest.mark.parametrize("fault", [Refused, Persistent])
@pytest.mark.parametrize("verb", ["CHECK", "STATUS"])
def test_question_changes_nothing_even_where_it_cannot_be_answered(scene: Guarded, verb: str, fault: type[Refused]) -> None:
    scene.good("ADD")
    before: ledger.Snapshot = scene.node.ledger()
    with quick_ledgers():
        state = scene.node.ledger()

        def case(one: Count) -> None:
            scene.faulty(verb, one)
            scene.expect(one, state, f"after {verb}", ignore=())

        sweep(fault, case)
    scene.expect(Count(), before, "at the end", ignore=())
    assert not scene.problems, "\n".join(scene.problems)
