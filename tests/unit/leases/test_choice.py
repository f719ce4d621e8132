"""Which subnet a node gets: its old one if it can, and never one that is in use."""

from __future__ import annotations

import json
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_plugins.protocol.errors import Exhausted
from vxlan.leases.choice import CHOICES, choose
from vxlan.leases.network import NetworkConfig
from vxlan.leases.schema import Subnets


def network(**keys: Any) -> NetworkConfig:
    """A configuration."""
    return NetworkConfig.parse(json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}, **keys}), source="here")


FOUR = network()
BOTH = network(EnableIPv6=True, IPv6Network="fd05::/48")
taken = st.lists(
    st.builds(lambda n, length: Subnets(IPv4Network((0x0A050000 | n, length), strict=False)), st.integers(0, 0xFFFF), st.integers(19, 30))
)
wishes = st.lists(st.integers(0, 255).map(lambda n: Subnets(IPv4Network(f"10.5.{n}.0/24"))), max_size=3)


@given(wishes, taken)
def test_a_choice_fits_is_free_and_is_the_first_wish_that_can_be(wishes: list[Subnets], taken: list[Subnets]) -> None:
    possible = [wish for wish in wishes if FOUR.fits(wish) and not any(wish.overlaps(one) for one in taken)]
    try:
        chosen = choose(FOUR, wishes, taken)
    except Exhausted:
        assert not possible
        return
    assert FOUR.fits(chosen)
    assert not any(chosen.overlaps(one) for one in taken)
    if possible:
        assert chosen == possible[0]


def test_nodes_that_look_at_once_seldom_choose_the_same() -> None:
    chosen = {choose(FOUR, [], []) for _ in range(400)}
    assert 50 < len(chosen) <= CHOICES
    assert max(int(one.v4.network_address) for one in chosen if one.v4) < int(IPv4Network("10.5.101.0/24").network_address)


def test_each_family_has_its_own_wish() -> None:
    wish = Subnets(IPv4Network("10.5.7.0/24"), IPv6Network("fd05:0:0:7::/64"))
    chosen = choose(BOTH, [wish], [Subnets(None, wish.v6)])
    assert chosen.v4 == wish.v4
    assert chosen.v6
    assert chosen.v6 != wish.v6


def test_a_large_reservation_in_a_vast_network_is_stepped_over_at_once() -> None:
    vast = network(EnableIPv6=True, IPv6Network="fd05::/16", IPv6SubnetLen=120)
    chosen = choose(vast, [], [Subnets(None, IPv6Network("fd05::/17"))])
    assert chosen.v6
    assert chosen.v6.subnet_of(IPv6Network("fd05:8000::/17"))


@pytest.mark.parametrize(
    ("used", "family"), [(Subnets(IPv4Network("10.5.0.0/16")), "10.5.0.0/16"), (Subnets(None, IPv6Network("fd05::/48")), "fd05::/48")]
)
def test_the_family_that_has_none_left_is_named(used: Subnets, family: str) -> None:
    with pytest.raises(Exhausted, match=f"no subnet of {family} is free"):
        choose(BOTH, [], [used])
