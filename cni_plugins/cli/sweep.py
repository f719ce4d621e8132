"""`cnictl sweep`: remove what is stale of any network, and nothing else.

Stale is what our records and marks prove to be ours and dead: a namespace or an interface that is gone, a mark without a record, an
element in nftables whose owner is gone, the draft of a record. Leases that nothing but their file speaks of stay: another
plugin may have written them, and `gc` decides about them by their network's configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cni_plugins.cli import clearing, inventory, things

if TYPE_CHECKING:
    import argparse

    from cni_plugins.cli.command import Commands
    from cni_plugins.cli.context import Context


def add(commands: Commands, places: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser("sweep", parents=[places], help="remove what is stale of any network")
    parser.add_argument("--dry-run", action="store_true", help="only list what would be removed")
    parser.set_defaults(command=_run)


def _run(context: Context, options: argparse.Namespace) -> int:
    return sweep(context, dry_run=options.dry_run)


def sweep(context: Context, *, dry_run: bool) -> int:
    """Remove what is stale, or with `dry_run` only list it. Returns the exit status."""
    stale = clearing.choose(context, inventory.take(context), things.of)
    if dry_run:
        return clearing.foretell(context, stale, things.of)
    return clearing.clear(context, stale, list_things=things.of, remove=clearing.remove_stale)
