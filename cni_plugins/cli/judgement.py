"""Whether an attachment lives: its container's namespace is there, its interface in it, and its link on the node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from cni_plugins.plan.resource import Kind

if TYPE_CHECKING:
    from cni_plugins.cli.context import Context
    from cni_plugins.cli.inventory import Entry, Noted
    from cni_plugins.plan.plugin import Plugin
    from cni_plugins.plan.resource import Item, Owned
    from cni_plugins.protocol.attachment import Attachment

LIVE = ""
"""What `why` says of what is not stale."""


def judge(context: Context, entry: Entry) -> None:
    """Find out whether an attachment lives: its `in_use`, its `why`, and that of each of its records."""
    entry.in_use = False
    for note in entry.notes:
        note.why = _why(context, entry, note)
        entry.in_use |= note.why == LIVE and note.plugin in context.plugins
    readable = [note for note in entry.notes if not note.record.damaged]
    if not readable:
        entry.in_use = any(_is_alive(context, owned) for owned in entry.marks) or _lives_elsewhere(context, entry)
    entry.why = next((note.why for note in entry.fallen), LIVE)
    if not entry.notes and entry.marks:
        entry.why = "mark without record" if entry.in_use else "owner gone"
    if not entry.ours and not entry.in_use:
        entry.why = "no such container"
    _add_addresses(context, entry)


def _why(context: Context, entry: Entry, note: Noted) -> str:
    """Why a record is stale; a plugin that this build does not have is not judged."""
    record, plugin = note.record, context.plugins.get(note.plugin)
    if note.draft:
        return "draft of a record"
    if plugin is None:
        return LIVE
    if record.damaged:
        return "damaged record"
    if not record.done:
        return "unfinished"
    if plugin.enters_netns:
        sight = context.places.look(record.att.netns, record.att.ifname)
        if not sight.netns:
            return "netns gone"
        if not sight.interface:
            return "interface gone"
    return LIVE if _has_its_link(context, plugin, entry, record.items) else "record without link"


def _has_its_link(context: Context, plugin: Plugin, entry: Entry, items: list[Item]) -> bool:
    """Whether anything of a record works that can tell; true where nothing can. Of what was found by its mark it is known."""
    proofs = [item for item in items if item.get("kind") in plugin.kinds and _proves_life(plugin.kind(item["kind"]))]
    marked = {owned.item["kind"] for owned in entry.marks}
    return not proofs or any(item["kind"] in marked or plugin.kind(item["kind"]).alive(context.world(plugin), item) for item in proofs)


def _proves_life(kind: Kind) -> bool:
    """Whether a kind can tell that what it made still works."""
    return type(kind).alive is not Kind.alive


def _is_alive(context: Context, owned: Owned) -> bool:
    for plugin in context.plugins.values():
        name = owned.item["kind"]
        if name in plugin.kinds:
            return plugin.kind(name).alive(context.world(plugin), owned.item)
    return False


def _lives_elsewhere(context: Context, entry: Entry) -> bool:
    """Whether an attachment that we have no record of is in use: another plugin made it, and its runtime or its container tells."""
    for path in _sandboxes(context, entry.att):
        if context.places.look(path, entry.att.ifname).interface:
            return True
    return any(context.places.holds(entry.att.ifname, lease.address) for lease in entry.leases)


def _sandboxes(context: Context, att: Attachment) -> set[str]:
    """The paths of the container's network namespace as libcni's cache has them (libcni, cachedInfo)."""
    try:
        cached = json.loads(Path(context.results, f"{att.network}-{att.container_id}-{att.ifname}").read_bytes())
        interfaces = (cached.get("result") or {}).get("interfaces") or []
        return {path for path in (cached.get("netns"), *(one.get("sandbox") for one in interfaces)) if path}
    except (OSError, ValueError, AttributeError):
        return set()


def _add_addresses(context: Context, entry: Entry) -> None:
    sight = context.places.look(entry.att.netns, entry.att.ifname) if entry.att.netns else None
    entry.addresses = list(sight.addresses) if sight and sight.addresses else [lease.address for lease in entry.leases]
