"""`cnictl attachments`: everything that exists on this node, whose it is, and whether its owner lives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cni_plugins.cli import inventory
from cni_plugins.cli.clearing import remark
from cni_plugins.cli.table import age, short, table

if TYPE_CHECKING:
    import argparse

    from cni_plugins.cli.command import Commands
    from cni_plugins.cli.context import Context
    from cni_plugins.cli.inventory import Entry

_HEAD = ("NETWORK", "CONTAINER", "INTERFACE", "PLUGINS", "NETNS", "ADDRESSES", "AGE", "STATE")
_WITHOUT_TEXT = ("conf",)


def add(commands: Commands, places: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser("attachments", parents=[places], help="list what exists on this node, live or stale")
    parser.add_argument("--network", metavar="NAME", help="only attachments of this network")
    parser.add_argument("--json", action="store_true", help="all that is known, as a JSON list")
    parser.set_defaults(command=_run)


def _run(context: Context, options: argparse.Namespace) -> int:
    entries = [one for one in inventory.take(context) if options.network in (None, one.att.network)]
    if options.json:
        print(json.dumps([as_json(one) for one in entries], indent=2))
        return 0
    print(table(_HEAD, [_row(one) for one in entries]))
    stale = sum(bool(one.why) for one in entries)
    remark(f"{len(entries)} attachments, {stale} stale")
    for problem in context.networks.broken:
        remark(f"not read: {problem}")
    return 0


def state(entry: Entry) -> str:
    """Whether it lives, in words."""
    if entry.busy:
        return "being added or deleted"
    if entry.why:
        return f"stale: {entry.why}"
    if not entry.ours:
        return "live, no record: another plugin's"
    if not entry.in_use:
        return "not judged: of a plugin that this build has not"
    return "live, damaged record" if any(note.why for note in entry.notes) else "live"


def _row(entry: Entry) -> list[str]:
    att = entry.att
    when = entry.when
    return [
        att.network or "?",
        short(att.container_id or entry.key.hex()),
        att.ifname or "?",
        ",".join(entry.plugins),
        att.netns,
        ",".join(entry.addresses),
        age(inventory.age(when)) if when else "",
        state(entry),
    ]


def as_json(entry: Entry) -> dict[str, Any]:
    """All that is known of an attachment."""
    att = entry.att
    return {
        "network": att.network,
        "containerID": att.container_id,
        "ifname": att.ifname,
        "netns": att.netns,
        "key": entry.key.hex(),
        "state": "busy" if entry.busy else "stale" if entry.why else "live" if entry.in_use else "unknown",
        "why": entry.why,
        "ageSeconds": int(inventory.age(entry.when)) if entry.when else None,
        "addresses": entry.addresses,
        "records": [
            {"plugin": note.plugin, "file": note.record.path, "done": note.record.done, "damaged": note.record.damaged, "why": note.why}
            for note in sorted(entry.notes, key=lambda note: note.when)
        ],
        "marks": [{key: value for key, value in owned.item.items() if key not in _WITHOUT_TEXT} for owned in entry.marks],
        "leases": [{"address": lease.address, "dataDir": lease.data_dir} for lease in entry.leases],
    }
