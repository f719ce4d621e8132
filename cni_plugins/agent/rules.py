"""Puts back what a firewall's reload takes: `nft flush ruleset` removes everybody's tables, ours included.

Every change of the rules is heard from the kernel. When a table of ours was deleted, what the records of live attachments have is put back,
under their locks. When something else was deleted, each kind is asked whether what its things stand in is gone, which costs nothing that
grows with pods.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from time import monotonic

from cni_plugins.agent.warm import Warm, WarmHandles
from cni_plugins.plan import records
from cni_plugins.plan.liveness import owner_is_dead
from cni_plugins.plan.locks import AttachmentLock
from cni_plugins.plan.plugin import Plugin
from cni_plugins.plan.records import Record
from cni_plugins.plan.world import World
from cni_plugins.protocol.errors import CniError
from cni_plugins.protocol.request import Request
from cni_plugins.registry import PLUGINS, plugin_named

_NETLINK_NETFILTER, _SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES = 12, 270, 1, 7
_NFTABLES = 10
_DELTABLE = _NFTABLES << 8 | 2
_DELETIONS = {_DELTABLE, *(_NFTABLES << 8 | message for message in (5, 8, 11))}
"""NFT_MSG_DELTABLE; _DELCHAIN, _DELRULE, _DELSET."""
_OUR_TABLES = b"cni_plugins\0"
_QUIET_MS = 50
"""A reload is many changes: it is waited for until none has come for so long, or until _AT_LATEST seconds have gone."""
_AT_LATEST = 0.4
_AGAIN_MS = 200
"""When to look again at attachments that somebody was working on."""

log = logging.getLogger(__name__)


class RulesWatch:
    """Watches nftables in a thread of its own, from `start` to `stop`. `restored` is told how many attachments were put back, `noticed`
    that something was deleted.
    """

    def __init__(self, warm: Warm, *, run_dir: str, restored: Callable[[int], None], noticed: Callable[[], None] = lambda: None) -> None:
        self._warm = warm
        self._run_dir = run_dir
        self._restored = restored
        self._noticed = noticed
        self._events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._events.bind((0, 0))  # before it joins: nothing is sent to a socket without an address
        self._events.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES)
        self._events.setblocking(False)
        self._stopping, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._watch, name="rules", daemon=True)

    def start(self) -> None:
        """Put back what is missing now, and watch from here on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        os.close(self._stop)
        self._thread.join()
        self._events.close()

    def _watch(self) -> None:
        busy = self._put_back(everything=True)
        poll = select.poll()
        for fd in (self._events.fileno(), self._stopping):
            poll.register(fd, select.POLLIN | select.POLLHUP)
        while True:
            ready = poll.poll(_AGAIN_MS if busy else None)
            if any(fd == self._stopping for fd, _ in ready):
                return
            deleted, ours = self._read()
            if deleted:
                ours = self._wait_for_quiet(poll) or ours
                self._noticed()
                busy |= self._put_back(everything=ours)
            elif busy:
                busy = self._put_back(everything=True, only=busy)

    def _read(self) -> tuple[bool, bool]:
        """Read what has been announced: whether anything was deleted, and a table of ours among it. An overflow may have lost that."""
        deleted = ours = False
        while True:
            try:
                messages = self._events.recv(1 << 16)
            except BlockingIOError:
                return deleted, ours
            except OSError:
                deleted = ours = True
                continue
            for kind, message in _split(messages):
                deleted = deleted or kind in _DELETIONS
                ours = ours or (kind == _DELTABLE and _OUR_TABLES in message)

    def _wait_for_quiet(self, poll: select.poll) -> bool:
        latest, ours = monotonic() + _AT_LATEST, False
        while monotonic() < latest and any(fd == self._events.fileno() for fd, _ in poll.poll(_QUIET_MS)):
            ours = self._read()[1] or ours
        return ours

    def _put_back(self, *, everything: bool, only: AbstractSet[str] | None = None) -> AbstractSet[str]:
        """Put back what is missing; the records of attachments that were left out because somebody was working on them."""
        try:
            restored, busy = put_back(self._warm, self._run_dir, everything=everything, only=only)
        except (CniError, OSError) as error:
            log.error("cannot put back what the firewall's reload took: %s", error)
            return frozenset()
        except Exception:
            log.exception("cannot put back what the firewall's reload took, which is a defect")
            return frozenset()
        if restored:
            log.info("put back the firewall elements of %d attachments", restored)
            self._restored(restored)
        return busy


def _split(messages: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 16 <= len(messages):
        length, kind = struct.unpack_from("IH", messages, offset)
        yield kind, messages[offset : offset + length]
        offset += (max(length, 16) + 3) & ~3


def put_back(warm: Warm, run_dir: str, *, everything: bool, only: AbstractSet[str] | None = None) -> tuple[int, set[str]]:
    """Put back what live attachments need: of the kinds that are lost, or `everything`; of all records, or `only` of these (paths).

    Returns how many attachments had such things, and the records of others that were being worked on.
    """
    with _world(warm, run_dir) as world:
        kinds = {name: plugin.kind(name) for plugin in filter(None, map(plugin_named, PLUGINS)) for name in plugin.kinds}
        lost = {name for name, kind in kinds.items() if everything or kind.lost(world)}
    restored, busy = 0, set()
    for name, record in records.every(run_dir) if lost else ():
        plugin = plugin_named(name)
        wanted = only is None or record.path in only
        if wanted and plugin is not None and any(item["kind"] in lost for item in record.items):
            with AttachmentLock(run_dir, name, record.key, wait=False) as lock, _world(warm, run_dir) as world:
                if lock.held:
                    restored += _restore(world, plugin, record, lost)
                else:
                    busy.add(record.path)
    return restored, busy


@contextmanager
def _world(warm: Warm, run_dir: str) -> Iterator[World]:
    """For one attachment: each may have a container that is entered, whose descriptors are not to add up."""
    handles = WarmHandles(warm, run_dir=run_dir, executable=(0, 0), stderr=2, container=None)
    try:
        yield World(handles, Request("cni-agent", {}, b""), None)
    finally:
        handles.close()


def _restore(world: World, plugin: Plugin, seen: Record, lost: set[str]) -> bool:
    record = records.load(world.run_dir, plugin.name, seen.att)  # as it is under the lock
    if not record.done or owner_is_dead(world, record.key):
        return False
    for item in record.items:
        if item["kind"] in lost:
            try:
                plugin.kind(item["kind"]).restore(world, record.att, item)
            except (CniError, OSError) as error:
                log.error("%s: cannot put back its %s: %s", record.att, item["kind"], error)
    return True
