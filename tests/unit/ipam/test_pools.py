"""Pools of addresses: the reference's defaults and limits, and an order that gives every address once."""

from __future__ import annotations

import re
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_plugins.ipam.pools import Range, RangeSet
from cni_plugins.protocol.ip import Cidr, parse_address, parse_cidr


def make(subnet: str, start: str | None = None, end: str | None = None, gateway: str | None = None) -> Range:
    bounds = {"start": start, "end": end, "gateway": gateway}
    return Range(parse_cidr(subnet), **{name: parse_address(text) if text else None for name, text in bounds.items()})


def make_set(*subnets: str) -> RangeSet:
    return RangeSet([make(subnet) for subnet in subnets])


def names(pool: RangeSet, last: str | None = None) -> list[str]:
    found = pool.after(parse_address(last) if last else None)
    return [Cidr(pool.family, value, 32 if pool.family == 4 else 128).address for _, value in islice(found, 100)]


@pytest.mark.parametrize(
    ("subnet", "text", "gateway"),
    [
        ("192.0.2.0/24", "192.0.2.1-192.0.2.254", "192.0.2.1"),
        ("192.0.2.0/25", "192.0.2.1-192.0.2.126", "192.0.2.1"),
        ("10.0.0.0/30", "10.0.0.1-10.0.0.2", "10.0.0.1"),
        ("2001:db8:1::/64", "2001:db8:1::1-2001:db8:1:0:ffff:ffff:ffff:ffff", "2001:db8:1::1"),
        ("2001:db8:1::/126", "2001:db8:1::1-2001:db8:1::3", "2001:db8:1::1"),
    ],
)
def test_a_subnet_alone_means_what_it_means_to_the_reference(subnet: str, text: str, gateway: str) -> None:
    whole = make(subnet)
    assert str(whole) == text
    assert whole.lease(whole.end).gateway == parse_address(gateway)


def test_a_lease_carries_the_subnets_prefix_and_the_gateway_alone() -> None:
    pool = make("192.0.2.0/24", "192.0.2.40", "192.0.2.50", "192.0.2.254")
    lease = pool.lease(pool.start)
    assert (str(lease.address), str(lease.gateway)) == ("192.0.2.40/24", "192.0.2.254/32")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("192.0.2.0/31",), "subnet: 192.0.2.0/31 is too small to allocate from, the longest prefix is /30"),
        (("2001:db8::/127",), "subnet: 2001:db8::/127 is too small to allocate from, the longest prefix is /126"),
        (("192.0.2.12/24",), "subnet: 192.0.2.12/24 has host bits set, the network is 192.0.2.0/24"),
        (("2001:db8:24:19ff::/63",), "subnet: 2001:db8:24:19ff::/63 has host bits set, the network is 2001:db8:24:19fe::/63"),
        (("192.0.2.0/24", "192.0.3.0"), "rangeStart: 192.0.3.0 is not in subnet 192.0.2.0/24"),
        (("192.0.2.0/24", None, "192.0.4.0"), "rangeEnd: 192.0.4.0 is not in subnet 192.0.2.0/24"),
        (("192.0.2.0/24", "2001:db8::1"), "rangeStart: 2001:db8::1 is not in subnet 192.0.2.0/24"),
        (("192.0.2.0/24", "192.0.2.50", "192.0.2.40"), "rangeStart: 192.0.2.50 is behind rangeEnd 192.0.2.40"),
        (("192.0.2.0/24", "192.0.2.255"), "rangeStart: 192.0.2.255 is behind rangeEnd 192.0.2.254"),
        (("192.0.2.0/24", None, None, "2001:db8::1"), "gateway: 2001:db8::1 is not of the family of subnet 192.0.2.0/24"),
    ],
)
def test_a_wrong_range_is_refused_by_field_and_value(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make(*arguments)


def test_bounds_written_out_may_be_the_network_and_broadcast_addresses_as_in_the_reference() -> None:
    assert str(make("192.0.2.0/30", "192.0.2.0", "192.0.2.3")) == "192.0.2.0-192.0.2.3"


def test_a_gateway_outside_the_subnet_is_taken_as_it_is() -> None:
    assert make("192.0.2.0/24", gateway="198.51.100.1").lease(3).gateway == parse_address("198.51.100.1")


@pytest.mark.parametrize(
    ("subnets", "message"),
    [
        ([], "ranges: a range set is empty"),
        (["10.0.0.0/24", "2001:db8::/64"], "ranges: 10.0.0.0/24 and 2001:db8::/64, in one range set, are of different families"),
        (
            ["192.168.0.0/20", "192.168.2.0/24"],
            "ranges: 192.168.0.1-192.168.15.254 and 192.168.2.1-192.168.2.254, in one range set, overlap",
        ),
    ],
)
def test_a_wrong_range_set_is_refused_naming_its_ranges(subnets: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_set(*subnets)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (make("10.0.0.0/24"), make("10.0.1.0/24"), False),
        (make("0.0.0.0/24"), make("::/24"), False),
        (make("10.0.0.0/24"), make("10.0.0.0/24"), True),
        (make("10.0.0.0/20"), make("10.0.1.0/24"), True),
        (make("10.0.0.0/24", None, "10.0.0.127"), make("10.0.0.0/24", "10.0.0.128"), False),
        (make("10.0.0.0/24", None, "10.0.0.127"), make("10.0.0.0/24", "10.0.0.127"), True),
        (make("10.0.0.0/24", "10.0.0.64", "10.0.0.80"), make("10.0.0.0/24"), True),
    ],
)
def test_overlap_is_about_the_bounds_and_goes_both_ways(one: Range, other: Range, *, expected: bool) -> None:
    assert RangeSet([one]).overlaps(RangeSet([other])) is expected
    assert RangeSet([other]).overlaps(RangeSet([one])) is expected


def test_the_order_begins_behind_the_last_address_wraps_and_ends_with_it() -> None:
    pool = make_set("10.0.0.0/29")
    assert names(pool) == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    assert names(pool, "10.0.0.3") == ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2", "10.0.0.3"]
    assert names(pool, "10.0.0.6") == names(pool)
    assert names(pool, "10.0.0.128") == names(pool)


def test_the_order_goes_on_to_the_next_range_and_from_the_last_to_the_first() -> None:
    pool = make_set("10.0.0.0/30", "10.0.1.0/30", "10.0.2.0/30")
    assert names(pool, "10.0.0.2") == ["10.0.1.2", "10.0.2.2", "10.0.0.2"]
    assert names(pool, "10.0.2.2") == ["10.0.0.2", "10.0.1.2", "10.0.2.2"]


def test_a_huge_pool_begins_at_once_and_knows_its_size() -> None:
    pool = make_set("2001:db8::/64")
    assert names(pool)[:2] == ["2001:db8::2", "2001:db8::3"]
    assert names(pool, "2001:db8::ffff:ffff:ffff:fffe")[:2] == ["2001:db8::ffff:ffff:ffff:ffff", "2001:db8::2"]
    assert pool.size == 2**64 - 2


@st.composite
def ranges(draw: st.DrawFn, family: int = 4) -> Range:
    """A range of at most 62 addresses somewhere in 10.0.0.0/16 or 2001:db8::/112, its gateway in it, beside it or far from it."""
    base, bits = {4: (0x0A000000, 32), 6: (0x20010DB8 << 96, 128)}[family]
    prefix = draw(st.integers(bits - 6, bits - 2))
    subnet = Cidr(family, base + (draw(st.integers(0, 0xFFFF)) << (bits - prefix) & 0xFFFF), prefix)
    inside = st.integers(subnet.first, subnet.last).map(lambda value: Cidr(family, value, bits))
    bounds = draw(st.none() | st.tuples(inside, inside).map(lambda pair: sorted(pair, key=lambda bound: bound.value)))
    gateway = draw(st.none() | inside | st.just(Cidr(family, base + 0xFFFFFF, bits)))
    start, end = bounds or (None, None)
    return Range(subnet, start=start, end=end, gateway=gateway)


@st.composite
def range_sets(draw: st.DrawFn) -> RangeSet:
    chosen: list[Range] = []
    for candidate in draw(st.lists(ranges(draw(st.sampled_from([4, 6]))), min_size=1, max_size=4)):
        if not any(candidate.overlaps(earlier) for earlier in chosen):
            chosen.append(candidate)
    return RangeSet(chosen)


@given(range_sets(), st.data())
def test_every_leasable_address_comes_once_whatever_was_last(pool: RangeSet, data: st.DataObject) -> None:
    expected = {value for member in pool.ranges for value in range(member.start, member.end + 1) if value != member.gateway}
    member = data.draw(st.sampled_from(pool.ranges))
    last = Cidr(pool.family, data.draw(st.integers(member.start, member.end)), member.subnet.prefix)
    for start in (None, last):
        order = [value for _, value in pool.after(start)]
        assert len(order) == len(set(order)) == pool.size
        assert set(order) == expected
    assert not expected or last.value not in expected or order[-1] == last.value


@given(range_sets(), st.integers(0, 0xFFFF))
def test_what_is_leasable_is_what_the_order_gives(pool: RangeSet, offset: int) -> None:
    first = pool.ranges[0]
    address = Cidr(pool.family, first.subnet.first ^ offset, first.subnet.prefix)
    assert pool.leasable(address) == (address.value in {value for _, value in pool.after(None)})


@given(ranges(), ranges())
def test_ranges_overlap_exactly_when_they_share_an_address(one: Range, other: Range) -> None:
    shared = set(range(one.start, one.end + 1)) & set(range(other.start, other.end + 1))
    assert one.overlaps(other) == other.overlaps(one) == bool(shared)
