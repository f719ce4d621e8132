"""Which leases are a node's own, and which subnet it should have: pure functions of what the store lists."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from cni_plugins.protocol.errors import Exhausted
from vxlan.leases.schema import Subnets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vxlan.leases.network import NetworkConfig, Range
    from vxlan.leases.schema import Lease
    from vxlan.leases.store import Claim

CHOICES = 100
"""From so many free subnets one is taken: nodes that look at the same moment seldom choose the same."""


def choose(network: NetworkConfig, wishes: Sequence[Subnets], taken: Sequence[Subnets]) -> Subnets:
    """A node's subnets: of each family the first wish that fits and is free, else one of the first free ones at random.

    Raises Exhausted, which says of which family there are none.
    """
    v4 = _choose(network.v4, [wish.v4 for wish in wishes], [one.v4 for one in taken])
    v6 = _choose(network.v6, [wish.v6 for wish in wishes], [one.v6 for one in taken])
    return Subnets(v4, v6)


def _choose(part: Range[Any] | None, wishes: Sequence[Any], taken: Sequence[Any]) -> Any:
    if part is None:
        return None
    used = [one for one in taken if one is not None]
    exact = {int(one.network_address) for one in used if one.prefixlen == part.length}
    odd = [one for one in used if one.prefixlen != part.length]

    def is_free(subnet: Any) -> bool:
        return int(subnet.network_address) not in exact and not any(subnet.overlaps(one) for one in odd)

    for wish in wishes:
        if wish is not None and part.fits(wish) and is_free(wish):
            return wish
    free = _first_free(part, exact, odd)
    if not free:
        raise Exhausted(f"no subnet of {part.network} is free: all of /{part.length} are leased or reserved")
    return random.choice(free)


def _first_free(part: Range[Any], exact: set[int], odd: Sequence[Any]) -> list[Any]:
    """The first free subnets; a large one in the way is stepped over at once, for an IPv6 network has more subnets than one can count."""
    kind, number = type(part.network), part.first
    free: list[Any] = []
    step = 1 << (part.network.max_prefixlen - part.length)
    while number <= part.last and len(free) < CHOICES:
        subnet = kind((number, part.length))
        number += step
        blocking = [int(one.broadcast_address) + 1 for one in odd if one.overlaps(subnet)]
        if blocking:
            number = max(number, *blocking)
        elif int(subnet.network_address) not in exact:
            free.append(subnet)
    return free


def own(claim: Claim, leases: Sequence[Lease]) -> list[Lease]:
    """The leases that are this node's: by the grant of the one it holds, else by its public address; the likeliest first."""
    held, mine = claim.held, claim.attributes

    def is_held(lease: Lease) -> bool:
        return (
            held is not None
            and lease.key == held.key
            and (lease.grant, lease.grant or lease.revision)
            == (
                held.grant,
                held.grant or held.revision,
            )
        )

    def is_ours(lease: Lease) -> bool:
        theirs = lease.attributes
        if theirs is None:
            return False
        if mine.public_ip is not None:
            return theirs.public_ip == mine.public_ip
        return theirs.public_ipv6 == mine.public_ipv6

    ours = [lease for lease in leases if is_held(lease) or is_ours(lease)]
    return sorted(ours, key=lambda lease: (not is_held(lease), lease.grant != 0, lease.subnets != claim.previous))
