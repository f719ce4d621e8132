"""`cnictl leases`: which container holds which address, and how many are left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cni_plugins.cli import inventory
from cni_plugins.cli.clearing import remark
from cni_plugins.cli.table import age, short, table
from cni_plugins.protocol.errors import InvalidConfig
from cni_plugins.protocol.ip import parse_address

if TYPE_CHECKING:
    import argparse

    from cni_plugins.cli.command import Commands
    from cni_plugins.cli.context import Context
    from cni_plugins.cli.inventory import Entry, Leased

_HEAD = ("NETWORK", "ADDRESS", "CONTAINER", "INTERFACE", "AGE", "STATE")


def add(commands: Commands, places: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser("leases", parents=[places], help="list host-local's leases, and what is free")
    parser.add_argument("network", nargs="?", metavar="NETWORK", help="only leases of this network")
    parser.add_argument("--json", action="store_true", help="as a JSON object with `leases` and `ranges`")
    parser.set_defaults(command=_run)


def _run(context: Context, options: argparse.Namespace) -> int:
    wanted = options.network
    found = [(lease, entry) for entry in inventory.take(context) for lease in entry.leases if wanted in (None, lease.network)]
    found.sort(key=lambda pair: (pair[0].network, parse_address(pair[0].address).family, parse_address(pair[0].address).value))
    known = len(context.networks.broken)
    ranges = [one for one in context.networks.ranges() if wanted in (None, one.network)]
    for reason in context.networks.broken[known:]:
        remark(f"not counted: {reason}")
    if wanted and not found and not ranges and context.networks.named(wanted) is None:
        raise InvalidConfig(f"there is no network {wanted!r}, neither in {context.networks.directory} nor with leases")
    if options.json:
        print(json.dumps({"leases": [_as_json(*pair) for pair in found], "ranges": [vars(one) for one in ranges]}, indent=2))
        return 0
    print(table(_HEAD, [_row(*pair) for pair in found]))
    for one in ranges:
        print(f"{one.network}: {one.addresses}: {one.free} of {one.size} free")
    remark(f"{len(found)} leases, {sum(bool(entry.why) for _, entry in found)} stale")
    return 0


def _row(lease: Leased, entry: Entry) -> list[str]:
    return [
        lease.network,
        lease.address,
        short(entry.att.container_id),
        entry.att.ifname,
        age(inventory.age(lease.when)),
        f"stale: {entry.why}" if entry.why else "live",
    ]


def _as_json(lease: Leased, entry: Entry) -> dict[str, Any]:
    return {
        "network": lease.network,
        "address": lease.address,
        "containerID": entry.att.container_id,
        "ifname": entry.att.ifname,
        "dataDir": lease.data_dir,
        "ageSeconds": int(inventory.age(lease.when)),
        "state": "stale" if entry.why else "live",
        "why": entry.why,
    }
