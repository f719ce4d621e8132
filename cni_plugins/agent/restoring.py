"""What live attachments need and somebody has taken, put back from their records: all attachments together, under their locks.

A node may have hundreds, and all of them are cut off: so each kind puts back the things of all in one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Set as AbstractSet

from cni_plugins.agent.passes import warm_world
from cni_plugins.agent.warm import Warm
from cni_plugins.plan import records
from cni_plugins.plan.liveness import owner_is_dead, with_links
from cni_plugins.plan.locks import AttachmentLocks
from cni_plugins.plan.records import Record
from cni_plugins.plan.resource import Kind
from cni_plugins.plan.world import World
from cni_plugins.protocol.attachment import Attachment
from cni_plugins.protocol.errors import CniError
from cni_plugins.registry import PLUGINS, plugin_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.resource import Recorded

_FAILURES = 32
"""After so many refused transactions of one kind it is the node that refuses, and not what is wrong with an attachment."""
_FEW = 8
"""So many links are looked up one by one; of more, all are listed."""

log = logging.getLogger(__name__)


class Restorer:
    """Puts things back on one node. `run_dir` is where records and locks are."""

    def __init__(self, warm: Warm, *, run_dir: str) -> None:
        self._warm = warm
        self._run_dir = run_dir
        plugins = filter(None, map(plugin_named, PLUGINS))
        self._kinds: dict[str, Kind] = {name: plugin.kind(name) for plugin in plugins for name in plugin.kinds}

    @property
    def everything(self) -> AbstractSet[str]:
        """The names of all kinds."""
        return self._kinds.keys()

    def lost(self) -> AbstractSet[str]:
        """The kinds that say that somebody has taken what their things stand in. Raises CniError."""
        with warm_world(self._warm, self._run_dir) as world:
            return {name for name, kind in self._kinds.items() if kind.lost(world)}

    def lost_unheard(self) -> AbstractSet[str]:
        """Those that say so of what the kernel announces no changes of. Raises CniError."""
        with warm_world(self._warm, self._run_dir) as world:
            return {name for name, kind in self._kinds.items() if kind.lost_unheard(world)}

    def put_back(self, kinds: AbstractSet[str], *, only: AbstractSet[str] | None = None) -> tuple[int, AbstractSet[str]]:
        """Put back things of these kinds, of all live attachments or of those with `only` these records (paths).

        Returns how many attachments lacked any, and the records of others, which somebody was working on. Raises CniError.
        """
        with AttachmentLocks(self._run_dir) as locks:
            found, busy = self._gather(locks, kinds, only)
            alive = self._living({record.key for record in found})
            wanted: dict[str, Recorded] = {}
            for record in found:
                for item in record.items if record.key in alive else ():
                    if item["kind"] in kinds:
                        wanted.setdefault(item["kind"], []).append((record.att, item))
            with warm_world(self._warm, self._run_dir) as world:
                restored = [_restore(world, self._kinds[name], recorded) for name, recorded in wanted.items()]
        return len(set().union(*restored)), busy

    def _gather(self, locks: AttachmentLocks, kinds: AbstractSet[str], only: AbstractSet[str] | None) -> tuple[list[Record], set[str]]:
        """The finished records that have such things, which are locked from here on; and those that somebody else has locked."""
        busy: set[str] = set()

        def ours(name: str, record: Record) -> bool:
            plugin = plugin_named(name)
            if plugin is None or not kinds & plugin.kinds.keys() or (only is not None and record.path not in only):
                return False
            if locks.take(name, record.key):
                return True
            busy.add(record.path)
            return False

        every = [record for _, record in records.every(self._run_dir, wanted=ours)]
        return [record for record in every if record.done and any(item["kind"] in kinds for item in record.items)], busy

    def _living(self, owners: set[bytes]) -> set[bytes]:
        """Those of the attachments with these keys that are alive."""
        with warm_world(self._warm, self._run_dir) as world:
            linked = with_links(world) if len(owners) > _FEW else set()
        return {owner for owner in owners if owner in linked or self._is_alive(owner)}

    def _is_alive(self, owner: bytes) -> bool:
        """Its container may be entered for that, and is not kept open: there may be hundreds."""
        with warm_world(self._warm, self._run_dir) as world:
            return not owner_is_dead(world, owner)


def _restore(world: World, kind: Kind, recorded: Recorded) -> set[bytes]:
    """All together; where that fails, by halves, so that one attachment cannot keep the others. Tells of which any was lacking."""
    bundles, failures = [recorded], 0
    restored: set[bytes] = {att.key for att, _ in recorded} if kind.lost(world) or kind.lost_unheard(world) else set()
    while bundles:
        bundle = bundles.pop()
        try:
            restored |= kind.restore(world, bundle)
        except (CniError, OSError) as error:
            failures += 1
            half = len(bundle) // 2
            if half and failures < _FAILURES:
                bundles += [bundle[:half], bundle[half:]]
            else:
                _say(kind, [att for att, _ in bundle], error)
    return restored


def _say(kind: Kind, of: list[Attachment], error: Exception) -> None:
    others = f" and {len(of) - 1} others" if len(of) > 1 else ""
    log.error("cannot put back what %s%s had of %s: %s", of[0], others, kind.name, error)
