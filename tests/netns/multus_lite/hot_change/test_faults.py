"""Every operation of a change fails once, and an agent dies at each: the pod has its networks, and its DEL leaves nothing."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest

from cni_plugins.protocol.errors import CniError
from conformance import ledger
from tests.netns.faults.injection import AnswerLost, Count, Refused, injected
from tests.netns.faults.scenes import STRIDE, quick_ledgers
from tests.netns.multus_lite.hot_change.changing import CLAIMS, Changing
from tests.netns.multus_lite.scene import SHARED, bridge, defaults, leases, links
from tests.support.shared import INDEX

EACH = 1 if STRIDE == 1 else 6
"""A case takes a while: most operations are tried by one test or another, and all by `make soak`."""
BEFORE, AFTER = "two, foreign", "foreign, three"
NAMES = {BEFORE: {"eth0", "net1", "net2"}, AFTER: {"eth0", "net2", "net3"}}


class Dies(Refused):
    """The process is killed before the operation."""

    def strike(self, *_: Any, **__: Any) -> Any:
        os._exit(9)


@pytest.fixture
def changing(changing: Changing) -> Changing:
    """A pod that loses a network and gains another, and keeps one that a foreign plugin makes; all have been used before."""
    changing.api.define("three", bridge(3))
    changing.scene.keys["events"] = False
    changing.foreign.answers("ADD", CLAIMS)
    changing.add(f"{BEFORE}, three")
    changing.scene.good("DEL")
    return changing


def dies(changing: Changing, at: int) -> bool:
    """Whether an agent that makes the change dies at operation number `at`."""
    with changing.scene.node.inside(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking a process that has threads: they are the API server's
        child = os.fork()
        if not child:
            try:
                with injected(Dies(at)):
                    changing.change()
            finally:
                os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def each_death(changing: Changing, then: Callable[[int], None], *, first: int, asked: Sequence[Any] = (BEFORE, AFTER)) -> None:
    """Have a change from one to the other of what is `asked` be killed at every `EACH`th operation from the `first` on.

    `then` looks at what is there; a DEL must leave nothing.
    """
    with quick_ledgers():
        before = changing.scene.node.ledger()
        for at in count(first % EACH, EACH):
            changing.add(asked[0])
            changing.api.annotate(asked[1])
            died = dies(changing, at)
            then(at)
            changing.scene.good("DEL")
            left = ledger.diff(before, changing.scene.node.ledger(), ignore=SHARED)
            assert not left, f"killed at {at}: {left}"
            if not died:
                break
    assert at > 50


def test_delete_after_the_agent_died_in_a_change_leaves_nothing(changing: Changing) -> None:
    each_death(changing, lambda at: None, first=0)


def test_next_agent_finishes_what_a_dead_one_began(changing: Changing) -> None:
    def finished(at: int) -> None:
        changing.change()
        assert set(changing.status) == NAMES[AFTER], f"killed at {at}"
        assert changing.status["net3"] == ("default/three", [_address(changing, "net3")]), f"killed at {at}"
        assert not changing.change(), f"killed at {at}"

    each_death(changing, finished, first=2)


def test_next_agent_finishes_although_the_pod_wants_back_what_it_had(changing: Changing) -> None:
    def finished(at: int) -> None:
        changing.to(BEFORE)
        assert set(changing.status) == NAMES[BEFORE], f"killed at {at}"
        assert changing.status["net1"] == ("default/two", [_address(changing, "net1")]), f"killed at {at}"
        assert not changing.change(), f"killed at {at}"

    each_death(changing, finished, first=4)


def test_default_route_is_where_it_belongs_after_an_agent_died_in_moving_it(changing: Changing) -> None:
    for number, name in ((2, "two"), (3, "three")):
        changing.api.define(name, bridge(number, isGateway=True))
    asked = [[{"name": name, "default-route": [f"10.{number}.0.1"]}] for number, name in ((2, "two"), (3, "three"))]

    def finished(at: int) -> None:
        changing.change()
        assert defaults(changing.scene.pod) == [("net1", "10.3.0.1")], f"killed at {at}"
        assert [one.get("gateway") for one in changing.api.status()] == [None, ["10.3.0.1"]], f"killed at {at}"
        assert changing.to([])
        assert defaults(changing.scene.pod) == [("eth0", "10.1.0.1")], f"killed at {at}"

    each_death(changing, finished, first=5, asked=asked)


def _address(changing: Changing, ifname: str) -> str:
    (address,) = links(changing.scene.pod)[ifname]
    return address.partition("/")[0]


@pytest.mark.parametrize(("fault", "first"), [(Refused, 1), (AnswerLost, 3)])
def test_change_that_failed_leaves_the_pod_as_it_was_and_can_be_repeated(changing: Changing, fault: type[Refused], first: int) -> None:
    def case(one: Count) -> None:
        changing.add(BEFORE)
        changing.api.annotate(AFTER)
        error = faulty(changing, one)
        if error is not None and "undoing it failed" not in error.details:
            assert set(changing.status) == NAMES[BEFORE], f"{one}: {error.msg}"
            assert changing.status["net1"] == ("default/two", [_address(changing, "net1")]), f"{one}: {error.msg}"
            assert len(leases()) == 2, f"{one}: {error.msg}"
        changing.change()
        assert changing.status["net3"] == ("default/three", [_address(changing, "net3")]), str(one)
        assert set(changing.status) == NAMES[AFTER], str(one)
        changing.scene.good("DEL")
        left = ledger.diff(before, changing.scene.node.ledger(), ignore=(*SHARED, INDEX))  # the network of `two` is not called again
        assert not left, f"{one}: {left}"

    with quick_ledgers():
        before = changing.scene.node.ledger()
        for at in count(first % EACH, EACH):
            one = fault(at)
            case(one)
            if not one.struck:
                break
    assert at > 50


def faulty(changing: Changing, fault: Count) -> CniError | None:
    """Make the change under a fault; the error that it ended in."""
    try:
        with injected(fault):
            changing.change()
    except CniError as error:
        return error
    return None
