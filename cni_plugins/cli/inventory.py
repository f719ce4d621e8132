"""What exists on this node, whose it is, and whether its owner still lives.

Three things speak of an attachment, and each may be there without the others: its records (one for each plugin), what carries its mark
(links, elements in nftables: whatever the kinds find), and its leases. They are brought together by the attachment's key.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from cni_plugins.cli.held import is_busy
from cni_plugins.cli.judgement import LIVE, judge
from cni_plugins.ipam.store import Store
from cni_plugins.model.base import folded
from cni_plugins.plan import records
from cni_plugins.protocol.attachment import MARK, Attachment, host_name_of, key_of_mark, network_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cni_plugins.cli.context import Context
    from cni_plugins.plan.records import Record
    from cni_plugins.plan.resource import Owned


_CLOSE = 64
"""Attachments after which kernel handles are closed: each may have left a namespace open."""


class Noted:
    """A record, the plugin that made it, when (seconds since the epoch), and `why` it is stale. `draft`: it never got its name."""

    __slots__ = ("draft", "plugin", "record", "when", "why")

    def __init__(self, plugin: str, record: Record) -> None:
        self.plugin = plugin
        self.record = record
        self.draft = not os.path.exists(record.path)
        self.when = _time(record.path)
        self.why = LIVE

    @property
    def changed(self) -> bool:
        """Whether somebody has written the record again since; that it is gone is no change: then nothing is left to do."""
        return _time(self.record.path) not in (0.0, self.when)


class Leased:
    """A lease file of host-local: below which data directory, the address, when it was taken."""

    __slots__ = ("address", "data_dir", "network", "when")

    def __init__(self, data_dir: str, network: str, address: str) -> None:
        self.data_dir = data_dir
        self.network = network
        self.address = address
        self.when = _time(f"{data_dir}/{network}/{address}")


class Entry:
    """One attachment and all that speaks of it. `why` says why it is stale (LIVE: it is not); `in_use` that its interface is there, or
    may be; `busy` that somebody is adding or deleting it. The names in `att` are empty where nothing here tells them.
    """

    __slots__ = ("addresses", "att", "busy", "in_use", "key", "leases", "marks", "notes", "why")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.att = Attachment("", "", "")
        self.notes: list[Noted] = []
        self.marks: list[Owned] = []
        self.leases: list[Leased] = []
        self.addresses: list[str] = []
        self.why = LIVE
        self.in_use = False
        self.busy = False

    @property
    def ours(self) -> bool:
        """Whether anything but lease files speaks of it: those do not say which plugin wrote them."""
        return bool(self.notes or self.marks)

    @property
    def fallen(self) -> list[Noted]:
        """The records that are stale, last made first: a chain is taken down from its end.

        One that cannot be read is believed in as long as the interface is there: it says that there was an ADD.
        """
        stale = [note for note in self.notes if note.why and (note.draft or not note.record.damaged or not self.in_use)]
        return sorted(stale, key=lambda note: note.when, reverse=True)

    @property
    def kept(self) -> bool:
        """Whether a record of it stands, so that what carries its mark is not to be touched."""
        return len(self.fallen) < len(self.notes)

    @property
    def when(self) -> float:
        """When it was made, in seconds since the epoch; 0 when nothing tells."""
        known = [*(note.when for note in self.notes), *(lease.when for lease in self.leases)]
        return min((moment for moment in known if moment), default=0.0)

    @property
    def plugins(self) -> list[str]:
        """The plugins that have a record of it."""
        return [note.plugin for note in sorted(self.notes, key=lambda note: note.when)]

    def __str__(self) -> str:
        att = self.att
        return f"{att.network or '?'}/{att.container_id or self.key.hex()}/{att.ifname or '?'}"


def take(context: Context) -> list[Entry]:
    """Everything on this node, by network, container and interface."""
    found = _Found()
    for plugin, record in _records(context):
        found.entry(record.key).notes.append(Noted(plugin, record))
    context.data_dirs = sorted({*context.data_dirs, *_recorded_data_dirs(found.values())})
    for att, lease in _leases(context):
        one = found.entry(att.key)
        one.leases.append(lease)
        one.att = att
    _add_marks(found, list(_marked(context)))
    _name(context, found)
    for number, one in enumerate(found.values(), 1):
        judge(context, one)
        if number % _CLOSE == 0:
            context.handles.close()
        if one.why and one.ours and is_busy(context, one):
            one.busy, one.why = True, LIVE
    return sorted(found.values(), key=lambda one: (one.att.network, one.att.container_id, one.att.ifname, one.key))


class _Found(dict[bytes, Entry]):
    """Entries by their attachments' keys."""

    def entry(self, key: bytes) -> Entry:
        """The entry of a key, made when it is first asked for."""
        return self.setdefault(key, Entry(key))


def _add_marks(found: _Found, marked: list[Owned]) -> None:
    """To each its marks; what tells its owner's key no more may still be named after it."""
    for owned in marked:
        if owned.key:
            found.entry(owned.key).marks.append(owned)
    derived = {host_name_of(key): key for key in found}
    for owned in marked:
        if not owned.key:
            named = [derived[name] for name in owned.item.values() if isinstance(name, str) and name in derived]
            found.entry(named[0] if named else b"").marks.append(owned)


def refresh(context: Context, entry: Entry) -> None:
    """Read an attachment's records again and judge it anew: to be called under its locks. What carries its mark proves itself.

    Where there were records and now are none, somebody has deleted the attachment meanwhile, and all of it.
    """
    context.look_again()
    had_notes = bool(entry.notes)
    names = {f"{entry.key.hex()}.{plugin}" for plugin in (*context.plugins, *entry.plugins)}
    present = [(name, records.named(context.run_dir, name, entry.att)) for name in sorted(names)]
    entry.notes = [Noted(name.partition(".")[2], record) for name, record in present if record is not None]
    if had_notes and not entry.notes:
        entry.marks, entry.leases = [], []
    judge(context, entry)


def _records(context: Context) -> Iterator[tuple[str, Record]]:
    for name in sorted(records.names(context.run_dir)):
        key, _, plugin = name.partition(".")
        if plugin and len(key) == 32 and not set(key) - set("0123456789abcdef"):
            record = records.named(context.run_dir, name, Attachment("", "", ""))
            if record is not None:
                yield plugin, record


def _marked(context: Context) -> Iterator[Owned]:
    """What carries a mark of any network, of every kind that any plugin has."""
    seen: set[str] = set()
    for plugin in context.plugins.values():
        for name, module in plugin.kinds.items():
            if module not in seen:
                seen.add(module)
                yield from plugin.kind(name).marked(context.world(plugin), "")


def _recorded_data_dirs(entries: Iterable[Entry]) -> Iterator[str]:
    """Where records say that their leases are, when that is not the usual place."""
    for note in (note for entry in entries for note in entry.notes):
        for item in note.record.items:
            conf = str(item.get("conf", ""))
            ipam = folded(json.loads(conf), "ipam") if "datadir" in conf.lower() else None
            data_dir = folded(ipam, "datadir") if isinstance(ipam, dict) else None
            if isinstance(data_dir, str) and data_dir:
                yield data_dir


def _leases(context: Context) -> Iterator[tuple[Attachment, Leased]]:
    for data_dir, network in _lease_directories(context):
        for held in Store(data_dir, network).leases():
            yield Attachment(network, held.container_id, held.ifname), Leased(data_dir, network, held.address.address)


def _lease_directories(context: Context) -> Iterator[tuple[str, str]]:
    for data_dir in context.data_dirs:
        if os.path.isdir(data_dir):
            for name in sorted(os.listdir(data_dir)):
                if os.path.isdir(f"{data_dir}/{name}"):
                    yield data_dir, name


def _name(context: Context, found: dict[bytes, Entry]) -> None:
    """Give every entry the names that anything tells: its records, its link's alias, for its network also the configurations."""
    aliases: dict[bytes, str] | None = None
    networks = {network_key(name): name for name in (*context.networks.by_name, *(name for _, name in _lease_directories(context)))}
    for key, entry in found.items():
        readable = [note.record.att for note in entry.notes if not note.record.damaged]
        if readable:
            entry.att = readable[0]
        elif not entry.att.network:
            aliases = _aliases(context) if aliases is None else aliases
            entry.att = _from_alias(key, aliases.get(key, "")) or Attachment(networks.get(key[:8], ""), "", "")


def _aliases(context: Context) -> dict[bytes, str]:
    links = context.handles.host.links()
    return {key: link.alias for link in links if (key := key_of_mark(link.alias)) is not None}


def _from_alias(key: bytes, alias: str) -> Attachment | None:
    """The names in a mark, if they are complete: an alias has room for 255 bytes."""
    names = alias.removeprefix(MARK).partition(" ")[2].split("/")
    att = Attachment(*names) if len(names) == 3 else None
    return att if att is not None and att.key == key else None


def _time(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def age(when: float) -> float:
    """Seconds since a moment, never less than none."""
    return max(0.0, time.time() - when)
