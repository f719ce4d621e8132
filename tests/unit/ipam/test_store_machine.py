"""The store against a dictionary, in any order of our calls, the reference's, an operator's, and of deaths in the middle."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cni_plugins.ipam.pools import Range, RangeSet
from cni_plugins.ipam.store import Store
from cni_plugins.kernel import calls
from cni_plugins.protocol.errors import Conflict, Exhausted
from cni_plugins.protocol.ip import parse_address, parse_cidr
from tests.unit.ipam import foreign

POOLS = [RangeSet([Range(parse_cidr("10.0.0.0/29"))]), RangeSet([Range(parse_cidr("2001:db8::/125"))])]
FREE = [{lease for member, value in pool.after(None) for lease in [member.lease(value).address.address]} for pool in POOLS]
OWNERS = [(container_id, ifname) for container_id in ("a", "b", "c") for ifname in ("eth0", "net1")]
NOBODY = ("", "")
STEPS = ["symlink", "unlink", "utime", "link_fd", "readlink"]
CHANGES = ["unlink", "link_fd", "symlink", "utime", "write", "ftruncate", "rename", "mkdir"]

owners = st.sampled_from(OWNERS)
addresses = st.sampled_from(sorted(FREE[0] | FREE[1]))


class Death(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it but what a test cannot prevent, which must change nothing."""


class StoreMachine(RuleBasedStateMachine):
    """`held` is the truth: address to owner; an owner without interface is one of old, NOBODY an empty file."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = tempfile.TemporaryDirectory()
        self.directory = Path(self.scratch.name, "net")
        self.store = Store(self.scratch.name, "net")
        self.held: dict[str, tuple[str, str]] = {}

    def teardown(self) -> None:
        self.scratch.cleanup()

    def owned(self, owner: tuple[str, str]) -> set[str]:
        """What a release of `owner` frees."""
        named = {address for address, holder in self.held.items() if holder == owner}
        return named or {address for address, holder in self.held.items() if holder == (owner[0], "")}

    def has_any_of(self, owner: tuple[str, str], pool: int) -> bool:
        return any(holder in (owner, (owner[0], "")) and address in FREE[pool] for address, holder in self.held.items())

    @initialize()
    def begin(self) -> None:
        self.directory.mkdir()

    @rule(owner=owners, dual=st.booleans())
    def allocate(self, owner: tuple[str, str], *, dual: bool) -> None:
        pools = POOLS[: 1 + dual]
        taken = {address for address, holder in self.held.items() if holder != NOBODY}
        try:
            leases = self.store.allocate(owner, pools)
        except Conflict:
            assert any(self.has_any_of(owner, n) for n in range(len(pools)))
        except Exhausted:
            assert any(FREE[n] <= taken for n in range(len(pools)))
        else:
            assert not any(self.has_any_of(owner, n) for n in range(len(pools)))
            for n, lease in enumerate(leases):
                assert lease.address.address in FREE[n] - taken
                self.held[lease.address.address] = owner

    @rule(owner=owners, address=addresses)
    def allocate_requested(self, owner: tuple[str, str], address: str) -> None:
        pool = 0 if address in FREE[0] else 1
        try:
            (lease,) = self.store.allocate(owner, [POOLS[pool]], [parse_address(address)])
        except Conflict:
            assert self.has_any_of(owner, pool) or self.held.get(address, NOBODY) != NOBODY
        else:
            assert lease.address.address == address
            assert self.held.get(address, NOBODY) == NOBODY
            self.held[address] = owner

    @rule(owner=owners)
    def release(self, owner: tuple[str, str]) -> None:
        freed = {address.address for address in self.store.release(owner)}
        assert freed == self.owned(owner)
        for address in freed:
            del self.held[address]

    @rule(valid=st.frozensets(owners))
    def gc(self, valid: frozenset[tuple[str, str]]) -> None:
        kept = valid | {(container_id, "") for container_id, _ in valid}
        freed = {address.address for address in self.store.gc(valid)}
        assert freed == {address for address, holder in self.held.items() if holder not in kept}
        for address in freed:
            del self.held[address]

    @rule(owner=owners, address=addresses, old=st.booleans())
    def reference_reserves(self, owner: tuple[str, str], address: str, *, old: bool) -> None:
        if address not in self.held:
            foreign.reserve(self.directory, address, owner[0] if old else "\r\n".join(owner))
            self.held[address] = (owner[0], "") if old else owner

    @rule(owner=owners)
    def reference_releases(self, owner: tuple[str, str]) -> None:
        foreign.release(self.directory, *owner)
        for address in self.owned(owner):
            del self.held[address]

    @rule(address=addresses)
    def reference_dies(self, address: str) -> None:
        if address not in self.held:
            foreign.die_reserving(self.directory, address)
            self.held[address] = NOBODY

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def operator_removes_a_file(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(sorted(self.held)))
        (self.directory / address).unlink()
        del self.held[address]

    @rule(data=st.data())
    def operator_removes_a_link(self, data: st.DataObject) -> None:
        links = sorted(self.directory.glob(".by-id/*"))
        if links:
            data.draw(st.sampled_from(links)).unlink()

    @rule(owner=owners, step=st.sampled_from(STEPS), countdown=st.integers(0, 3), add=st.booleans())
    def we_die(self, owner: tuple[str, str], step: str, countdown: int, *, add: bool) -> None:
        """Every operation from a certain one on has no effect any more; the truth is then what the lease files say."""
        with pytest.MonkeyPatch.context() as dying:
            remaining = [countdown]
            original = getattr(calls, step)

            def last(*arguments: object, **keywords: object) -> object:
                if remaining[0]:
                    remaining[0] -= 1
                    return original(*arguments, **keywords)
                for name in CHANGES:
                    dying.setattr(calls, name, die)
                die()
                return None

            dying.setattr(calls, step, last)
            try:
                if add:
                    self.store.allocate(owner, POOLS)
                else:
                    self.store.release(owner)
            except (Death, Conflict, Exhausted):
                pass
        self.held = {}
        for path in self.directory.iterdir():
            if path.is_file() and path.name[0].isdigit():
                container_id, _, ifname = path.read_bytes().decode().partition("\r\n")
                self.held[path.name] = (container_id, ifname)
                assert (container_id, ifname) in [*OWNERS, *((name, "") for name, _ in OWNERS), NOBODY]

    @invariant()
    def files_say_what_happened(self) -> None:
        listed = {lease.address.address: (lease.container_id, lease.ifname) for lease in self.store.leases()}
        assert listed == {address: holder for address, holder in self.held.items() if holder != NOBODY}

    @invariant()
    def everybody_has_what_is_his(self) -> None:
        for owner in OWNERS:
            assert {address.address for address in self.store.held(owner)} == self.owned(owner)


def die(*_: object, **__: object) -> None:
    raise Death


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
