"""Removing what is stale: under the attachment's locks, after a fresh look, by the same code as DEL.

An attachment that somebody adds or deletes right now is left alone, and so is one that turns out to live after all.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from cni_plugins.cli import inventory, things
from cni_plugins.cli.held import Held
from cni_plugins.ipam.store import Store
from cni_plugins.kernel import calls
from cni_plugins.plan import removal
from cni_plugins.plan.locks import AttachmentLock
from cni_plugins.protocol.errors import CniError, TryAgain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cni_plugins.cli.context import Context
    from cni_plugins.cli.inventory import Entry, Noted
    from cni_plugins.cli.things import Thing
    from cni_plugins.plan.resource import Kind, Owned

    List = Callable[[Context, Entry], list[Thing]]
    Remove = Callable[[Context, Entry, Held], None]

_RENEW = 64
"""Attachments after which kernel handles are opened anew: each may have left a namespace open."""

_SETTLED = 2.0
"""Seconds after which a lease that has no interface is no ADD of another plugin under way; those of ours are told by their locks."""


def choose(context: Context, entries: Sequence[Entry], list_things: List) -> list[Entry]:
    """Those of which something is to be removed; who is being added or deleted is left alone, and named."""
    for entry in entries:
        if entry.busy:
            remark(f"left alone: {entry} is being added or deleted right now")
    return [entry for entry in entries if list_things(context, entry)]


def clear(context: Context, entries: Sequence[Entry], *, list_things: List, remove: Remove) -> int:
    """Remove what `list_things` gives of each attachment, by `remove`, and print it. Returns the exit status."""
    removed = failed = 0
    for number, entry in enumerate(entries, 1):
        if number % _RENEW == 0:
            context.renew()
        _let_settle(entry)
        with Held(context, entry) as locks:
            if not locks.held:
                remark(f"left alone: {entry} is being added or deleted right now")
                continue
            inventory.refresh(context, entry)
            listed = list_things(context, entry)
            if not listed:
                remark(f"left alone: {entry} is not stale any more")
                continue
            try:
                remove(context, entry, locks)
            except TryAgain as error:
                remark(f"left alone: {entry}: {error.msg}")
                continue
            except CniError as error:
                failed += 1
                remark(f"failed: {entry}: {error.msg}")
                continue
        removed += len(listed)
        for thing in listed:
            print(thing)
    remark(f"{removed} removed" + (f", {failed} attachments could not be cleaned up: the same command tries again" if failed else ""))
    return 1 if failed else 0


def _let_settle(entry: Entry) -> None:
    """Wait until an attachment of which there are but leases would have its interface, if somebody were adding it right now."""
    youngest = min((inventory.age(lease.when) for lease in entry.leases), default=_SETTLED)
    if not entry.ours and youngest < _SETTLED:
        calls.sleep(_SETTLED - youngest)


def foretell(context: Context, entries: Sequence[Entry], list_things: List) -> int:
    """Print what `clear` would remove. Returns the exit status."""
    listed = [thing for entry in entries for thing in list_things(context, entry)]
    for thing in listed:
        print(thing)
    remark(f"{len(listed)} would be removed; nothing was changed")
    return 0


def remove_stale(context: Context, entry: Entry, locks: Held) -> None:
    """Remove what `things.of` lists: marks and what cannot be read, then stale records by their plugins' DEL, then leases.

    Raises CniError for what is left. A lease is given back when everything else is gone, as the rule is for DEL.
    """
    kept, failures = entry.kept, removal.Failures()
    _drop(context, failures, things.stale_marks(entry))
    failures.finish()
    for note in entry.fallen:
        if note.record.damaged:
            failures.attempt(None, note.record.remove)
    locks.let_go()  # a plugin that delegates to another one of ours has that one's lock taken on its way
    for note in entry.fallen:
        if not note.record.damaged:
            failures.attempt(None, _delete, context, note)
    failures.finish()
    if not kept:
        release(context, entry)


def _delete(context: Context, note: Noted) -> None:
    """The DEL of a record's plugin, if the record is still the same. Raises TryAgain when somebody works on it, or has done so."""
    record, plugin = note.record, context.plugins[note.plugin]
    with AttachmentLock(context.run_dir, plugin.name, record.key, wait=False) as lock:
        if not lock.held or note.changed:
            raise TryAgain(f"{plugin.name} was called for it meanwhile")
        removal.delete(plugin, context.world(plugin, record.att), record.att)


def release(context: Context, entry: Entry) -> None:
    """Give back every lease of an attachment that is left. Raises IoFailure."""
    for lease in entry.leases:
        if os.path.exists(f"{lease.data_dir}/{lease.network}/{lease.address}"):
            Store(lease.data_dir, lease.network).release((entry.att.container_id, entry.att.ifname))


def _drop(context: Context, failures: removal.Failures, marks: list[Owned]) -> None:
    """Drop what carries a mark, of chained plugins first, children before parents; each kind once."""
    done: set[Kind] = set()
    for plugin in sorted(context.plugins.values(), key=lambda plugin: not plugin.chained):
        for kind in map(plugin.kind, reversed(plugin.kinds)):
            mine = [owned for owned in marks if owned.item["kind"] == kind.name]
            if mine and kind not in done:
                done.add(kind)
                failures.drop(kind, context.world(plugin), mine)


def remark(text: str) -> None:
    """Say something to the person, apart from the list on standard output."""
    print(text, file=sys.stderr)
