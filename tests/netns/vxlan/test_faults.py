"""The vxlan plugin when something goes wrong: every operation that it performs on the machine fails once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.faults import scenes
from tests.netns.faults.injection import AnswerLost, Count, Interrupted, InterruptedAfter, Persistent, Refused
from tests.netns.faults.scenes import Scene, quick_ledgers, sweep
from tests.support.node import Node
from tests.support.shared import HINTS, INDEX

_OVERLAY: dict[str, Any] = {
    "type": "vxlan", "vni": 100, "underlay": "eth0", "ipMasq": True, "network": "10.1.0.0/16", "subnet": "10.1.0.0/24",
    "peers": [{"node": "192.168.77.12", "subnet": "10.1.2.0/24"}, {"node": "192.168.99.13", "subnet": "10.1.3.0/24"}],
}  # fmt: skip
_DUAL = {"ipv6Network": "fd00:1::/48", "ipv6Subnet": "fd00:1::/64"}
_CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "tunnels": {**_OVERLAY, **_DUAL},
    "direct": {**_OVERLAY, "directRouting": True},
    "host-gw": {**_OVERLAY, "backend": "host-gw", "peers": _OVERLAY["peers"][:1]},
}
_LINK_LOCAL = r"\S+ (address|route) fe80:.*"


@pytest.fixture(params=list(_CONFIGURATIONS))
def scene(request: pytest.FixtureRequest, node: Node, tmp_path: Path) -> Iterator[Scene]:
    """The plugin on a node where it has been used before."""
    node.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "away"])
    up = ["link set eth0 up", "link set away up", "address add 192.168.77.11/24 dev eth0", "address add fd77::11/64 dev eth0 nodad"]
    node.run(["ip", "-batch", "-"], input="\n".join(["link set eth0 addrgenmode none", "link set away addrgenmode none", *up]))
    if request.param == "host-gw":  # what is forwarded has to be let through
        node.run(["iptables-nft", "-P", "FORWARD", "DROP"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scenes.CONFIGURATIONS, "vxlan", _CONFIGURATIONS[request.param])
        scene = Scene("vxlan", node, tmp_path)
        scene.good("ADD")
        scene.good("DEL")
        yield scene


@pytest.mark.parametrize("fault", [Refused, AnswerLost, Interrupted, InterruptedAfter])
def test_failed_add_leaves_the_node_as_it_was(scene: Scene, fault: type[Refused]) -> None:
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            outcome = scene.faulty("ADD", one)
            if outcome and outcome.code == 0:
                scene.good("DEL")
            scene.expect(one, before, "after it")
            scene.good("DEL")

        assert sweep(fault, case) > 3
    assert not scene.problems, "\n".join(scene.problems)


def test_del_clears_up_after_an_add_whose_undoing_failed_too(scene: Scene) -> None:
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            scene.faulty("ADD", one)
            scene.good("DEL")
            scene.expect(one, before, "after DEL")

        assert sweep(Persistent, case) > 3
    assert not scene.problems, "\n".join(scene.problems)


@pytest.mark.parametrize("fault", [Refused, AnswerLost, Persistent, Interrupted, InterruptedAfter])
@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_removal_that_failed_can_be_repeated_until_nothing_is_left(scene: Scene, verb: str, fault: type[Refused]) -> None:
    keys: dict[str, Any] = {"cni.dev/valid-attachments": []} if verb == "GC" else {}
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
    assert not scene.problems, "\n".join(scene.problems)


@pytest.mark.parametrize("verb", ["CHECK", "STATUS"])
def test_question_changes_nothing_even_where_it_cannot_be_answered(scene: Scene, verb: str) -> None:
    keys = {"prevResult": scene.good("ADD")} if verb == "CHECK" else {}
    with quick_ledgers():
        state = scene.node.ledger()

        def case(one: Count) -> None:
            scene.faulty(verb, one, **keys)
            scene.expect(one, state, f"after {verb}", ignore=(_LINK_LOCAL,))

        sweep(Refused, case)
    assert not scene.problems, "\n".join(scene.problems)


def test_failed_add_of_a_second_pod_keeps_the_overlay_of_the_first(scene: Scene) -> None:
    first = scene.node.container("first")
    scene.plugins.good("vxlan", "ADD", scene.conf, container=first)
    with quick_ledgers():
        before = scene.node.ledger()

        def case(one: Count) -> None:
            outcome = scene.faulty("ADD", one)
            if outcome and outcome.code == 0:
                scene.good("DEL")
            scene.expect(one, before, "after it", ignore=(HINTS, _LINK_LOCAL))
            scene.good("DEL")

        sweep(Refused, case)
    assert not scene.problems, "\n".join(scene.problems)
