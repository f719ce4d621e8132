"""Keeps this node's lease and knows its peers, whatever happens to the store.

    keeper   acquires the lease, renews it, acquires it anew when it is lost or the node has changed
    watcher  follows what changes in the store, and lists anew when the store has forgotten

Both are threads. What they know is published as a `View`, plain data that the repair loop makes true in the kernel. While the store is away
the last view stays: tunnels work without a store, and a lease is renewed so early (by default when half of it is over) that an outage of
hours costs nothing. A lease that has ended all the same is taken again, with the same subnet if that is free.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from cni_plugins.protocol.errors import CniError
from vxlan.leases.store import Backoff, Claim, CursorLost, LeaseLost, Put, Snapshot, StoreUnavailable
from vxlan.leases.view import State, View

if TYPE_CHECKING:
    from collections.abc import Callable

    from vxlan.leases.network import NetworkConfig
    from vxlan.leases.schema import Attributes, Lease, Subnets
    from vxlan.leases.store import Change, Store

log = logging.getLogger(__name__)

RENEW_MARGIN = 12 * 3600
# A watch that has lasted so many seconds was a good one: after its end the next attempt is made at once.
_STEADY = 10
# Whose lease is overwritten again within so many seconds has a rival, and waits longer before it writes over the rival's.
_QUIET = 120


class Manager:
    """One overlay's lease and peers on this node.

    `describe` says how this node is reached in a network; it is asked again after `refresh`. `publish` gets each new view, in order, one
    at a time, from our threads. `previous` are the subnets of the node's last life, as the subnet file has them. `renew_margin` is how
    many seconds before its end a lease is renewed, at most half its length.
    """

    def __init__(
        self,
        store: Store,
        describe: Callable[[NetworkConfig], Attributes],
        *,
        publish: Callable[[View], None] = lambda view: None,
        previous: Subnets | None = None,
        renew_margin: float = RENEW_MARGIN,
        name: str = "overlay",
    ) -> None:
        self._store = store
        self._describe = describe
        self._publish = publish
        self._previous = previous
        self._margin = renew_margin
        self._name = name
        self._state = State()
        self._view = View()
        self._changed = threading.Condition()
        self._publishing = threading.Lock()
        self._kick = threading.Event()
        self._acquired = threading.Event()
        self._stopped = threading.Event()
        self._rivalry = Backoff(first=0.05, most=60)
        self._cursor: str | None = None
        turns = {"lease": (self._keeper, Backoff()), "peers": (self._watcher, Backoff(most=10))}
        self._threads = {what: threading.Thread(target=self._forever, args=turn, name=f"{name}-{what}") for what, turn in turns.items()}

    @property
    def view(self) -> View:
        """What is known now."""
        return self._view

    def wait(self, condition: Callable[[View], object], *, seconds: float) -> View:
        """Wait until a view meets a condition, and return it. Raises TimeoutError, which shows the last one."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self._view), seconds):
                raise TimeoutError(f"{self._name}: {self._view}")
            return self._view

    def start(self) -> None:
        """Begin; returns at once."""
        for thread in self._threads.values():
            thread.start()

    def refresh(self) -> None:
        """The node's address or device, or the network's configuration, has changed: publish how it is now."""
        self._state.must_acquire = True
        self._kick.set()

    def announce(self) -> None:
        """The overlay works on this node: tell the store, now and whenever the lease is taken anew."""
        self._state.announced = self._state.must_announce = True
        self._kick.set()

    def close(self, *, release: bool = False) -> None:
        """Stop. The lease is kept for the node's next life; with `release` it is given back, if the store can be reached."""
        self._stopped.set()
        self._kick.set()
        self._acquired.set()
        if release:
            self._give_back()
        self._store.close()
        for thread in self._threads.values():
            _await(thread)

    def _give_back(self) -> None:
        """Release the lease when the keeper has ended: it may be about to acquire one."""
        _await(self._threads["lease"])
        lease = self._state.lease
        if lease:
            try:
                self._store.release(lease)
            except CniError as error:
                log.warning("%s: the lease of %s is not given back: %s", self._name, lease.subnets, error.msg)

    # The keeper

    def _forever(self, turn: Callable[[Backoff], None], pauses: Backoff) -> None:
        """Take turns until the end. A defect in a turn, or in what is called from it, costs a pause and never the thread."""
        while not self._stopped.is_set():
            try:
                turn(pauses)
            except Exception:
                log.exception("%s: this should not have happened", self._name)
                self._stopped.wait(pauses.pause())

    def _keeper(self, pauses: Backoff) -> None:
        self._kick.clear()
        if self._stopped.wait(max(self._state.not_before - time.monotonic(), 0)):
            return
        try:
            self._keep()
        except LeaseLost as error:
            log.warning("%s: %s", self._name, error.msg)
            self._state.must_acquire = True
        except CniError as error:
            self._trouble("lease", error)
            self._kick.wait(pauses.pause())
        else:
            self._clear("lease")
            pauses.reset()
            self._kick.wait(self._seconds_left())

    def _keep(self) -> None:
        """Do what the lease needs now. Raises CniError."""
        state = self._state
        if state.lease is None or state.must_acquire:
            self._acquire()
        elif self._seconds_left() == 0:
            self._hold(self._store.renew(state.lease))
            log.info("%s: the lease of %s is renewed", self._name, state.lease.subnets)
        if state.must_announce and state.lease:
            self._store.announce(state.lease)
            state.must_announce = False

    def _acquire(self) -> None:
        state, held = self._state, self._state.lease
        # What is asked for from now on is another request.
        state.must_acquire = False
        try:
            network = self._store.network()
            lease = self._store.acquire(Claim(self._describe(network), held, self._previous))
        except BaseException:
            state.must_acquire = True
            raise
        if held is None:
            log.info("%s: this node has %s", self._name, lease.subnets)
        elif held.subnets != lease.subnets:
            log.error("%s: this node has %s and no longer %s: pods there must be made anew", self._name, lease.subnets, held.subnets)
        state.must_announce = state.announced
        self._hold(lease, network)
        self._acquired.set()

    def _hold(self, lease: Lease, network: NetworkConfig | None = None) -> None:
        with self._changed:
            self._state.network = network or self._state.network
            self._state.lease = lease
            self._state.renewed = time.time()
        self._show()

    def _seconds_left(self) -> float | None:
        """Until the lease is to be renewed; None for one that never ends."""
        lease = self._state.lease
        if lease is None or lease.expires is None:
            return None
        margin = min(self._margin, (lease.expires - self._state.renewed) / 2)
        return max(lease.expires - margin - time.time(), 0)

    # The watcher

    def _watcher(self, pauses: Backoff) -> None:
        self._acquired.wait()
        began = time.monotonic()
        try:
            for change in self._store.watch(self._cursor, self._report):
                self._apply(change)
                self._cursor = change.cursor
        except CursorLost as error:
            log.info("%s: listing all leases again: %s", self._name, error.msg)
            self._cursor = None
        except CniError as error:
            self._trouble("watch", error)
        if time.monotonic() - began >= _STEADY:
            pauses.reset()
        self._stopped.wait(pauses.pause())

    def _report(self, reason: str) -> None:
        if reason:
            self._trouble("watch", CniError(reason))
        else:
            self._clear("watch")

    def _apply(self, change: Change) -> None:
        with self._changed:
            state = self._state
            if isinstance(change, Snapshot):
                state.leases = {lease.key: lease for lease in change.leases}
            else:
                state.leases = dict(state.leases or {})
                if isinstance(change, Put):
                    state.leases[change.lease.key] = change.lease
                else:
                    state.leases.pop(change.key, None)
            ours = state.lease
            touched = isinstance(change, Snapshot) or (change.lease.key if isinstance(change, Put) else change.key) == (ours and ours.key)
        self._show()
        if ours and touched and not _same(ours, state.leases.get(ours.key)):
            self._take_again(ours)

    def _take_again(self, ours: Lease) -> None:
        """Somebody has removed or changed our lease (or it was us, and we do not know it yet): the keeper has a look."""
        now = time.monotonic()
        if now - self._state.disputed > _QUIET:
            self._rivalry.reset()
            self._clear("rival")
        pause = self._rivalry.pause()
        if pause > 1:
            address = ours.attributes and (ours.attributes.public_ip or ours.attributes.public_ipv6)
            reason = f"somebody keeps changing the lease of {ours.subnets}: is {address} also another node's address?"
            self._trouble("rival", CniError(reason))
        self._state.disputed = now
        self._state.not_before = now + pause
        self.refresh()

    # What is known

    def _trouble(self, what: str, error: CniError) -> None:
        if self._stopped.is_set():
            return
        with self._changed:
            state = self._state
            if state.troubles.get(what) == error.msg:
                return
            state.troubles[what] = error.msg
            if isinstance(error, StoreUnavailable):
                state.away_since = state.away_since or time.time()
        log.warning("%s: %s", self._name, error.msg)
        self._show()

    def _clear(self, what: str) -> None:
        with self._changed:
            state = self._state
            answers = what == "watch" or "watch" not in state.troubles
            if state.troubles.pop(what, None) is None and not (answers and state.away_since):
                return
            if answers:
                state.away_since = None
        self._show()

    def _show(self) -> None:
        with self._publishing:
            with self._changed:
                view = self._state.view()
                if view == self._view:
                    return
                self._view = view
                self._changed.notify_all()
            try:
                self._publish(view)
            except Exception:
                log.exception("%s: what is known now was not taken in", self._name)


def _await(thread: threading.Thread) -> None:
    """Wait for a thread to end, if it has been started."""
    if thread.ident:
        thread.join()


def _same(ours: Lease, found: Lease | None) -> bool:
    return found is not None and (found.subnets, found.attributes, found.grant) == (ours.subnets, ours.attributes, ours.grant)
