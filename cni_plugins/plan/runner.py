"""Runs a plan: Predict foretells, Apply makes it so, Verify compares, Ready asks whether it could be done.

All are what the plan calls `need`; none knows a plugin. What Apply has begun is in the record before it begins, so that it
can be undone by this process, or after its death by the next ADD or DEL.
"""

from __future__ import annotations

from cni_plugins.plan import records, removal
from cni_plugins.plan.resource import Drift
from cni_plugins.protocol.errors import CniError, Conflict, Drifted, NotReady

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cni_plugins.kernel.process import Work
    from cni_plugins.plan.plugin import Plugin
    from cni_plugins.plan.resource import F, Item, Need, Part, Resource
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.result import Result


class _InTurn:
    """Nothing is waited for here, so nothing is done at once."""

    def at_once(self: Need, parts: Sequence[Part[F]], /) -> list[F]:
        """What each part asks for, one part after the other."""
        return [_followed(part, self) for part in parts]


def _followed(part: Part[F], need: Need) -> F:
    fact = None
    while True:
        try:
            resource = part.send(fact)
        except StopIteration as end:
            value: F = end.value
            return value
        fact = need(resource)


class Predict(_InTurn):
    """Foretells every fact and refuses what cannot work, before anything is changed. `steps` keeps what was asked for, in order."""

    def __init__(self, world: World, att: Attachment) -> None:
        self._world = world
        self._att = att
        self.steps: list[tuple[Resource[Any], Any]] = []

    def __call__(self, resource: Resource[F], /) -> F:
        """The fact as far as it can be known beforehand. Raises CniError."""
        resource.refuse(self._world, self._att)
        fact = resource.predict(self._world, self._att)
        self.steps.append((resource, fact))
        return fact


class Apply:
    """One ADD. Whoever runs it calls `undo` when anything fails afterwards, delivering the result included."""

    def __init__(self, plugin: Plugin, world: World, att: Attachment) -> None:
        self._plugin = plugin
        self._world = world
        self._att = att
        self._record = records.load(world.run_dir, plugin.name, att)
        self._begun = False
        self._failed = False

    def run(self) -> Result:
        """Predict, then apply. Raises CniError (or whatever interrupts); then `undo` is to be called."""
        plugin, world, att = self._plugin, self._world, self._att
        self._settle()
        plugin.plan(att, world.conf, Predict(world, att))
        records.ensure_home(world.run_dir)
        self._begun = True
        self._record.begin(world.request.token)
        result = plugin.plan(att, world.conf, self)
        self._record.finish()
        return result

    def __call__(self, resource: Resource[F], /) -> F:
        """Write down, then apply."""
        item = self._note(resource)
        try:
            return resource.apply(self._world, self._att)
        except CniError:
            self._forget(resource, item)
            raise

    def at_once(self, parts: Sequence[Part[F]], /) -> list[F]:
        """While one part waits for a program the others go on. Once one has failed nothing more is begun, and what was begun is waited for.

        Raises CniError that has what all parts say that failed, the first one's code.
        """
        from cni_plugins.kernel import process  # it has been loaded by whatever executes programs

        self._failed = False
        failures = removal.Failures()
        facts = failures.sift(process.together([self._going_through(part) for part in parts], self._world.handles.heed))
        failures.finish()
        return facts

    def _going_through(self, part: Part[F]) -> Work[Any]:
        """A part up to its end, or until another has failed."""
        fact = None
        try:
            while not self._failed:
                fact = yield from self._applying(part.send(fact))
        except StopIteration as end:
            return end.value
        except Exception:
            self._failed = True
            raise

    def _applying(self, resource: Resource[F]) -> Work[F]:
        """As calling it."""
        item = self._note(resource)
        try:
            return (yield from resource.applying(self._world, self._att))
        except CniError:
            self._forget(resource, item)
            raise

    def delivered(self) -> None:
        """Note that the result has arrived where it was asked for. It stands, whatever fails from here on."""
        try:
            self._record.delivered()
        except CniError:
            pass  # the attachment's DEL removes what is left of its record

    def _note(self, resource: Resource[Any]) -> Item:
        """Write down what is about to be applied."""
        kind = resource.kind
        if kind is None:
            return {}
        item = {"kind": kind.name, **resource.record(self._world, self._att)}
        if kind.recorded:
            self._record.append(item)
        else:
            self._record.unwritten.append(item)
        return item

    def _forget(self, resource: Resource[Any], item: Item) -> None:
        """Nothing is left of what has failed, if it says so."""
        kind = resource.kind
        if kind is not None and resource.atomic:
            (self._record.items if kind.recorded else self._record.unwritten).remove(item)

    def undo(self) -> None:
        """Drop in reverse what was applied. Raises CniError when something is still there; its record is kept for DEL then."""
        if self._begun:
            record = self._record
            removal.drop(self._plugin, self._world, self._att.key, [*record.items, *record.unwritten])
            self._record.remove()

    def _settle(self) -> None:
        """Deal with what an earlier ADD left: alive, it is an error and stays untouched; dead or unfinished, it is undone first.

        So is what an agent had done of this very call when it died: nobody got its result.
        """
        record, plugin, world, att = self._record, self._plugin, self._world, self._att
        if record.token and record.token == world.request.resumes:
            record.done = False
            removal.delete_recorded(plugin, world, record)
            self._record = records.load(world.run_dir, plugin.name, att)
            return
        if record.done and removal.alive(plugin, world, record.items):
            raise Conflict(f"CNI_CONTAINERID, CNI_IFNAME: {att} is attached already", "DEL it first, or use another CNI_IFNAME")
        if record.done and removal.repeatable(plugin, record.items):
            return
        if record.items or record.damaged:
            removal.delete(plugin, world, att)
            self._record = records.load(world.run_dir, plugin.name, att)


class Verify(_InTurn):
    """One CHECK: goes on past what has drifted, with the fact that should be there, so that all of it is named at once."""

    def __init__(self, world: World, att: Attachment) -> None:
        self._world = world
        self._att = att
        self._drifts: list[str] = []

    def __call__(self, resource: Resource[F], /) -> F:
        """The verified fact; on drift it is noted, and the one returned that comes with it, or the predicted one."""
        try:
            return resource.verify(self._world, self._att)
        except Drift as drift:
            self._drifts.append(str(drift))
            if drift.fact is not None:
                return drift.fact  # type: ignore[return-value]  # the resource that raised it knows its own fact
            return resource.predict(self._world, self._att)

    def finish(self) -> None:
        """Raise Drifted that lists every drift, if there was one."""
        if self._drifts:
            raise Drifted("; ".join(self._drifts))


class Ready(_InTurn):
    """One STATUS: could each thing that the plan asks for be applied now?"""

    def __init__(self, world: World, att: Attachment) -> None:
        self._world = world
        self._att = att

    def __call__(self, resource: Resource[F], /) -> F:
        """The predicted fact. Raises NotReady with the reason."""
        try:
            resource.ready(self._world)
            return resource.predict(self._world, self._att)
        except NotReady:
            raise
        except CniError as error:
            raise NotReady(error.msg, error.details) from error


def check(plugin: Plugin, world: World, att: Attachment) -> None:
    """CHECK: raise Drifted unless everything is as ADD left it."""
    verify = Verify(world, att)
    plugin.plan(att, world.conf, verify)
    verify.finish()


def status(plugin: Plugin, world: World, att: Attachment) -> None:
    """STATUS: raise NotReady with the reason when an ADD could not be served now."""
    try:
        records.check_home(world.run_dir)
    except CniError as error:
        raise NotReady(error.msg, error.details) from error
    plugin.plan(att, world.conf, Ready(world, att))
