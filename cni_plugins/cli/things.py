"""What a removal takes away of an attachment, thing by thing: what `--dry-run` lists, and what a real run says that it removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cni_plugins.plan.resource import Kind

if TYPE_CHECKING:
    from cni_plugins.cli.context import Context
    from cni_plugins.cli.inventory import Entry, Noted
    from cni_plugins.plan.plugin import Plugin
    from cni_plugins.plan.resource import Item, Owned

_SAID_ELSEWHERE = ("kind", "conf", "attachment", "netns", "legacy")
_KINDS_OF_ADDRESSES = ("lease", "host_local")
_IPAM_WITH_FILES = "host-local"


class Thing:
    """One thing: `what` it is ("record", "veth", "lease", …), its `name`, and whose it is."""

    __slots__ = ("entry", "name", "what")

    def __init__(self, what: str, name: str, entry: Entry) -> None:
        self.what = what
        self.name = name
        self.entry = entry

    def __str__(self) -> str:
        return f"{self.what:<11} {self.name}  ({self.entry}: {self.entry.why})"


def stale_marks(entry: Entry) -> list[Owned]:
    """What carries the mark and no record stands for; beside a record that stands, what the stale ones have and that one has not."""
    if not entry.kept:
        return entry.marks
    standing = {item.get("kind") for note in entry.notes if not note.why for item in note.record.items}
    fallen = {item.get("kind") for note in entry.fallen for item in note.record.items}
    return [owned for owned in entry.marks if owned.item["kind"] in fallen - standing]


def of(context: Context, entry: Entry) -> list[Thing]:
    """All that a sweep takes of an attachment, which is nothing of one that lives."""
    notes, marks = entry.fallen, stale_marks(entry)
    if entry.busy or not (notes or marks):
        return []
    things = [Thing("draft" if note.draft else "record", f"{note.plugin} {entry.key.hex()}", entry) for note in notes]
    things += [Thing(owned.item["kind"], describe(owned.item), entry) for owned in marks]
    for note in notes:
        plugin = context.plugins.get(note.plugin)
        if plugin is not None:
            things += _unmarked(context, plugin, note, entry)
    if not entry.kept:
        things += [Thing("lease", lease.address, entry) for lease in entry.leases]
    return things


def _unmarked(context: Context, plugin: Plugin, note: Noted, entry: Entry) -> list[Thing]:
    """What a record lists of kinds whose things carry no mark: undone inside the container while that is there; leases of others."""
    things = []
    inside = bool(note.record.att.netns) and context.places.look(note.record.att.netns, note.record.att.ifname).netns
    for item in note.record.items:
        name = str(item.get("kind", ""))
        if name not in plugin.kinds or type(plugin.kind(name)).marked is not Kind.marked:
            continue
        if name in _KINDS_OF_ADDRESSES:
            if item.get("type") != _IPAM_WITH_FILES:
                things.append(Thing("lease", f"of {item.get('type')}", entry))
        elif inside:
            things.append(Thing(name, describe(item), entry))
    return things


def describe(item: Item) -> str:
    """What a record or a mark says of a thing, in one line, without what is said elsewhere."""
    words = [word for key, value in item.items() if key not in _SAID_ELSEWHERE for word in _words(key, value)]
    return " ".join(words) or "-"


def _words(key: str, value: object) -> list[str]:
    if isinstance(value, list):
        return [word for one in value for word in (_words(key, one) if isinstance(one, list) else [str(one)]) if word]
    return [value if isinstance(value, str) else f"{key}={value}"]
