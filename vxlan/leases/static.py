"""Leases in a file that an administrator, or whatever deploys the nodes, writes: the same file on every node.

It is the list of peers that the vxlan plugin reads too (`peersFile`, see `vxlan.peerlist`), this node among them:

    [{"node": "192.168.77.11", "subnet": "10.5.1.0/24"}, {"node": "192.168.77.12", "subnet": "10.5.2.0/24"}]

The file is watched: what changes in it is in force at once. A file that cannot be read leaves everything as it was; an entry that makes no
sense is left out and named, and the others work.
"""

from __future__ import annotations

import hashlib
import threading
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from cni_plugins.kernel.inotify import FileWatch
from cni_plugins.protocol.errors import CniError, Conflict, InvalidConfig
from cni_plugins.protocol.ip import parse_cidr
from vxlan.leases.schema import VXLAN, Attributes, Lease, Subnets, Vtep
from vxlan.leases.store import Snapshot, StoreUnavailable
from vxlan.peerlist import PeerFile, usable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vxlan.leases.network import NetworkConfig
    from vxlan.leases.store import Change, Claim
    from vxlan.peerlist import Peer

    Address = IPv4Address | IPv6Address


class StaticStore:
    """See `store.Store`. `path` is the file's; `network` the overlay's configuration."""

    def __init__(self, path: str, network: NetworkConfig) -> None:
        self._path = path
        self._network = network
        self._file = PeerFile(path)
        self._own: tuple[Address, ...] = ()
        self._lock = threading.Lock()
        self._watch: FileWatch | None = None
        self._closed = False

    def network(self) -> NetworkConfig:
        """What the store was made with."""
        return self._network

    def acquire(self, claim: Claim) -> Lease:
        """What the entries with this node's addresses say. Raises StoreUnavailable, InvalidConfig when there is none."""
        mine = claim.attributes
        self._own = tuple(address for address in (mine.public_ip, mine.public_ipv6) if address)
        ours = self._ours(self._read()[0])
        if ours is None:
            families = " and of ".join(f"IPv{part.network.version}" for part in (self._network.v4, self._network.v6) if part)
            raise InvalidConfig(
                f"{self._path} has no subnet of {families} for {' and '.join(map(str, self._own)) or 'a node without address'}"
            )
        return ours

    def renew(self, lease: Lease) -> Lease:
        """Such a lease never ends."""
        return lease

    def release(self, lease: Lease) -> None:
        """The file is not ours to change."""

    def announce(self, lease: Lease) -> None:
        """There is nobody to tell."""

    def reserve(self, subnets: Subnets, address: Address) -> Lease:
        """Raises Conflict: the file is not ours to change."""
        raise Conflict(f"{subnets} is not reserved for {address}: the subnets of this overlay stand in {self._path}, add it there")

    def watch(self, cursor: str | None, report: Callable[[str], None]) -> Iterator[Change]:
        """See `store.Store.watch`; a cursor is a digest of what the file says. The watch goes on when the file cannot be understood."""
        watch = self._open()
        try:
            while True:
                try:
                    peers, problems = self._read()
                except StoreUnavailable as error:
                    report(error.msg)
                else:
                    report("; ".join(problems))
                    digest = hashlib.sha256("\n".join(f"{peer.node} {peer.subnet} {peer.mac}" for peer in peers).encode()).hexdigest()
                    if digest != cursor:
                        yield Snapshot(self._leases(peers), digest)
                        cursor = digest
                if not watch.wait():
                    raise StoreUnavailable("the store was closed")
        except OSError as error:
            raise StoreUnavailable(f"cannot watch {self._path}: {error}") from error
        finally:
            with self._lock:
                self._watch = None
                watch.close()

    def close(self) -> None:
        """End a watch that waits."""
        with self._lock:
            self._closed = True
            if self._watch:
                self._watch.stop()

    def _open(self) -> FileWatch:
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the store was closed")
            try:
                self._watch = FileWatch(self._path)
            except OSError as error:
                raise StoreUnavailable(f"cannot watch {self._path}: {error}") from error
            return self._watch

    def _read(self) -> tuple[list[Peer], list[str]]:
        """The entries that make sense, and what is wrong with the others. Raises StoreUnavailable."""
        try:
            peers, problems = self._file.read()
        except CniError as error:
            raise StoreUnavailable(f"{error.msg}: {error.details}" if error.details else error.msg) from None
        networks = [parse_cidr(str(part.network)) for part in (self._network.v4, self._network.v6) if part]
        good, bad = usable(peers, networks)
        return good, [*problems, *bad]

    def _leases(self, peers: list[Peer]) -> tuple[Lease, ...]:
        """This node's lease, if it is there, and one for each of the other entries."""
        ours = self._ours(peers)
        others = [self._lease(peer) for peer in peers if _address(peer) not in self._own]
        return (*([ours] if ours else []), *others)

    def _ours(self, peers: list[Peer]) -> Lease | None:
        """This node's lease: of each family that the network has the first entry with one of the node's addresses."""
        found: dict[int, Peer] = {}
        for peer in peers:
            if _address(peer) in self._own:
                found.setdefault(_address(peer).version, peer)
        wanted = {part.network.version for part in (self._network.v4, self._network.v6) if part}
        return self._joined({family: peer for family, peer in found.items() if family in wanted}) if wanted <= set(found) else None

    def _lease(self, peer: Peer) -> Lease:
        return self._joined({_address(peer).version: peer})

    def _joined(self, peers: dict[int, Peer]) -> Lease:
        """The lease that entries of one node, by family, come to."""
        nets: dict[int, Any] = {family: ip_network(str(peer.subnet)) for family, peer in peers.items()}
        nodes: dict[int, Any] = {family: _address(peer) for family, peer in peers.items()}
        backend, vteps = self._network.backend, {}
        if backend.Type == VXLAN:
            vteps = {family: Vtep(backend.VNI, peer.vtep_mac(backend.VNI)) for family, peer in peers.items()}
        attributes = Attributes(nodes.get(4), nodes.get(6), backend.Type, vteps.get(4), vteps.get(6))
        return Lease(" and ".join(map(str, nets.values())), Subnets(nets.get(4), nets.get(6)), attributes)


def _address(peer: Peer) -> Address:
    return ip_address(peer.node.address)
