"""`cnictl handover`: give the node back to the reference plugins, with attachments of ours still on it.

What we added stays until its DEL, whichever plugins that is asked of. What must not happen is that an old rule of ours beats a new one of
theirs: our chains that change destinations move behind the reference's, and what is stale is swept. `--undo` moves them back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cni_plugins.cli import chains, clearing, inventory
from cni_plugins.cli.sweep import sweep

if TYPE_CHECKING:
    import argparse

    from cni_plugins.cli.command import Commands
    from cni_plugins.cli.context import Context

_LINK = "veth"


def add(commands: Commands, places: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser("handover", parents=[places], help="give the node back to the reference plugins")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--undo", action="store_true", help="take the node over again")
    parser.set_defaults(command=_run)


def _run(context: Context, options: argparse.Namespace) -> int:
    moves = chains.moves(context.handles.nft, undo=options.undo)
    if not options.dry_run:
        chains.carry_out(context.handles.nft, moves)
    for move in moves:
        print(move)
    if not moves:
        clearing.remark("every NAT chain is where it should be")
    if options.undo:
        return 0
    status = sweep(context, dry_run=options.dry_run)
    _say_what_stays(context)
    return status


def _say_what_stays(context: Context) -> None:
    """Name each attachment that stays, and what of it the reference plugins' DEL does not know."""
    context.look_again()
    for entry in inventory.take(context):
        if not entry.ours or not entry.in_use:
            continue
        kinds = sorted({owned.item["kind"] for owned in entry.marks} - {_LINK})
        rest = f", except for {', '.join(kinds)}, which `cnictl sweep` takes then" if kinds else ""
        clearing.remark(f"stays: {entry}: in use. The DEL of the reference plugins removes it{rest}")
