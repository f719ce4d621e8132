"""Limits must be the numbers that the reference gives to the kernel, and every rate that can be written must fit."""

from __future__ import annotations

from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_plugins.kernel.shaping import Bucket

RATES = st.integers(8, (1 << 64) - 1)
BURSTS = st.integers(8, 8 * 0xFFFFFFFF - 1)


def reference(rate: int, burst: int) -> tuple[int, int]:
    """Ticks and limit in the reference's own arithmetic, in floating point, before they are cut to 32 bits."""
    microseconds = floor(float(burst // 8) * 1e6 / float(rate // 8))
    return floor(microseconds * 15.625), floor(float(rate // 8) * 25000.0 / 1e6) + burst // 8


@pytest.mark.parametrize(
    ("rate", "burst", "ticks", "limit"),
    [
        (8, 8, 15_625_000, 1),
        (8_000_000, 800_000, 1_562_500, 125_000),
        (8_000_000, 8_000_000, 15_625_000, 1_025_000),
        (123_456_789, 98_765_432, 12_500_000, 12_731_481),
    ],
)
def test_limits_are_those_of_the_reference(rate: int, burst: int, ticks: int, limit: int) -> None:
    bucket = Bucket.of_bits(rate, burst)
    assert (bucket.rate, bucket.limit) == (rate // 8, limit)
    assert bucket.ticks == pytest.approx(ticks, rel=1e-5)
    assert (bucket.ticks, bucket.limit) == reference(rate, burst)


@given(rate=RATES, burst=BURSTS)
def test_every_limit_fits_the_kernel_and_is_never_an_empty_bucket(rate: int, burst: int) -> None:
    bucket = Bucket.of_bits(rate, burst)
    assert 0 < bucket.ticks < 1 << 32
    assert 0 <= bucket.wrapped < 1 << 32
    assert 0 < bucket.limit < 1 << 32
    ticks, limit = reference(rate, burst)
    if 0 < ticks < 1 << 32:
        assert abs(bucket.ticks - ticks) <= 16, "more than the microsecond that floating point may be off"
    if limit < 1 << 32 and rate < 1 << 50:
        assert abs(bucket.limit - limit) <= 1


@given(rate=RATES, burst=BURSTS)
def test_what_the_kernel_shows_of_a_bucket_is_the_same_and_any_other_is_not(rate: int, burst: int) -> None:
    made = Bucket.of_bits(rate, burst)
    assert made.same_as(Bucket(made.rate, made.ticks, made.limit))
    assert made.same_as(Bucket(made.rate, made.wrapped, made.limit))
    assert not made.same_as(Bucket(made.rate + 1, made.ticks, made.limit))
    assert not made.same_as(Bucket(made.rate, made.ticks ^ made.wrapped ^ 1, made.limit)) or made.ticks ^ made.wrapped ^ 1 == made.ticks
    assert not made.same_as(Bucket(made.rate, made.ticks, made.limit + 1))


def test_a_longer_burst_than_the_kernel_can_hold_is_the_longest_and_not_the_rest_of_it() -> None:
    assert Bucket.of_bits(8_000, 8_000 * 300).ticks == 0xFFFFFFFF
    assert Bucket.of_bits(8_000, 8_000 * 274).ticks == 274_000_000 * 125 // 8
