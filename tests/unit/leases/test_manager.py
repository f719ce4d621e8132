"""The manager against a store that does what a test says."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from cni_plugins.protocol.errors import CniError, Conflict
from vxlan.leases.manager import Manager
from vxlan.leases.network import NetworkConfig
from vxlan.leases.schema import Attributes, Lease, Subnets, Vtep
from vxlan.leases.store import Change, Claim, CursorLost, LeaseLost, Put, Removed, Snapshot, StoreUnavailable
from vxlan.leases.view import View

SECONDS = 60
NETWORK = NetworkConfig.parse(json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}), source="the test")


def lease(number: int) -> Lease:
    """The lease of 10.5.`number`.0/24 by 192.168.77.`number`."""
    subnets = Subnets(IPv4Network(f"10.5.{number}.0/24"))
    return Lease(subnets.key, subnets, Attributes(IPv4Address(f"192.168.77.{number}"), vtep=Vtep(1, f"02:00:00:00:00:{number:02x}")))


class Script:
    """A store: `feed` is what its watch yields or raises, `acquired` the claims, `announced` the leases."""

    def __init__(self) -> None:
        self.feed: queue.Queue[Change | Exception] = queue.Queue()
        self.acquired: list[Claim] = []
        self.announced: list[Lease] = []
        self.cursors: list[str | None] = []
        self.refusals: list[Exception] = []
        self.losses: list[Exception] = []
        self.expires: float | None = None
        self.heard = threading.Semaphore(0)

    def network(self) -> NetworkConfig:
        return NETWORK

    def acquire(self, claim: Claim) -> Lease:
        self.acquired.append(claim)
        if self.refusals:
            raise self.refusals.pop(0)
        expires, self.expires = self.expires, None
        return replace(lease(1), attributes=claim.attributes, expires=expires)

    def renew(self, lease: Lease) -> Lease:
        if self.losses:
            raise self.losses.pop(0)
        return lease

    def release(self, lease: Lease) -> None:
        raise StoreUnavailable("not now")

    def reserve(self, subnets: Subnets, address: Any) -> Lease:
        raise Conflict("no")

    def announce(self, lease: Lease) -> None:
        self.announced.append(lease)
        self.heard.release()

    def watch(self, cursor: str | None, report: Callable[[str], None]) -> Iterator[Change]:
        self.cursors.append(cursor)
        report("")
        while True:
            item = self.feed.get()
            if isinstance(item, Exception):
                raise item
            yield item

    def close(self) -> None:
        self.feed.put(StoreUnavailable("closed"))


@pytest.fixture
def script() -> Script:
    """A store."""
    return Script()


@pytest.fixture
def views() -> list[View]:
    """What was published."""
    return []


@pytest.fixture
def manager(script: Script, views: list[View]) -> Iterator[Manager]:
    """A manager that has started."""
    attributes = lease(1).attributes
    assert attributes
    manager = Manager(script, lambda network: attributes, publish=views.append)
    manager.start()
    yield manager
    manager.close()


def test_nothing_is_known_of_peers_before_the_store_was_read(script: Script, manager: Manager, views: list[View]) -> None:
    assert manager.wait(lambda view: view.lease, seconds=SECONDS).peers is None
    script.feed.put(Snapshot((lease(1), lease(2)), "1"))
    manager.wait(lambda view: view.peers and len(view.leases) == 2, seconds=SECONDS)
    script.feed.put(Put(lease(3), "2"))
    manager.wait(lambda view: view.peers and len(view.peers) == 2, seconds=SECONDS)
    script.feed.put(Removed(lease(2).key, "3"))
    manager.wait(lambda view: view.peers and [peer.node for peer in view.peers] == ["192.168.77.3"], seconds=SECONDS)
    assert [view.peers and len(view.peers) for view in views] == [None, 1, 2, 1]


def test_a_watch_goes_on_after_its_last_change_unless_the_store_has_forgotten(script: Script, manager: Manager) -> None:
    for item in (
        Snapshot((lease(1),), "5"),
        StoreUnavailable("broken"),
        Put(lease(2), "6"),
        CursorLost("compacted"),
        Snapshot((lease(1),), "9"),
    ):
        script.feed.put(item)
    manager.wait(lambda view: view.peers == () and len(script.cursors) == 3, seconds=SECONDS)
    script.feed.put(Put(lease(3), "10"))
    manager.wait(lambda view: view.peers, seconds=SECONDS)
    assert script.cursors == [None, "5", None]


def test_the_same_news_again_is_not_published(script: Script, manager: Manager, views: list[View]) -> None:
    for cursor in "123":
        script.feed.put(Snapshot((lease(1), lease(2)), cursor))
    script.feed.put(Put(lease(3), "4"))
    manager.wait(lambda view: view.peers and len(view.peers) == 2, seconds=SECONDS)
    assert len(views) == 3


def test_the_overlay_is_announced_when_it_works_and_again_when_the_lease_is_taken_anew(script: Script, manager: Manager) -> None:
    script.feed.put(Snapshot((lease(1),), "1"))
    manager.wait(lambda view: view.peers is not None, seconds=SECONDS)
    assert script.announced == []
    manager.announce()
    script.heard.acquire(timeout=SECONDS)
    script.feed.put(Removed(lease(1).key, "2"))
    script.heard.acquire(timeout=SECONDS)
    assert len(script.acquired) == len(script.announced) == 2


def test_a_change_of_the_node_is_published_also_when_the_store_is_away_at_first(script: Script, manager: Manager) -> None:
    manager.wait(lambda view: view.lease, seconds=SECONDS)
    script.refusals = [StoreUnavailable("away")]
    manager.refresh()
    manager.wait(lambda view: view.problems == ("away",), seconds=SECONDS)
    manager.wait(lambda view: not view.problems, seconds=SECONDS)
    assert len(script.acquired) == 3
    assert script.acquired[2].held == lease(1)


def test_a_lease_that_cannot_be_renewed_is_acquired_anew(script: Script) -> None:
    script.expires = time.time() + 0.2
    script.losses = [LeaseLost("it has ended")]
    attributes = lease(1).attributes
    assert attributes
    manager = Manager(script, lambda network: attributes)
    manager.start()
    manager.wait(lambda view: view.lease and view.lease.expires is None, seconds=SECONDS)
    manager.close()
    assert len(script.acquired) == 2


def test_who_shares_its_address_with_another_node_writes_ever_more_seldom(script: Script, manager: Manager) -> None:
    rival = replace(lease(1), attributes=lease(2).attributes)
    for number in range(8):
        script.feed.put(Put(rival, str(number)))
    manager.wait(lambda view: any("is 192.168.77.1 also another node's address?" in one for one in view.problems), seconds=SECONDS)
    before = len(script.acquired)
    script.feed.put(Put(rival, "9"))
    with pytest.raises(TimeoutError):
        manager.wait(lambda view: len(script.acquired) > before, seconds=0.5)


@pytest.mark.parametrize("error", [StoreUnavailable("away"), Conflict("taken"), CniError("odd"), ValueError("a defect")], ids=repr)
def test_whatever_goes_wrong_the_lease_is_asked_for_again(script: Script, error: Exception) -> None:
    script.refusals = [error, error]
    attributes = lease(1).attributes
    assert attributes
    manager = Manager(script, lambda network: attributes)
    manager.start()
    view = manager.wait(lambda view: view.lease and not view.problems, seconds=SECONDS)
    assert view.away_since is None
    assert len(script.acquired) == 3
    manager.close(release=True)


def test_a_lease_that_is_being_acquired_when_the_manager_ends_is_given_back(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    attributes = lease(1).attributes
    assert attributes
    manager = Manager(script, lambda network: attributes)
    acquire, written, released = script.acquire, threading.Event(), list[Lease]()

    def slowly(claim: Claim) -> Lease:
        written.set()
        manager._acquired.wait()  # as long as nobody gives up
        return acquire(claim)

    monkeypatch.setattr(script, "acquire", slowly)
    monkeypatch.setattr(script, "release", released.append)
    manager.start()
    assert written.wait(SECONDS)
    manager.close(release=True)
    assert [one.key for one in released] == [lease(1).key]


def test_a_manager_ends_whenever_it_is_told_to(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between two turns of the keeper, which may have a day to wait for the next."""
    attributes = lease(1).attributes
    assert attributes
    manager = Manager(script, lambda network: attributes)
    clear, closing = manager._kick.clear, list[threading.Thread]()

    def meanwhile() -> None:
        if not closing:
            closing.append(threading.Thread(target=manager.close))
            closing[0].start()
            assert manager._acquired.wait(SECONDS)  # it has told everybody
        clear()

    monkeypatch.setattr(manager._kick, "clear", meanwhile)
    manager.start()
    manager._threads["lease"].join(SECONDS)
    assert not manager._threads["lease"].is_alive()
    closing[0].join()


def test_a_subscriber_that_fails_does_not_end_the_watch(script: Script) -> None:
    attributes = lease(1).attributes
    assert attributes

    def publish(view: View) -> None:
        raise ZeroDivisionError(str(len(view.leases)))

    manager = Manager(script, lambda network: attributes, publish=publish)
    manager.start()
    for number in range(1, 5):
        script.feed.put(Snapshot(tuple(lease(n) for n in range(1, number + 1)), str(number)))
    manager.wait(lambda view: view.peers and len(view.peers) == 3, seconds=SECONDS)
    manager.close()


def test_waiting_in_vain_shows_what_is_known(manager: Manager) -> None:
    manager.wait(lambda view: view.lease, seconds=SECONDS)
    with pytest.raises(TimeoutError, match=r"10\.5\.1\.0"):
        manager.wait(lambda view: view.peers, seconds=0.01)
