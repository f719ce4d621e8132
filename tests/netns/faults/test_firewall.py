"""The firewall plugin when something goes wrong: every operation that it performs on the machine fails once, and no hole stays open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cni_plugins.protocol.attachment import Attachment
from conformance import ledger
from tests.netns.faults.injection import EVERY, REMOVALS, Count, Persistent, Refused
from tests.netns.faults.scenes import Scene, quick_ledgers, sweep
from tests.netns.plugins.firewall.conftest import STATIC
from tests.netns.plugins.networks import network
from tests.support.node import Node
from tests.support.shared import SHARED


def drop_what_is_forwarded(node: Node, variant: str = "nft") -> None:
    """Begin with no rules but a policy of DROP in iptables of a form."""
    node.run(["nft", "flush", "ruleset"])
    for program in ("iptables", "ip6tables"):
        for arguments in (["-F"], ["-X"], ["-P", "FORWARD", "DROP"]) if variant == "legacy" else (["-P", "FORWARD", "DROP"],):
            node.run([f"{program}-{variant}", *arguments])


class NotStarted(Refused):
    """A program cannot be started; what else is done about programs of one form is done about those of the other."""

    def strikes(self, name: str) -> bool:
        return name == "spawn" and super().strikes(name)


class Guarded(Scene):
    """firewall with a policy, on a pod whose bridge another pod shares."""

    def __init__(self, node: Node, directory: Path) -> None:
        super().__init__("loopback", node, directory)
        self.plugin = "firewall"
        drop_what_is_forwarded(node)
        mine = self.plugins.good("bridge", "ADD", network(), container=self.pod)
        self.conf = network("firewall", ingressPolicy="isolated", prevResult=mine)
        self.attachment = Attachment(self.conf["name"], self.pod.id, "eth0")
        other = node.container("other")
        prev = self.plugins.good("bridge", "ADD", network(), container=other)
        self.plugins.good("firewall", "ADD", self.conf | {"prevResult": prev}, container=other)
        self.good("ADD")
        self.good("DEL")


@pytest.fixture
def scene(node: Node, tmp_path: Path) -> Guarded:
    """firewall on a node where it has been used before."""
    return Guarded(node, tmp_path)


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


@pytest.mark.parametrize(("variant", "fault"), [("nft", Refused), ("legacy", NotStarted)])
def test_failed_first_add_leaves_no_more_than_what_all_pods_share(variant: str, fault: type[Refused], node: Node, tmp_path: Path) -> None:
    scene = Scene("loopback", node, tmp_path)
    scene.plugin = "firewall"
    prev = scene.plugins.good("bridge", "ADD", network(), container=scene.pod)
    scene.conf = network("firewall", prevResult=prev)
    with quick_ledgers():

        def case(one: Count) -> None:
            drop_what_is_forwarded(node, variant)
            before = node.ledger()
            outcome = scene.faulty("ADD", one)
            if outcome and outcome.code == 0:
                scene.good("DEL")
            scene.expect(one, before, "after it", ignore=(*SHARED, STATIC))
            scene.good("ADD")
            scene.good("CHECK")
            scene.good("DEL")

        assert sweep(fault, case) > 3
    assert not scene.problems, "\n".join(scene.problems)


@pytest.mark.parametrize(("verb", "fault"), REMOVALS)
def test_removal_that_failed_can_be_repeated_until_nothing_is_left(scene: Guarded, verb: str, fault: type[Refused]) -> None:
    valid = [{"containerID": scene.node.containers["other"].id, "ifname": "eth0"}]
    keys: dict[str, Any] = {"cni.dev/valid-attachments": valid} if verb == "GC" else {}
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            scene.good("ADD")
            if verb == "DEL without its record":
                (Path("/run/cni-plugins/records") / f"{scene.attachment.key.hex()}.firewall").unlink()
            outcome = scene.faulty(verb.partition(" ")[0], one, **keys)
            if outcome and outcome.code == 0:
                scene.expect(one, before, f"after {verb} said that it is done")
            scene.good(verb.partition(" ")[0], **keys)
            scene.expect(one, before, f"after the second {verb}")
            scene.good("DEL")

        sweep(fault, case)
    assert not scene.problems, "\n".join(scene.problems)


@pytest.mark.parametrize("verb", ["CHECK", "STATUS"])
def test_question_changes_nothing_even_where_it_cannot_be_answered(scene: Guarded, verb: str) -> None:
    scene.good("ADD")
    before: ledger.Snapshot = scene.node.ledger()
    with quick_ledgers():
        state = scene.node.ledger()

        def case(one: Count) -> None:
            scene.faulty(verb, one)
            scene.expect(one, state, f"after {verb}", ignore=())

        sweep(Refused, case)
    scene.expect(Count(), before, "at the end", ignore=())
    assert not scene.problems, "\n".join(scene.problems)
