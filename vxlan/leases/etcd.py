"""Leases in etcd, in the keys that flanneld uses, so that both may share one network.

A lease is a key that lives as long as the grant it was written with: 24 hours from the last renewal. A reservation is a key without one.
Whoever wants a subnet lists the keys, chooses, and writes in a transaction that holds only if *no key of the network was written since*:
so neither the same subnet under another key (dual stack has such), nor one that overlaps, nor a second one for the same node can
come into being between looking and writing. Whoever loses that race looks again after a short pause of random length.
"""

from __future__ import annotations

import logging
import threading
import time
from base64 import b64decode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cni_plugins.protocol.errors import Conflict, DecodeFailure, InvalidConfig
from vxlan.leases.choice import choose, own
from vxlan.leases.etcd_gateway import EtcdAccess, Gateway, Refused, is_stale_token, text
from vxlan.leases.network import NetworkConfig
from vxlan.leases.schema import Attributes, Lease, Subnets
from vxlan.leases.store import Backoff, CursorLost, LeaseLost, Put, Removed, Snapshot, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from vxlan.leases.store import Change, Claim

log = logging.getLogger(__name__)

PREFIX = "/coreos.com/network"
TTL = 24 * 3600


class _RaceLost(Exception):
    """Somebody wrote a key of the network between our looking and our writing."""


class EtcdStore:
    """See `store.Store`. `prefix` is the network's, `ttl` the length of a lease in seconds."""

    def __init__(self, access: EtcdAccess, *, prefix: str = PREFIX, ttl: int = TTL) -> None:
        self._gateway = Gateway(access)
        self._prefix = prefix.rstrip("/")
        self._directory = f"{self._prefix}/subnets/"
        self._ttl = ttl
        self._closed = threading.Event()

    def close(self) -> None:
        """End what waits for etcd, pauses between attempts included."""
        self._closed.set()
        self._gateway.close()

    def network(self) -> NetworkConfig:
        """Read `<prefix>/config`. Raises StoreUnavailable, InvalidConfig."""
        key = f"{self._prefix}/config"
        found = self._gateway.call("/v3/kv/range", {"key": text(key)}).get("kvs")
        if not found:
            raise InvalidConfig(f"etcd has no key {key}: put the network's configuration there")
        return NetworkConfig.parse(b64decode(found[0].get("value", "")), source=f"etcd {key}")

    def acquire(self, claim: Claim) -> Lease:
        """See `store.Store.acquire`."""
        pauses = Backoff(first=0.02, most=2)
        while True:
            network = self.network()
            leases, revision = self._list()
            try:
                return self._take(claim, network, leases, revision=revision)
            except _RaceLost:
                log.info("another node was faster: looking for a subnet again")
            if self._closed.wait(pauses.pause()):
                raise StoreUnavailable("the store was closed")

    def renew(self, lease: Lease) -> Lease:
        """Make the grant last its full length again; nobody else hears of it, since the key stays as it is."""
        if not lease.grant:
            return lease
        seconds = self._keep_alive(lease.grant)
        if not seconds:
            raise LeaseLost(f"the lease of {lease.subnets} has ended: etcd does not know its grant any more")
        return replace(lease, expires=time.time() + seconds)

    def release(self, lease: Lease) -> None:
        """Remove the key, if it is still the one that was written for us, and the grant."""
        key = text(self._directory + lease.key)
        ours = {"key": key, "target": "LEASE", "lease": str(lease.grant)}
        if not lease.grant:
            ours = {"key": key, "target": "MOD", "mod_revision": str(lease.revision)}
        self._transaction([ours], [{"request_delete_range": {"key": key}}])
        self._revoke(lease.grant)

    def announce(self, lease: Lease) -> None:
        """The key says it already."""

    def reserve(self, subnets: Subnets, address: IPv4Address | IPv6Address) -> Lease:
        """Write a key that never ends. A lease of the same node becomes a reservation. Raises StoreUnavailable, Conflict."""
        while True:
            leases, revision = self._list()
            taken = next((one for one in leases if one.subnets.overlaps(subnets)), None)
            if taken and not (taken.subnets == subnets and taken.attributes and _has_address(taken.attributes, address)):
                raise Conflict(f"{subnets} cannot be reserved for {address}: {taken.key} is {_whose(taken)}")
            attributes = taken.attributes if taken and taken.attributes else _only_address(address)
            try:
                written = self._write(subnets, attributes, grant=0, revision=revision)
            except _RaceLost:
                continue
            return Lease(subnets.key, subnets, attributes, revision=written)

    def watch(self, cursor: str | None, report: Callable[[str], None]) -> Iterator[Change]:
        """See `store.Store.watch`; a cursor is a revision of etcd's."""
        if cursor is None:
            leases, revision = self._list()
            cursor = str(revision)
            yield Snapshot(tuple(leases), cursor)
        request = {**self._all_keys(), "start_revision": str(int(cursor) + 1)}
        try:
            for message in self._gateway.stream("/v3/watch", {"create_request": request}):
                if message.get("canceled") or message.get("compact_revision"):
                    self._cancelled(message)
                report("")
                revision = int(message["header"]["revision"])
                for event in message.get("events", ()):
                    yield self._change(event, str(revision))
        except Refused as error:
            if is_stale_token(error):
                self._gateway.forget_token()
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise StoreUnavailable(f"etcd's watch is not as it should be: {error!r}") from error

    def _cancelled(self, message: dict[str, Any]) -> None:
        if "compact_revision" in message:
            raise CursorLost(f"etcd was compacted at revision {message['compact_revision']}")
        reason = message.get("cancel_reason") or "no reason given"
        self._gateway.forget_token()
        raise StoreUnavailable(f"etcd ended the watch: {reason}")

    def _change(self, event: dict[str, Any], cursor: str) -> Change:
        entry = event["kv"]
        if event.get("type") == "DELETE":
            return Removed(self._name(entry), cursor)
        return Put(self._lease(entry), cursor) if self._is_subnet(entry) else Removed(self._name(entry), cursor)

    # Choosing

    def _take(self, claim: Claim, network: NetworkConfig, leases: Sequence[Lease], *, revision: int) -> Lease:
        """One attempt. Raises _RaceLost."""
        ours = own(claim, leases)
        others = [lease for lease in leases if lease not in ours]
        keep = next((lease for lease in ours if network.fits(lease.subnets)), None)
        if keep:
            return self._keep(keep, claim.attributes, revision=revision)
        # What was ours and does not fit the configuration any more makes room; what an administrator reserved stays his.
        stale = [lease for lease in ours if lease.grant]
        wishes = [lease.subnets for lease in stale]
        if claim.held:
            wishes.append(claim.held.subnets)
        if claim.previous:
            wishes.append(claim.previous)
        subnets = choose(network, wishes, [lease.subnets for lease in (*others, *(one for one in ours if not one.grant))])
        grant, seconds = self._grant()
        try:
            written = self._write(subnets, claim.attributes, grant=grant, revision=revision, remove=stale)
        except BaseException:
            self._revoke(grant)
            raise
        expires = time.time() + seconds
        return Lease(subnets.key, subnets, claim.attributes, expires=expires, revision=written, grant=grant)

    def _keep(self, lease: Lease, attributes: Attributes, *, revision: int) -> Lease:
        """Go on with a lease that we have; it is written only where something changes, since every node hears of that."""
        seconds = self._keep_alive(lease.grant) if lease.grant else 0
        if lease.grant and not seconds:
            raise _RaceLost
        expires = time.time() + seconds if lease.grant else None
        if lease.attributes != attributes:
            written = self._write(lease.subnets, attributes, grant=lease.grant, revision=revision)
            lease = replace(lease, attributes=attributes, revision=written, problem="")
        return replace(lease, expires=expires)

    # Talking to etcd

    def _list(self) -> tuple[list[Lease], int]:
        answer = self._gateway.call("/v3/kv/range", self._all_keys())
        try:
            leases = [self._lease(entry) for entry in answer.get("kvs", ()) if self._is_subnet(entry)]
            return leases, _number(answer.get("header"), "revision")
        except (KeyError, TypeError, ValueError) as error:
            raise StoreUnavailable(f"etcd's answer is not as it should be: {error!r}") from error

    def _all_keys(self) -> dict[str, str]:
        return {"key": text(self._directory), "range_end": text(self._directory[:-1] + "0")}

    def _name(self, entry: dict[str, Any]) -> str:
        return b64decode(entry["key"]).decode(errors="replace").removeprefix(self._directory)

    def _is_subnet(self, entry: dict[str, Any]) -> bool:
        try:
            Subnets.from_key(self._name(entry))
        except DecodeFailure as error:
            log.debug("etcd: a key under %s is left alone: %s", self._directory, error.msg)
            return False
        return True

    def _lease(self, entry: dict[str, Any]) -> Lease:
        name = self._name(entry)
        subnets, grant, revision = Subnets.from_key(name), int(entry.get("lease", 0)), int(entry["mod_revision"])
        try:
            attributes = Attributes.from_json(b64decode(entry.get("value", "")))
        except DecodeFailure as error:
            return Lease(name, subnets, problem=error.msg, revision=revision, grant=grant)
        return Lease(name, subnets, attributes, revision=revision, grant=grant)

    def _write(self, subnets: Subnets, attributes: Attributes, *, grant: int, revision: int, remove: Sequence[Lease] = ()) -> int:
        """Write a key if nothing was written since `revision`, and return the revision of that. Raises _RaceLost."""
        unchanged = {**self._all_keys(), "target": "MOD", "result": "LESS", "mod_revision": str(revision + 1)}
        put = {"key": text(self._directory + subnets.key), "value": text(attributes.to_json()), "lease": str(grant)}
        deletions = [{"request_delete_range": {"key": text(self._directory + one.key)}} for one in remove if one.key != subnets.key]
        return self._transaction([unchanged], [*deletions, {"request_put": put}], or_else=_RaceLost)

    def _transaction(self, compare: list[Any], success: list[Any], *, or_else: type[Exception] | None = None) -> int:
        answer = self._gateway.call("/v3/kv/txn", {"compare": compare, "success": success})
        if not answer.get("succeeded") and or_else:
            raise or_else
        return _number(answer.get("header"), "revision")

    def _grant(self) -> tuple[int, int]:
        answer = self._gateway.call("/v3/lease/grant", {"TTL": str(self._ttl)})
        return _number(answer, "ID"), _number(answer, "TTL")

    def _keep_alive(self, grant: int) -> int:
        """The seconds that the grant has now; 0 when it is gone."""
        answer = self._gateway.call("/v3/lease/keepalive", {"ID": str(grant)})
        return int(answer.get("result", {}).get("TTL", 0))

    def _revoke(self, grant: int) -> None:
        if not grant:
            return
        try:
            self._gateway.call("/v3/lease/revoke", {"ID": str(grant)})
        except StoreUnavailable as error:
            log.info("a grant that is not needed is left to end by itself: %s", error.msg)


def _has_address(attributes: Attributes, address: IPv4Address | IPv6Address) -> bool:
    return address in (attributes.public_ip, attributes.public_ipv6)


def _only_address(address: IPv4Address | IPv6Address) -> Attributes:
    if address.version == 4:
        return Attributes(public_ip=address, backend="")
    return Attributes(public_ipv6=address, backend="")


def _whose(lease: Lease) -> str:
    if lease.attributes is None:
        return "somebody's"
    return f"{'leased' if lease.grant else 'reserved'} by {lease.attributes.public_ip or lease.attributes.public_ipv6}"


def _number(answer: Any, field: str) -> int:
    """A number of an answer. Raises StoreUnavailable when it has none."""
    try:
        return int(answer[field])
    except (KeyError, TypeError, ValueError):
        raise StoreUnavailable(f"etcd's answer has no number {field}: {answer!r}") from None
