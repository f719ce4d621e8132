"""What a store of leases must do, and what can go wrong with it.

    TryAgain (protocol.errors)
    └── StoreUnavailable    it does not answer, or not sensibly: what works keeps working, try later
    CursorLost              the store has forgotten what happened since: list anew
    LeaseLost               the lease is not there any more: acquire one

Also raised: InvalidConfig (the network's configuration breaks a rule), Exhausted (no subnet is free), Conflict (it is somebody else's).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cni_plugins.protocol.errors import CniError, TryAgain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Address, IPv6Address

    from vxlan.leases.network import NetworkConfig
    from vxlan.leases.schema import Attributes, Lease, Subnets


class StoreUnavailable(TryAgain):
    """The store does not answer, or not sensibly; the message says which endpoint and why."""


class CursorLost(CniError):
    """Changes since the cursor are not to be had any more (compaction): watch again without one."""


class LeaseLost(CniError):
    """The lease has ended or was taken away."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a node brings when it asks for a lease.

    `held` is the lease that it has, when it has one; `previous` the subnets that it had before it was started, as its subnet file says.
    """

    attributes: Attributes
    held: Lease | None = None
    previous: Subnets | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All leases, those that cannot be understood included."""

    leases: tuple[Lease, ...]
    cursor: str


@dataclass(frozen=True, slots=True)
class Put:
    """A lease is new or has changed."""

    lease: Lease
    cursor: str


@dataclass(frozen=True, slots=True)
class Removed:
    """The lease with this key is gone."""

    key: str
    cursor: str


Change = Snapshot | Put | Removed


class Store(Protocol):
    """A store of leases. Its methods may be called by several threads; `close` ends calls that wait, which raise StoreUnavailable."""

    def network(self) -> NetworkConfig:
        """The network's configuration. Raises StoreUnavailable, InvalidConfig."""

    def acquire(self, claim: Claim) -> Lease:
        """Make the node the owner of a subnet: of the one that it has, or had, whenever that is possible.

        Never gives out what anybody else holds; a race that is lost is run again. Called again with other attributes, it publishes these.
        Raises StoreUnavailable, InvalidConfig, Exhausted, Conflict.
        """

    def renew(self, lease: Lease) -> Lease:
        """Extend a lease to its full length. Raises StoreUnavailable, LeaseLost."""

    def release(self, lease: Lease) -> None:
        """Give a lease back, unless it is somebody else's by now. Raises StoreUnavailable."""

    def reserve(self, subnets: Subnets, address: IPv4Address | IPv6Address) -> Lease:
        """Keep subnets for the node with this public address: a lease that never ends. Raises StoreUnavailable, Conflict."""

    def announce(self, lease: Lease) -> None:
        """Tell whoever wants to know that the overlay works on this node. Raises StoreUnavailable."""

    def watch(self, cursor: str | None, report: Callable[[str], None]) -> Iterator[Change]:
        """Yield what changed after `cursor`; without one, first a Snapshot.

        `report` is called with an empty text when the store has accepted the watch, and with a reason when it goes on but makes no sense.
        Raises StoreUnavailable when the connection ends, CursorLost.
        """

    def close(self) -> None:
        """End everything that waits for the store."""


class Backoff:
    """Growing pauses between attempts, each drawn at random so that a thousand nodes do not come back in one moment.

    `first` and `most` are the shortest and the longest pause, in seconds.
    """

    def __init__(self, *, first: float = 0.1, most: float = 30) -> None:
        self.first = first
        self.most = most
        self._next = first

    def pause(self) -> float:
        """Seconds to wait before the next attempt."""
        now, self._next = self._next, min(self._next * 2, self.most)
        return random.uniform(now / 2, now)

    def reset(self) -> None:
        """Start again with the shortest pause."""
        self._next = self.first
