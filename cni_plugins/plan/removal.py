"""DEL, GC and undo: not from the plan, since configurations change and prevResults get lost.

They work from what was written down (records), what the configuration's delegates may hold, and what carries our mark or has
the reference's computable names.
"""

from __future__ import annotations

from cni_plugins.plan import records
from cni_plugins.plan.locks import AttachmentLocks, LentLock
from cni_plugins.plan.resource import Owned
from cni_plugins.protocol.attachment import Attachment
from cni_plugins.protocol.errors import CniError, KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    from cni_plugins.plan.plugin import Plugin
    from cni_plugins.plan.records import Record
    from cni_plugins.plan.resource import Item, Kind, Valid
    from cni_plugins.plan.world import World

    F = TypeVar("F")
    P = ParamSpec("P")

# Locks are held while a bundle of stale attachments is removed: each costs a file descriptor.
_BUNDLE = 128


def delete(plugin: Plugin, world: World, att: Attachment) -> None:
    """Remove all of an attachment. What is not there is no error; what could not be removed is, and keeps its record.

    A finished record is the whole truth. Without one (a killed ADD, a reboot, an attachment that the reference made) what
    the kinds can find for this attachment is removed too.
    """
    delete_recorded(plugin, world, records.load(world.run_dir, plugin.name, att))


def delete_recorded(plugin: Plugin, world: World, record: Record) -> None:
    """Remove all of the attachment that a record is about, as `delete` does."""
    att = record.att
    failures, items = Failures(), list(record.items)
    if not (record.done and record.items):
        for name in plugin.kinds:
            failures.attempt(None, _find, plugin.kind(name), world, att, items)
    _drop(plugin, world, failures, [Owned(att.key, item) for item in items])
    failures.finish()
    record.remove()


def _find(kind: Kind, world: World, att: Attachment, items: list[Item]) -> None:
    """Add to `items` what a kind finds for an attachment without its record."""
    found = [{"kind": kind.name, **item} for item in kind.find(world, att)]
    items += [item for item in found if item not in items]


def drop(plugin: Plugin, world: World, key: bytes, items: list[Item]) -> None:
    """Drop recorded items, children before parents. Tries all; raises one CniError that lists what failed."""
    failures = Failures()
    _drop(plugin, world, failures, [Owned(key, item) for item in items])
    failures.finish()


def _drop(plugin: Plugin, world: World, failures: Failures, owned: list[Owned]) -> None:
    for name in reversed(plugin.kinds):
        mine = [one for one in owned if one.item.get("kind") == name]
        if mine:
            failures.drop(plugin.kind(name), world, mine)


def alive(plugin: Plugin, world: World, items: list[Item]) -> bool:
    """Whether anything that a record lists still works."""
    return any(plugin.kind(item["kind"]).alive(world, item) for item in items if item.get("kind") in plugin.kinds)


def repeatable(plugin: Plugin, items: list[Item]) -> bool:
    """Whether a record lists only what a second ADD may meet."""
    return bool(items) and all(plugin.kind(item["kind"]).repeatable for item in items if item.get("kind") in plugin.kinds)


def collect(plugin: Plugin, world: World, *, network: str, valid: Valid) -> None:
    """GC: remove what belongs to attachments of `network` that are not in `valid`, pairs of container ID and interface.

    Goes on past errors, then raises them.

    None for `valid` means that the runtime gave no list: nothing is removed here, and delegates are asked with the same.

    An attachment that somebody holds the lock of is being added or deleted right now, and is left alone.
    """
    failures = Failures()
    keep = {Attachment(network, *owner).key for owner in valid or ()}
    stale = () if valid is None else [one for one in records.of_network(world.run_dir, plugin.name, network) if one.key not in keep]
    for record in stale:
        with LentLock(world.handles, plugin.name, record.key, wait=False) as lock:
            if lock.held and record.damaged:
                failures.attempt(None, record.remove)  # what it spoke of is found below, by its marks
            elif lock.held:
                failures.attempt(None, delete, plugin, world, record.att)
    for kind in map(plugin.kind, reversed(plugin.kinds)):
        if valid is not None:
            failures.attempt(None, _collect_marked, plugin, world, failures, kind=kind, network=network, keep=keep)
        failures.attempt(kind, kind.collect, world, valid)
    failures.finish()


def _collect_marked(plugin: Plugin, world: World, failures: Failures, /, *, kind: Kind, network: str, keep: set[bytes]) -> None:
    stale = [owned for owned in kind.marked(world, network) if owned.key not in keep]
    for start in range(0, len(stale), _BUNDLE):
        bundle = stale[start : start + _BUNDLE]
        with AttachmentLocks(world.run_dir) as locks:
            ours = {key for key in {owned.key for owned in bundle} if locks.take(plugin.name, key)}
            failures.drop(kind, world, [owned for owned in bundle if owned.key in ours])


class Failures:
    """Tries everything and remembers what failed. A parent is kept when anything before it could not be removed."""

    def __init__(self) -> None:
        self._errors: list[CniError] = []

    def attempt(self, kind: Kind | None, action: Callable[P, None], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run one step, unless it removes a parent whose children may be still there."""
        if kind is not None and kind.parent and self._errors:
            kept = f"{kind.name} kept until the rest can be removed"
            if all(error.msg != kept for error in self._errors):
                self._errors.append(CniError(kept))
            return
        try:
            action(*args, **kwargs)
        except (CniError, OSError) as error:
            self.note(error)

    def note(self, error: CniError | OSError) -> None:
        """Remember one more."""
        self._errors.append(error if isinstance(error, CniError) else KernelRefused(str(error)))

    def sift(self, outcomes: list[F | CniError | OSError]) -> list[F]:
        """Remember the errors among what was done at once (see kernel.process.together); the rest of it."""
        for outcome in outcomes:
            if isinstance(outcome, CniError | OSError):
                self.note(outcome)
        return [outcome for outcome in outcomes if not isinstance(outcome, CniError | OSError)]

    def drop(self, kind: Kind, world: World, owned: list[Owned]) -> None:
        """Drop things of one kind: all at once where that costs less, else each by itself, so that one cannot keep the others."""
        for bundle in [owned] if kind.bulk else [[one] for one in owned]:
            self.attempt(kind, kind.drop, world, bundle)

    def finish(self) -> None:
        """Raise one error with all messages and the first one's code, if anything failed."""
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            joined = CniError("; ".join(error.msg for error in self._errors), "\n".join(e.details for e in self._errors if e.details))
            joined.code = self._errors[0].code
            raise joined
