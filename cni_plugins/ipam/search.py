"""Which address of a range set is to be leased: the one that was asked for, or the next free one."""

from __future__ import annotations

from cni_plugins.protocol.errors import InvalidConfig
from cni_plugins.protocol.ip import format_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni_plugins.ipam.lease_files import LeaseFiles
    from cni_plugins.ipam.pools import Range, RangeSet
    from cni_plugins.protocol.ip import Cidr

    Place = tuple[Range, int]

PROBES = 64
"""Addresses that are looked at one by one before the whole directory is: enough for nine-tenths-full pools, 0.2 ms."""


def find_free(files: LeaseFiles, pool: RangeSet, last: Cidr | None) -> Place | None:
    """The first address behind `last` that nobody holds, as (range, address); None when there is none.

    To be called under the lock. Raises OSError. Takes about the same time however large and however full the range set is, but
    for a set with a long stretch of taken addresses behind `last`, where the directory is read once.
    """
    taken: set[str] | None = None
    for probes, (member, value) in enumerate(pool.after(last)):
        if probes == PROBES:
            taken = {name for name in files.names() if files.is_taken(name)}
        name = format_address(pool.family, value)
        if name not in taken if taken is not None else not files.is_taken(name):
            return member, value
    return None


def assign(pools: Sequence[RangeSet], requested: Sequence[Cidr]) -> list[Place | None]:
    """For each range set the requested address that it is to give, as (range, address), or None. Raises InvalidConfig."""
    left = {address.host: None for address in requested}
    places = [_pick(n, pool, left) for n, pool in enumerate(pools)]
    if left:
        raise InvalidConfig(
            f"failed to allocate all requested IPs: {' '.join(address.address for address in left)}",
            "Each range set gives one address; these are in none of them, or in one that gives another requested address: "
            + "; ".join(map(str, pools)),
        )
    return places


def _pick(n: int, pool: RangeSet, left: dict[Cidr, None]) -> Place | None:
    for address in left:
        member = pool.range_of(address)
        if member:
            if address.value == member.gateway:
                raise InvalidConfig(f"failed to allocate for range {n}: requested ip {address.address} is subnet's gateway")
            del left[address]
            return member, address.value
    return None
