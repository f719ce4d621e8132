"""What is known of an overlay at a moment, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vxlan.leases.peers import peers_of

if TYPE_CHECKING:
    from vxlan.leases.network import NetworkConfig
    from vxlan.leases.peers import Peer
    from vxlan.leases.schema import Lease


@dataclass(frozen=True, slots=True)
class View:
    """What is known now.

    `network` and `lease` are None until there is a lease, and `peers` is None until the store was read: nothing may be removed from the
    kernel before that. `leases` are all in the store, this node's included. `problems` are sentences for people. `renewed` and `away_since`
    are in seconds since the epoch: when the lease was extended last, and since when the store does not answer (None: it does).
    """

    network: NetworkConfig | None = None
    lease: Lease | None = None
    peers: tuple[Peer, ...] | None = None
    leases: tuple[Lease, ...] = ()
    problems: tuple[str, ...] = ()
    renewed: float = 0
    away_since: float | None = None


@dataclass(slots=True)
class State:
    """What the manager's threads know; `disputed` and `not_before` are of the monotonic clock: see `Manager`."""

    network: NetworkConfig | None = None
    lease: Lease | None = None
    renewed: float = 0
    leases: dict[str, Lease] | None = None
    troubles: dict[str, str] = field(default_factory=dict)
    away_since: float | None = None
    must_acquire: bool = True
    must_announce: bool = False
    announced: bool = False
    disputed: float = -1e9
    not_before: float = 0

    def view(self) -> View:
        """What it comes to."""
        peers: tuple[Peer, ...] | None = None
        odd: tuple[str, ...] = ()
        if self.network and self.lease and self.leases is not None:
            peers, odd = peers_of(self.network, self.lease, self.leases.values())
        leases = tuple(sorted((self.leases or {}).values(), key=lambda lease: lease.key))
        problems = (*dict.fromkeys(self.troubles.values()), *odd)
        return View(self.network, self.lease, peers, leases, problems, self.renewed, self.away_since)
