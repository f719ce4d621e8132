"""The leases of one network on this node: who holds which address.

The files are those of the reference's host-local, and so is the lock, so that both may serve one node at the same time
(`lease_files`); an index beside them makes the cost of a call independent of the number of leases (`owner_index`).

An owner is a pair (container ID, interface name). A call that fails has changed nothing: what it had taken is given back.

    store = Store("/var/lib/cni/networks", "cbr0")
    store.foretell(pools)                          -> what the next owner would get
    store.allocate(("3f2a…", "eth0"), pools)       -> a lease from each of the range sets
    store.held(("3f2a…", "eth0"))                  -> the addresses, for CHECK
    store.release(("3f2a…", "eth0"))               -> the addresses that are free again
    store.gc({("3f2a…", "eth0"), …})               -> the same, of everybody who is not in the set
    store.exhausted(pools), store.check_writable() -> for STATUS
"""

from __future__ import annotations

from cni_plugins.ipam.lease_files import LeaseFiles
from cni_plugins.ipam.owner_index import OwnerIndex
from cni_plugins.ipam.search import assign, find_free
from cni_plugins.kernel import files, signals
from cni_plugins.kernel.files import attempting
from cni_plugins.protocol.errors import Conflict, Exhausted
from cni_plugins.protocol.ip import parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet
    from types import TracebackType

    from cni_plugins.ipam.pools import Lease, RangeSet
    from cni_plugins.ipam.search import Place
    from cni_plugins.protocol.ip import Cidr

    Owner = tuple[str, str]


class Holding:
    """A leased address and its owner; `ifname` is empty in very old lease files, which do not name the interface."""

    __slots__ = ("address", "container_id", "ifname")

    def __init__(self, address: Cidr, container_id: str, ifname: str) -> None:
        self.address = address
        self.container_id = container_id
        self.ifname = ifname


class Store:
    """The leases of `network`, kept in `data_dir`/`network`, which is made by the first allocation.

    Raises IoFailure, naming the path, when files cannot be read or written. May be used by any number of processes.
    """

    __slots__ = ("_files",)

    def __init__(self, data_dir: str, network: str) -> None:
        self._files = LeaseFiles(f"{data_dir.rstrip('/')}/{network}")

    def allocate(self, owner: Owner, pools: Sequence[RangeSet], requested: Sequence[Cidr] = ()) -> list[Lease]:
        """Lease one address from each of `pools`, or none at all.

        A requested address (its prefix length is ignored) is taken from the first range set that contains it; where none is
        asked for it is the next free one behind the address that was given out last. That is noted under the place of the range
        set in `pools`.
        Raises InvalidConfig for a requested address that cannot be had here, Conflict for one that is taken and for an owner
        who has an address of one of the range sets already, Exhausted when a range set has no address left.
        """
        places = assign(pools, requested)
        files.make_dirs(self._files.directory)
        with _Locked(self._files) as index:
            index.prepare()
            self._refuse_second(index, owner, pools)
            leases = [self._choose(n, pool, places[n]) for n, pool in enumerate(pools)]
            taken: list[str] = []
            index.expect_change()
            try:
                for n, lease in enumerate(leases):
                    self._take(owner, n, lease, taken)
            except BaseException:
                self._remove([name for name in taken if self._files.read(name) == _content(owner)])
                index.unchanged()
                raise
            index.add(_content(owner), taken)
        return leases

    def foretell(self, pools: Sequence[RangeSet], requested: Sequence[Cidr] = ()) -> list[Lease]:
        """What `allocate` would give a new owner at this moment, without waiting for the lock. Changes nothing; raises the same."""
        places = assign(pools, requested)
        with attempting("read the leases in", self._files.directory):
            return [self._choose(n, pool, places[n]) for n, pool in enumerate(pools)]

    def release(self, owner: Owner) -> list[Cidr]:
        """Free every address of `owner`, and return them; none is no error.

        Leases that do not name an interface are his if he has no other. Every one is tried before IoFailure is raised.
        """
        if not files.exists(self._files.directory):
            return []
        with _Locked(self._files) as index:
            index.prepare()
            content, names = _held(index, owner)
            if names:
                index.expect_change()
                self._remove(names)
                index.remove({content})
        return _addresses(names)

    def held(self, owner: Owner) -> list[Cidr]:
        """The addresses that `owner` has, under the same rule as `release`. Changes nothing."""
        if not files.exists(self._files.directory):
            return []
        with _Locked(self._files) as index:
            return _addresses(_held(index, owner)[1])

    def gc(self, valid: AbstractSet[Owner]) -> list[Cidr]:
        """Free the addresses of everybody who is not in `valid`, and those of nobody; returns them.

        A lease that does not name an interface is kept if any interface of its container is valid.
        """
        if not files.exists(self._files.directory):
            return []
        keep = {_content(owner) for owner in valid} | {_old_content(owner) for owner in valid}
        with _Locked(self._files) as index:
            stale = [name for name, content in self._files.contents() if content not in keep]
            index.expect_change()
            self._remove(stale)
            index.rebuild()
        return _addresses(stale)

    def leases(self) -> list[Holding]:
        """All leases, in no order, as they are at this moment, without waiting for the lock."""
        with attempting("read the leases in", self._files.directory):
            return [_holding(name, content) for name, content in self._files.contents() if content]

    def free(self, pool: RangeSet) -> int:
        """How many addresses of a range set are not leased at this moment, without waiting for the lock."""
        with attempting("read the leases in", self._files.directory):
            names = self._files.names()
            return pool.size - sum(pool.leasable(parse_address(name)) and self._files.is_taken(name) for name in names)

    def exhausted(self, pools: Sequence[RangeSet]) -> RangeSet | None:
        """The first range set that has no address left, or None. Looks at single leases only if there are enough to fill it."""
        with attempting("read the leases in", self._files.directory):
            count = len(self._files.names())
        for pool in pools:
            if pool.size <= count and not self.free(pool):
                return pool
        return None

    def check_writable(self) -> None:
        """Raise IoFailure if a lease could not be written now: a read-only or full file system. Leaves no trace."""
        files.check_writable(self._files.directory)

    def _refuse_second(self, index: OwnerIndex, owner: Owner, pools: Sequence[RangeSet]) -> None:
        held = _addresses(index.find(_content(owner)) + index.find(_old_content(owner)))
        for n, pool in enumerate(pools):
            for address in held:
                if pool.contains(address):
                    raise Conflict(
                        f"failed to allocate for range {n}: {address.address} has been allocated to {owner[0].strip()}, "
                        "duplicate allocation is not allowed",
                        f"The container's {owner[1]} has the address already; DEL frees it.",
                    )

    def _choose(self, n: int, pool: RangeSet, place: Place | None) -> Lease:
        """The lease that range set `n` gives now: at `place`, or at the next free address. Raises Conflict and Exhausted."""
        found = place or find_free(self._files, pool, self._files.last(n))
        if not found:
            raise Exhausted(
                f"failed to allocate for range {n}: no IP addresses available in range set: {pool}",
                f"{self._files.directory} holds a lease for each of its {pool.size} addresses.",
            )
        member, value = found
        lease = member.lease(value)
        name = lease.address.address
        if place and (holder := self._files.read(name)):
            raise Conflict(
                f"failed to allocate for range {n}: requested IP address {name} is not available in range set {pool}",
                f"It is leased to {' '.join(holder.decode(errors='replace').split())}.",
            )
        return lease

    def _take(self, owner: Owner, n: int, lease: Lease, taken: list[str]) -> None:
        """Write `lease` down. Its name is put on the list `taken` first, so that a signal cannot hide it from the undoing."""
        name = lease.address.address
        taken.append(name)
        self._files.create(name, _content(owner))
        self._files.set_last(n, name)

    def _remove(self, names: list[str]) -> None:
        """Remove lease files; raises the first OSError after having tried all."""
        failed: OSError | None = None
        for name in names:
            try:
                self._files.remove(name)
            except OSError as error:
                failed = failed or error
        if failed:
            raise failed


class _Locked:
    """Holds the lock of the lease files for its block, gives the block the index, and turns its OSErrors into IoFailure."""

    __slots__ = ("_attempt", "_files", "_index", "_lock")

    def __init__(self, lease_files: LeaseFiles) -> None:
        self._files = lease_files
        self._lock = -1
        self._attempt = attempting("change the leases in", lease_files.directory)

    def __enter__(self) -> OwnerIndex:
        try:
            with attempting("lock the leases in", self._files.directory):
                self._lock = self._files.open_lock()
            self._index = OwnerIndex(self._files)
        except BaseException:
            self._unlock()  # who undoes after a signal would wait for himself
            raise
        return self._index

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._index.close()
        finally:
            self._unlock()
        self._attempt.__exit__(kind, error, trace)

    def _unlock(self) -> None:
        if self._lock < 0:
            return
        deferred = signals.defer()  # a handler that raised before the lock was given back would have its undo wait for it for ever
        try:
            files.let_go(self._lock)
        finally:
            signals.restore(deferred)


def _content(owner: Owner) -> bytes:
    return f"{owner[0].strip()}\r\n{owner[1]}".encode()


def _old_content(owner: Owner) -> bytes:
    """What the lease files of old did without an interface."""
    return owner[0].strip().encode()


def _held(index: OwnerIndex, owner: Owner) -> tuple[bytes, list[str]]:
    """The content of an owner's lease files, and their names."""
    names = index.find(_content(owner))
    if names:
        return _content(owner), names
    return _old_content(owner), index.find(_old_content(owner))


def _addresses(names: list[str]) -> list[Cidr]:
    return [parse_address(name) for name in names]


def _holding(name: str, content: bytes) -> Holding:
    container_id, _, ifname = content.decode(errors="replace").partition("\r\n")
    return Holding(parse_address(name), container_id, ifname)
