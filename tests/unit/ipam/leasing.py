"""What the tests of the store share: pools, owners, and calls in a few words."""

from __future__ import annotations

import os

import pytest

from cni_plugins.ipam.pools import Range, RangeSet
from cni_plugins.ipam.store import Store
from cni_plugins.kernel import calls
from cni_plugins.protocol.ip import parse_address, parse_cidr

V4 = RangeSet([Range(parse_cidr("10.1.2.0/24"))])
V6 = RangeSet([Range(parse_cidr("2001:db8:1::/64"))])
TINY = RangeSet([Range(parse_cidr("10.0.0.0/29"))])
ONE = ("one", "eth0")
TWO = ("two", "eth0")


def get(store: Store, owner: tuple[str, str], *pools: RangeSet, ask: str = "") -> list[str]:
    """The addresses that `owner` gets from the pools; `ask` names those that it wants."""
    leases = store.allocate(owner, pools or (V4,), [parse_address(text) for text in ask.split()])
    return [lease.address.address for lease in leases]


def held(store: Store, owner: tuple[str, str]) -> list[str]:
    """The addresses that `owner` has, sorted."""
    return sorted(address.address for address in store.held(owner))


def fill(store: Store, pool: RangeSet) -> None:
    """Give every address of a pool to somebody."""
    for n in range(pool.size):
        get(store, (f"filler{n}", "eth0"), pool)


def fail_with(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Let an operation on the machine fail with this errno."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(calls, name, refuse)
