"""Every operation of the store fails once, and the process is killed once before and after each: nothing is ever half done."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from cni_plugins.ipam.pools import Range, RangeSet
from cni_plugins.ipam.store import Store
from cni_plugins.kernel import calls
from cni_plugins.protocol.errors import IoFailure
from cni_plugins.protocol.ip import parse_cidr
from tests.unit.ipam import foreign

POOLS = [RangeSet([Range(parse_cidr("10.1.2.0/24"))]), RangeSet([Range(parse_cidr("2001:db8:1::/64"))])]
ONE = ("one", "eth0")
OTHER = ("other", "eth0")
ALWAYS = {".by-id", "lock", "last_reserved_ip.0", "last_reserved_ip.1"}

Step = Callable[[int, str, Callable[[], object]], object]


@contextmanager
def watched(step: Step) -> Iterator[None]:
    """Every call of the seam becomes `step(number, name, call)`, counted from 0."""
    with pytest.MonkeyPatch.context() as seam:
        count = iter(range(1_000_000))

        def watch(name: str) -> None:
            original = getattr(calls, name)
            seam.setattr(calls, name, lambda *a, **k: step(next(count), name, lambda: original(*a, **k)))

        for name in calls.__all__:
            watch(name)
        yield


def steps_of(action: Callable[[], object]) -> int:
    """How many calls of the seam `action` makes."""
    seen = []

    def count(number: int, name: str, call: Callable[[], object]) -> object:
        seen.append(number)
        return call()

    with watched(count):
        action()
    return len(seen)


def failing_at(target: int) -> Step:
    """The call with this number fails without effect; but close(2) does close when it reports an error, on Linux."""

    def step(number: int, name: str, call: Callable[[], object]) -> object:
        if number != target:
            return call()
        if name == "close":
            call()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    return step


def nodes(tmp_path: Path, *, fresh: bool, leased: bool) -> Iterator[Store]:
    """One store after the other in the same state: never used, or used by the reference last; the owner has leases, or not."""
    for number in range(1000):
        data_dir = tmp_path / str(number)
        store = Store(str(data_dir), "net")
        if leased:
            store.allocate(ONE, POOLS)
        if not fresh:
            foreign.reserve(data_dir / "net", "10.1.2.9", "other\r\neth0")
        yield store


def left(store: Store) -> set[str]:
    """The names in the directory that are neither always there nor the other owner's lease."""
    return set(os.listdir(directory_of(store))) - ALWAYS - {"10.1.2.9"}


def directory_of(store: Store) -> str:
    return store._files.directory


def lease_names(store: Store) -> set[str]:
    return {lease.address.address for lease in store.leases() if (lease.container_id, lease.ifname) == ONE}


@pytest.mark.parametrize("fresh", [True, False])
def test_an_allocation_in_which_anything_fails_holds_all_or_nothing(tmp_path: Path, *, fresh: bool) -> None:
    stores = nodes(tmp_path, fresh=fresh, leased=False)
    total = steps_of(lambda: next(stores).allocate(ONE, POOLS))
    assert total > 20
    for number in range(total):
        store = next(stores)
        try:
            with watched(failing_at(number)):
                names = {lease.address.address for lease in store.allocate(ONE, POOLS)}
        except IoFailure:
            names = set()
        assert lease_names(store) == names == {address.address for address in store.held(ONE)}
        store.release(ONE)
        assert not os.path.isdir(directory_of(store)) or left(store) == set()


@pytest.mark.parametrize("fresh", [True, False])
def test_a_release_in_which_anything_fails_can_be_repeated(tmp_path: Path, *, fresh: bool) -> None:
    stores = nodes(tmp_path, fresh=fresh, leased=True)
    total = steps_of(lambda: next(stores).release(ONE))
    for number in range(total):
        store = next(stores)
        try:
            with watched(failing_at(number)):
                store.release(ONE)
        except IoFailure:
            store.release(ONE)
        assert store.held(ONE) == []
        assert left(store) == set()
        assert fresh or [address.address for address in store.held(OTHER)] == ["10.1.2.9"]


def killed(action: Callable[[], object], number: int, *, after: bool) -> bool:
    """Run `action` in a child that is killed at the call `number`, before or after it; False if it ended before."""

    def step(current: int, name: str, call: Callable[[], object]) -> object:
        if current == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return call()
        finally:
            if current == number:
                os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        with watched(step):
            try:
                action()
            finally:
                os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fresh", [True, False])
def test_a_killed_allocation_leaves_whole_leases_that_release_finds(tmp_path: Path, *, fresh: bool, after: bool) -> None:
    deaths = 0
    for number, store in enumerate(nodes(tmp_path, fresh=fresh, leased=False)):
        if not killed(partial(store.allocate, ONE, POOLS), number, after=after):
            break
        deaths += 1
        names = lease_names(store)
        assert names <= {"10.1.2.2", "10.1.2.10", "2001:db8:1::2"}
        assert {address.address for address in store.held(ONE)} == names
        assert {address.address for address in store.release(ONE)} == names
        assert not os.path.isdir(directory_of(store)) or left(store) == set()
    assert deaths > 20


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fresh", [True, False])
def test_a_killed_release_is_finished_by_the_next(tmp_path: Path, *, fresh: bool, after: bool) -> None:
    deaths = 0
    for number, store in enumerate(nodes(tmp_path, fresh=fresh, leased=True)):
        if not killed(partial(store.release, ONE), number, after=after):
            break
        deaths += 1
        assert {address.address for address in store.held(ONE)} == lease_names(store)
        store.release(ONE)
        assert store.held(ONE) == []
        assert left(store) == set()
    assert deaths > 10
