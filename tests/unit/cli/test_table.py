"""Tables and times as people read them."""

from __future__ import annotations

import pytest

from cni_plugins.cli.table import age, short, table


def test_columns_are_as_wide_as_what_stands_in_them_and_nothing_trails() -> None:
    assert table(("A", "LONGER"), [("wide one", ""), ("x", "y")]).split("\n") == ["A         LONGER", "wide one  -", "x         y"]


def test_an_empty_table_is_its_head() -> None:
    assert table(("A", "B"), []) == "A  B"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.9, "0s"),
        (59, "59s"),
        (60, "1m"),
        (61, "1m1s"),
        (3600, "1h"),
        (3601, "1h"),
        (5400, "1h30m"),
        (86400, "1d"),
        (90000, "1d1h"),
        (86400 * 400 + 7200, "400d2h"),
    ],
)
def test_an_age_is_told_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_a_short_name_stays_and_a_long_one_says_that_it_goes_on() -> None:
    assert short("pod-1") == "pod-1"
    assert short("x" * 24) == "x" * 24
    assert short("0123456789" * 6) == "01234567890123456789012…"
