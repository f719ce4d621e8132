"""What a node is left with when a plugin is killed or terminated at any moment: nothing that the runtime's next call does not remove.

CNI_TEST_KILLS is the number of SIGKILLs, 300 unless given; `make soak` gives thousands.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.calls import Caller, moments
from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import bridge, ptp
from tests.support.netns import Container
from tests.support.node import Node

KILLS = int(os.environ.get("CNI_TEST_KILLS", "300"))
TERMINATIONS = 30
KINDS: dict[str, dict[str, Any]] = {"bridge": bridge(ipMasq=True), "ptp": ptp(ipMasq=True)}


@pytest.fixture(params=KINDS)
def caller(request: pytest.FixtureRequest, node: Node, plugins: Path) -> Caller:
    """A network on the node, used once so that what it shares is there."""
    caller = Caller(node, plugins, KINDS[request.param])
    container = node.container("primer")
    caller.prime(container)
    container.delete()
    return caller


def test_killed_add_is_undone_by_del(caller: Caller, node: Node, nothing_left: NothingLeft) -> None:
    def after_kill(container: Container) -> None:
        caller.delete(container)

    sweep(caller, "ADD", after_kill, kills=KILLS // 6, nothing_left=nothing_left)


def test_killed_add_may_be_tried_again(caller: Caller, node: Node, nothing_left: NothingLeft) -> None:
    def after_kill(container: Container) -> None:
        if caller.run("ADD", container).code:  # killed while it answered: the attachment is whole, and stays until a DEL
            caller.delete(container)
            caller.add(container)
        caller.delete(container)

    sweep(caller, "ADD", after_kill, kills=KILLS // 12, nothing_left=nothing_left)


def test_killed_del_is_finished_by_another(caller: Caller, node: Node, nothing_left: NothingLeft) -> None:
    def after_kill(container: Container) -> None:
        caller.delete(container)

    sweep(caller, "DEL", after_kill, kills=KILLS // 6, nothing_left=nothing_left)


def test_killed_add_whose_netns_is_lost_is_found_by_gc(caller: Caller, node: Node, nothing_left: NothingLeft) -> None:
    def after_kill(container: Container) -> None:
        container.delete()
        outcome = Caller(node, caller.directory, caller.conf | {"cni.dev/valid-attachments": []}).run("GC", None)
        assert outcome.code == 0, outcome

    sweep(caller, "ADD", after_kill, kills=KILLS // 12, nothing_left=nothing_left)


def test_terminated_add_fails_and_leaves_nothing(caller: Caller, node: Node, nothing_left: NothingLeft) -> None:
    container = node.container()
    moment = moments(caller.duration("ADD", container))
    for _ in range(TERMINATIONS):
        with nothing_left(node):
            call = caller.start("ADD", container)
            call.signal_after(next(moment), signal.SIGTERM)
            if call.end().code == 0:  # it had answered before the signal came
                caller.delete(container)


def sweep(caller: Caller, verb: str, after: Callable[[Container], None], *, kills: int, nothing_left: NothingLeft) -> None:
    """Kill calls of `verb` at moments all over their length; `after` each, the node must be as it was."""
    node = caller.node
    measured = node.container("measured")
    moment = moments(caller.duration(verb, measured))
    measured.delete()
    killed, attempts = 0, count()
    while killed < kills:
        with nothing_left(node):
            container = node.container(f"pod{next(attempts)}")
            if verb == "DEL":
                caller.add(container)
            call = caller.start(verb, container)
            killed += call.signal_after(next(moment), signal.SIGKILL)
            call.end()
            after(container)
            if container.name in node.containers:
                container.delete()
