"""What has changed between two snapshots, in lines for a person."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.ledger.snapshot import Fields, Item, Snapshot

_SYSCTL_OF = re.compile(r"net/ipv[46]/conf/(?P<link>[^/]+)/")


def diff(before: Snapshot, after: Snapshot, *, ignore: Iterable[str] = ()) -> list[str]:
    """List what appeared ("+"), vanished ("-") and changed ("~"), sorted; nothing when both are the same.

    `ignore` holds regular expressions; an entry is left out when one matches all of its "PLACE KIND NAME". Sysctls of a link that
    came or went are left out too: the link says it all.
    """
    patterns = [re.compile(pattern) for pattern in ignore]
    lines = []
    for item in sorted(before.keys() | after.keys()):
        old, new = before.get(item), after.get(item)
        if old == new or any(pattern.fullmatch(str(item)) for pattern in patterns) or _goes_with_its_link(item, before, after):
            continue
        lines.append(_line(item, old, new))
    return lines


def about_link(name: str, *, place: str = "node") -> str:
    """A pattern for `ignore`: a link, and every address, route, neighbour, queueing discipline and sysctl on it."""
    link = re.escape(name)
    return rf"{re.escape(place)} (link {link}|(address|route|neighbour|qdisc) .*dev {link}( .*)?|sysctl net/ipv[46]/conf/{link}/.*)"


def _goes_with_its_link(item: Item, before: Snapshot, after: Snapshot) -> bool:
    match = _SYSCTL_OF.match(item.name) if item.kind == "sysctl" else None
    return match is not None and match["link"] in before.links(item.place) ^ after.links(item.place)


def _line(item: Item, old: Fields | None, new: Fields | None) -> str:
    if old is None:
        return f"+ {item}{_text(new or {})}"
    if new is None:
        return f"- {item}{_text(old)}"
    changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    changes = [f"{name} {old.get(name, '(none)')} -> {new.get(name, '(none)')}" for name in changed]
    return f"~ {item}: {', '.join(changes)}"


def _text(fields: Fields) -> str:
    return ": " + ", ".join(f"{name} {value}" for name, value in fields.items()) if fields else ""
