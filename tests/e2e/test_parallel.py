"""What happens when a runtime makes many calls at once, as on a node that starts or drains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.calls import Caller, moments
from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import addresses, bridge, ping, ptp
from tests.support.node import Node

AT_ONCE = 50
COLLISIONS = 20
KINDS: dict[str, dict[str, Any]] = {"bridge": bridge(ipMasq=True), "ptp": ptp(ipMasq=True)}


@pytest.mark.parametrize("kind", KINDS)
def test_many_pods_at_once_get_addresses_of_their_own_and_give_them_back(
    node: Node, plugins: Path, kind: str, nothing_left: NothingLeft
) -> None:
    caller = Caller(node, plugins, KINDS[kind])
    pods = [node.container(f"pod{number}") for number in range(AT_ONCE)]
    caller.prime(pods[0])
    with nothing_left(node):
        results = [call.end().result for call in [caller.start("ADD", pod) for pod in pods]]
        given = [address for result in results for address in addresses(result)]
        assert len(set(given)) == 2 * AT_ONCE
        if kind == "bridge":
            ping(pods[0], *given[-2:])
        ended = [call.end() for call in [caller.start("DEL", pod) for pod in pods]]
        assert [outcome for outcome in ended if outcome.code] == []


def test_del_beside_add_of_the_same_attachment_leaves_it_whole_or_gone(node: Node, plugins: Path, nothing_left: NothingLeft) -> None:
    caller = Caller(node, plugins, KINDS["bridge"])
    pod = node.container()
    moment = moments(caller.duration("ADD", pod))
    for _ in range(COLLISIONS):
        with nothing_left(node):
            adding = caller.start("ADD", pod)
            adding.wait(next(moment))
            deleting = caller.start("DEL", pod)
            added, deleted = adding.end(), deleting.end()
            assert deleted.code == 0, deleted
            assert added.error if added.code else added.result
            caller.delete(pod)


def test_second_add_of_an_attachment_is_an_error_and_keeps_the_first(node: Node, plugins: Path, nothing_left: NothingLeft) -> None:
    caller = Caller(node, plugins, KINDS["bridge"])
    pod = node.container()
    caller.prime(pod)
    with nothing_left(node):
        given = addresses(caller.add(pod))
        assert caller.run("ADD", pod).error["code"]
        ping(node, *given)
        caller.delete(pod)
