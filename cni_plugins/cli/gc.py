"""`cnictl gc NETWORK`: remove what is not in use of one network, leases of containers that are gone included.

What a runtime does on GC it does from its own list of attachments: DEL for each one that is not valid. Here the list is what lives on this
node, and each of the others gets the DEL of every plugin of the network, last one first. A list of those to keep, as the verb GC takes
one, would be too old the moment it is made: an attachment that is added meanwhile would lose its lease.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cni_plugins.cli import clearing, inventory, things
from cni_plugins.cli.things import Thing
from cni_plugins.kernel import files
from cni_plugins.plan import removal
from cni_plugins.plan.locks import AttachmentLock
from cni_plugins.protocol.errors import InvalidConfig, TryAgain

if TYPE_CHECKING:
    import argparse

    from cni_plugins.cli.command import Commands
    from cni_plugins.cli.context import Context
    from cni_plugins.cli.held import Held
    from cni_plugins.cli.inventory import Entry
    from cni_plugins.networks import Network
    from cni_plugins.plan.plugin import Plugin


def add(commands: Commands, places: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser("gc", parents=[places], help="remove what is not in use of one network")
    parser.add_argument("network", metavar="NETWORK", help="its name, as in a file of the directory of configurations")
    parser.add_argument("--dry-run", action="store_true", help="only list what would be removed")
    parser.set_defaults(command=_run)


def _run(context: Context, options: argparse.Namespace) -> int:
    network = context.networks.named(options.network)
    if network is None:
        said = "".join(f"; not read: {problem}" for problem in context.networks.broken)
        raise InvalidConfig(f"no file in {context.networks.directory} configures a network {options.network!r}{said}")
    for conf in network.plugins:
        if conf["type"] not in context.plugins:
            clearing.remark(f"{conf['type']} is not one of these plugins: what it made is left to its own GC")
    collection = Collection(network)
    entries = [entry for entry in inventory.take(context) if entry.att.network == network.name]
    unused = clearing.choose(context, entries, collection.things)
    if options.dry_run:
        return clearing.foretell(context, unused, collection.things)
    return clearing.clear(context, unused, list_things=collection.things, remove=collection.remove)


class Collection:
    """What is not in use of one network, and its removal."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def things(self, context: Context, entry: Entry) -> list[Thing]:
        """All that is here of an attachment, unless it is in use, or is a plugin's that this build does not have."""
        if entry.in_use or entry.kept or entry.busy:
            return []
        listed = things.of(context, entry) or [Thing("lease", lease.address, entry) for lease in entry.leases]
        return listed + [
            Thing(kind.name, "of the reference plugins", entry)
            for plugin in self._plugins(context, entry)
            if not any(note.plugin == plugin.name and note.record.done for note in entry.notes)
            for kind in map(plugin.kind, plugin.kinds)
            if any("legacy" in item for item in kind.find(context.world(plugin, entry.att), entry.att))
        ]

    def remove(self, context: Context, entry: Entry, locks: Held) -> None:
        """Whatever of the attachment is stale, then DEL by every plugin of the network, each under its own lock. Raises CniError."""
        clearing.remove_stale(context, entry, locks)
        failures = removal.Failures()
        for plugin in self._plugins(context, entry):
            with AttachmentLock(context.run_dir, plugin.name, entry.key, wait=False) as lock:
                if not lock.held or files.exists(f"{context.run_dir}/records/{entry.key.hex()}.{plugin.name}"):
                    raise TryAgain(f"{plugin.name} was called for it meanwhile")
                failures.attempt(None, removal.delete, plugin, context.world(plugin, entry.att), entry.att)
        failures.finish()

    def _plugins(self, context: Context, entry: Entry) -> list[Plugin]:
        """Those of ours in the network's list, last one first; none for an attachment whose names nothing tells."""
        if not entry.att.container_id:
            return []
        return [context.plugins[conf["type"]] for conf in reversed(self.network.plugins) if conf["type"] in context.plugins]
