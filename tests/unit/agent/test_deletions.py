"""Interfaces that many calls delete at the same time are deleted in few requests, and each call hears of its own failure alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from errno import EBUSY
from typing import Any

import pytest

from cni_plugins.agent.deletions import Deletions
from cni_plugins.kernel.rtnl import NetlinkError


class Kernel:
    """Stands in for a netlink socket: notes each request, waits in the first until it is told to go on, refuses link `bad`."""

    def __init__(self, bad: int = -1) -> None:
        self.requests: list[list[int]] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.bad = bad

    def delete_links(self, indexes: Sequence[int]) -> None:
        self.requests.append(list(indexes))
        self.entered.set()
        self.go_on.wait()
        if self.bad in indexes:
            raise NetlinkError(EBUSY, f"delete {len(indexes)} links")


def burst(kernel: Any, deletions: Deletions, count: int) -> dict[int, BaseException | None]:
    """One call that is on its way, and `count` more that come meanwhile; what came of each."""
    outcomes: dict[int, BaseException | None] = {}

    def delete(index: int) -> None:
        try:
            deletions.delete(kernel, [index])
        except NetlinkError as error:
            outcomes[index] = error
        else:
            outcomes[index] = None

    threads = [threading.Thread(target=delete, args=(index,)) for index in range(count + 1)]
    threads[0].start()
    kernel.entered.wait()
    for thread in threads[1:]:
        thread.start()
    while len(deletions._orders) < count:
        threads[1].join(0.001)
    kernel.go_on.set()
    for thread in threads:
        thread.join()
    return outcomes


def test_a_burst_of_deletions_is_two_requests() -> None:
    kernel = Kernel()
    outcomes = burst(kernel, Deletions(), 50)
    assert [len(request) for request in kernel.requests] == [1, 50]
    assert sorted(index for request in kernel.requests for index in request) == list(range(51))
    assert set(outcomes.values()) == {None}


def test_one_link_that_cannot_be_deleted_keeps_no_other() -> None:
    kernel = Kernel(bad=7)
    outcomes = burst(kernel, Deletions(), 20)
    assert [index for index, outcome in outcomes.items() if outcome is not None] == [7]


def test_a_defect_in_the_common_request_reaches_all_who_wait_for_it() -> None:
    class Broken(Kernel):
        def delete_links(self, indexes: Sequence[int]) -> None:
            super().delete_links(indexes)
            if len(indexes) > 1:
                raise RuntimeError("no memory")

    deletions, kernel, heard = Deletions(), Broken(), []

    def delete(index: int) -> None:
        try:
            deletions.delete(kernel, [index])  # type: ignore[arg-type]
        except RuntimeError as error:
            heard.append(str(error))

    threads = [threading.Thread(target=delete, args=(index,)) for index in range(4)]
    threads[0].start()
    kernel.entered.wait()
    for thread in threads[1:]:
        thread.start()
    while len(deletions._orders) < 3:
        threads[1].join(0.001)
    kernel.go_on.set()
    for thread in threads:
        thread.join()
    assert heard == ["no memory"] * 3


def test_nothing_to_delete_is_no_request() -> None:
    kernel = Kernel()
    Deletions().delete(kernel, [])  # type: ignore[arg-type]
    assert kernel.requests == []


@pytest.mark.parametrize("count", [1, 3])
def test_a_call_alone_is_one_request(count: int) -> None:
    kernel = Kernel()
    kernel.go_on.set()
    Deletions().delete(kernel, range(count))  # type: ignore[arg-type]
    assert kernel.requests == [list(range(count))]
