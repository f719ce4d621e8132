"""The runner and the removal, with resources that only write down what is done to them: order, undoing, and what is kept on failure."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from cni_plugins.model.netconf import NetConf
from cni_plugins.plan import removal, runner
from cni_plugins.plan.plugin import Plugin
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.plan.world import Handles, World
from cni_plugins.protocol.attachment import Attachment
from cni_plugins.protocol.errors import CniError, Conflict, Drifted, NotReady
from cni_plugins.protocol.request import Request
from cni_plugins.protocol.result import Result

if TYPE_CHECKING:
    from cni_plugins.plan.resource import Item, Need


class Log:
    """What was done, in order, and what is to fail: pairs of a verb and a kind."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.failing: set[str] = set()
        self.living: set[str] = set()

    def do(self, verb: str, name: str) -> None:
        """Note it, or fail."""
        self.done.append(f"{verb} {name}")
        if f"{verb} {name}" in self.failing:
            raise CniError(f"cannot {verb} {name}")


class LoggedKind(Kind):
    """A kind that writes down what is dropped."""

    def __init__(self, log: Log, name: str, *, parent: bool = False) -> None:
        self.log = log
        self.name = name
        self.parent = parent

    def drop(self, world: World, owned: list[Owned]) -> None:
        self.log.do("drop", self.name)

    def find(self, world: World, att: Attachment) -> list[Item]:
        return [{"found": True}] if f"find {self.name}" in self.log.living else []

    def alive(self, world: World, item: Item) -> bool:
        return self.name in self.log.living


class Logged(Resource[str]):
    """A resource that writes down what is asked of it; its fact is its name, the predicted one in brackets."""

    def __init__(self, log: Log, kind: LoggedKind, *, atomic: bool = False) -> None:
        self.log = log
        self.kind = kind
        self.name = kind.name
        self.atomic = atomic

    def refuse(self, world: World, att: Attachment) -> None:
        self.log.do("refuse", self.name)

    def predict(self, world: World, att: Attachment) -> str:
        return f"({self.name})"

    def apply(self, world: World, att: Attachment) -> str:
        self.log.do("apply", self.name)
        return self.name

    def verify(self, world: World, att: Attachment) -> str:
        try:
            self.log.do("verify", self.name)
        except CniError as error:
            raise Drift(error.msg) from None
        return self.name

    def ready(self, world: World) -> None:
        self.log.do("ready", self.name)


class Stage:
    """A plugin of three things, a lease (the parent), a link and a rule, and an attachment."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = Log()
        self.facts: list[str] = []
        self.kinds = [LoggedKind(self.log, "lease", parent=True), LoggedKind(self.log, "link"), LoggedKind(self.log, "rule")]
        for kind in self.kinds:
            module: Any = ModuleType(f"staged.{kind.name}")
            module.KIND = kind
            monkeypatch.setitem(sys.modules, module.__name__, module)
        self.atomic = False
        names = tuple(f"staged.{kind.name}" for kind in self.kinds)
        self.plugin = Plugin("staged", conf=NetConf, plan=self._plan, kinds=names)
        request = Request("staged", {}, b"{}")
        self.world = World(Handles(run_dir=str(directory)), request, NetConf(name="net"))
        self.att = Attachment("net", "pod", "eth0")
        self.records = directory / "records"

    def _plan(self, att: Attachment, conf: NetConf, need: Need) -> Result:
        self.facts = [need(Logged(self.log, kind, atomic=self.atomic)) for kind in self.kinds]
        return Result()

    def add(self) -> runner.Apply:
        """One ADD up to its result."""
        apply = runner.Apply(self.plugin, self.world, self.att)
        apply.run()
        return apply

    def forget(self) -> None:
        """Begin a new log."""
        self.log.done.clear()


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage in a directory of its own."""
    return Stage(tmp_path, monkeypatch)


def test_everything_is_foretold_before_anything_is_applied(stage: Stage) -> None:
    stage.add()
    assert stage.log.done == ["refuse lease", "refuse link", "refuse rule", "apply lease", "apply link", "apply rule"]
    assert stage.facts == ["lease", "link", "rule"]


def test_refusal_leaves_not_even_a_record(stage: Stage) -> None:
    stage.log.failing = {"refuse rule"}
    with pytest.raises(CniError, match="refuse rule"):
        stage.add()
    assert "apply lease" not in stage.log.done
    assert not stage.records.exists()


def test_undo_drops_what_was_begun_children_first(stage: Stage) -> None:
    stage.log.failing = {"apply link"}
    apply = runner.Apply(stage.plugin, stage.world, stage.att)
    with pytest.raises(CniError):
        apply.run()
    stage.forget()
    apply.undo()
    assert stage.log.done == ["drop link", "drop lease"]
    assert list(stage.records.iterdir()) == []


def test_resource_that_fails_as_a_whole_is_not_dropped(stage: Stage) -> None:
    stage.atomic = True
    stage.log.failing = {"apply link"}
    apply = runner.Apply(stage.plugin, stage.world, stage.att)
    with pytest.raises(CniError):
        apply.run()
    stage.forget()
    apply.undo()
    assert stage.log.done == ["drop lease"]


def test_parent_outlives_a_child_that_cannot_be_removed_and_the_record_is_kept(stage: Stage) -> None:
    stage.add()
    stage.forget()
    stage.log.failing = {"drop link"}
    with pytest.raises(CniError, match="cannot drop link; lease kept") as caught:
        removal.delete(stage.plugin, stage.world, stage.att)
    assert stage.log.done == ["drop rule", "drop link"]
    assert caught.value.code == 999
    assert len(list(stage.records.iterdir())) == 1
    stage.log.failing = set()
    stage.forget()
    removal.delete(stage.plugin, stage.world, stage.att)
    assert stage.log.done == ["drop rule", "drop link", "drop lease"]
    assert list(stage.records.iterdir()) == []


def test_second_add_of_a_living_attachment_is_refused_untouched(stage: Stage) -> None:
    stage.add()
    stage.log.living = {"link"}
    stage.forget()
    with pytest.raises(Conflict, match="net/pod/eth0"):
        stage.add()
    assert stage.log.done == []


def test_add_clears_up_after_a_dead_one_first(stage: Stage) -> None:
    stage.add()
    stage.forget()
    stage.add()
    assert stage.log.done[:4] == ["drop rule", "drop link", "drop lease", "refuse lease"]


def test_finished_record_is_the_whole_truth_and_without_one_it_is_looked_for(stage: Stage) -> None:
    stage.log.living = {"find rule"}
    removal.delete(stage.plugin, stage.world, stage.att)
    assert stage.log.done == ["drop rule"]


def test_check_names_all_drifts_and_goes_on_with_the_predicted_fact(stage: Stage) -> None:
    stage.log.failing = {"verify lease", "verify rule"}
    with pytest.raises(Drifted, match="cannot verify lease; cannot verify rule"):
        runner.check(stage.plugin, stage.world, stage.att)
    assert stage.facts == ["(lease)", "link", "(rule)"]


def test_status_says_50_with_the_reason(stage: Stage) -> None:
    runner.status(stage.plugin, stage.world, stage.att)
    stage.log.failing = {"ready link"}
    with pytest.raises(NotReady, match="cannot ready link"):
        runner.status(stage.plugin, stage.world, stage.att)
