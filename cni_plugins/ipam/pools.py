"""Pools of addresses: which address may be leased, and in which order. Pure arithmetic, no files.

A `Range` is a stretch of one subnet. A `RangeSet` is several of them, of one family, from which an attachment gets one address.
A configuration holds a list of range sets, and an attachment gets an address from each. Defaults and limits are those of the
reference's host-local, so that a configuration means the same to both.

Nothing here counts an address that it does not have to: an IPv6 /64 costs no more than an IPv4 /30.
"""

from __future__ import annotations

from cni_plugins.protocol.ip import BITS, Cidr, format_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Lease:
    """What an attachment gets from a range set: `address` with its subnet's prefix length, and the subnet's `gateway`."""

    __slots__ = ("address", "gateway")

    def __init__(self, address: Cidr, gateway: Cidr) -> None:
        self.address = address
        self.gateway = gateway

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Lease):
            return NotImplemented
        return (self.address, self.gateway) == (other.address, other.gateway)

    def __hash__(self) -> int:
        return hash((self.address, self.gateway))

    def __repr__(self) -> str:
        return f"Lease({self.address} via {self.gateway.address})"


class Range:
    """The addresses of `subnet` from `start` to `end`, both included, all but the `gateway`.

    Left out, `start` is the network's first address + 1; `end` is the last one of an IPv6 network and the one before the
    broadcast address of an IPv4 network; `gateway` is the first address + 1. The gateway need not lie in the subnet.
    `start`, `end` and `gateway` are kept as integers. Raises ValueError, naming the field and the value, for a subnet with host
    bits set or with fewer than four addresses, and for bounds outside the subnet or in the wrong order.
    """

    __slots__ = ("end", "gateway", "start", "subnet")

    def __init__(self, subnet: Cidr, *, start: Cidr | None = None, end: Cidr | None = None, gateway: Cidr | None = None) -> None:
        if subnet.prefix > BITS[subnet.family] - 2:
            raise ValueError(f"subnet: {subnet} is too small to allocate from, the longest prefix is /{BITS[subnet.family] - 2}")
        if subnet.value != subnet.first:
            raise ValueError(f"subnet: {subnet} has host bits set, the network is {subnet.network}")
        for field, bound in (("rangeStart", start), ("rangeEnd", end)):
            if bound is not None and not subnet.contains(bound.host):
                raise ValueError(f"{field}: {bound.address} is not in subnet {subnet}")
        if gateway is not None and gateway.family != subnet.family:
            raise ValueError(f"gateway: {gateway.address} is not of the family of subnet {subnet}")
        self.subnet = subnet
        self.start = subnet.first + 1 if start is None else start.value
        self.end = (subnet.last - 1 if subnet.family == 4 else subnet.last) if end is None else end.value
        self.gateway = subnet.first + 1 if gateway is None else gateway.value
        if self.start > self.end:
            raise ValueError(f"rangeStart: {self._text(self.start)} is behind rangeEnd {self._text(self.end)}")

    @property
    def size(self) -> int:
        """How many addresses can be leased."""
        return self.end - self.start + 1 - (self.start <= self.gateway <= self.end)

    def contains(self, address: Cidr) -> bool:
        """Whether `address` (its prefix length is ignored) lies between start and end; the gateway may."""
        return address.family == self.subnet.family and self.start <= address.value <= self.end

    def overlaps(self, other: Range) -> bool:
        """Whether any address lies in both ranges."""
        return self.subnet.family == other.subnet.family and self.start <= other.end and other.start <= self.end

    def lease(self, value: int) -> Lease:
        """The lease that an attachment with the address `value` of this range has."""
        family = self.subnet.family
        return Lease(Cidr(family, value, self.subnet.prefix), Cidr(family, self.gateway, BITS[family]))

    def _text(self, value: int) -> str:
        return format_address(self.subnet.family, value)

    def __str__(self) -> str:
        return f"{self._text(self.start)}-{self._text(self.end)}"


class RangeSet:
    """Ranges of one family that do not overlap; an attachment gets one address of one of them.

    Raises ValueError if there are none, if their families differ, or if two overlap.
    """

    __slots__ = ("family", "ranges")

    def __init__(self, ranges: Sequence[Range]) -> None:
        if not ranges:
            raise ValueError("ranges: a range set is empty")
        self.ranges = tuple(ranges)
        self.family = ranges[0].subnet.family
        for i, member in enumerate(self.ranges):
            if member.subnet.family != self.family:
                raise ValueError(f"ranges: {self.ranges[0].subnet} and {member.subnet}, in one range set, are of different families")
            for earlier in self.ranges[:i]:
                if earlier.overlaps(member):
                    raise ValueError(f"ranges: {earlier} and {member}, in one range set, overlap")

    @property
    def size(self) -> int:
        """How many addresses can be leased."""
        return sum(member.size for member in self.ranges)

    def range_of(self, address: Cidr) -> Range | None:
        """The range in which `address` (its prefix length is ignored) lies, or None."""
        for member in self.ranges:
            if member.contains(address):
                return member
        return None

    def contains(self, address: Cidr) -> bool:
        """Whether `address` lies in one of the ranges; a gateway may."""
        return self.range_of(address) is not None

    def leasable(self, address: Cidr) -> bool:
        """Whether an attachment could get `address`: it lies in a range and is not that range's gateway."""
        member = self.range_of(address)
        return member is not None and address.value != member.gateway

    def overlaps(self, other: RangeSet) -> bool:
        """Whether any address lies in both sets."""
        return any(ours.overlaps(theirs) for ours in self.ranges for theirs in other.ranges)

    def after(self, last: Cidr | None) -> Iterator[tuple[Range, int]]:
        """Every address that can be leased, once each, beginning behind `last` and ending with it.

        Goes from range to range and from the last back to the first (round robin: an address that was just given back is the
        last to be used again). Begins at the first range if `last` is None or not in the set. Yields (range, address).
        """
        current = None if last is None else self.range_of(last)
        if last is None or current is None:
            stretches = [(member, member.start, member.end) for member in self.ranges]
        else:
            i = self.ranges.index(current)
            others = self.ranges[i + 1 :] + self.ranges[:i]
            stretches = [(current, last.value + 1, current.end)]
            stretches += [(member, member.start, member.end) for member in others]
            stretches.append((current, current.start, last.value))
        for member, first, end in stretches:
            for value in range(first, end + 1):
                if value != member.gateway:
                    yield member, value

    def __str__(self) -> str:
        return ",".join(str(member) for member in self.ranges)
