"""Parts of a plan that are made at once: each in its order, written down before it begins; undone whatever happens."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from cni_plugins.kernel.process import Program
from cni_plugins.model.netconf import NetConf
from cni_plugins.plan import records, runner
from cni_plugins.plan.plugin import Plugin
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.plan.world import Handles, World
from cni_plugins.protocol.attachment import Attachment
from cni_plugins.protocol.errors import CniError, Drifted, KernelRefused, NotReady
from cni_plugins.protocol.request import Request
from cni_plugins.protocol.result import Result

if TYPE_CHECKING:
    from cni_plugins.kernel.process import Work
    from cni_plugins.plan.resource import Item, Need, Part


class ThingKind(Kind):
    """Things, of which it is written down which were dropped."""

    name = "things"

    def __init__(self) -> None:
        self.dropped: list[str] = []

    def drop(self, world: World, owned: list[Owned]) -> None:
        self.dropped += [one.item["name"] for one in owned]


class Thing(Resource[str]):
    """Made by a program that does nothing; its fact is its name. What is in `stage.failing` fails; what is in `stage.patient`
    waits for that.
    """

    kind: Kind

    def __init__(self, stage: Stage, name: str, *, atomic: bool = False) -> None:
        self.stage = stage
        self.name = name
        self.kind = stage.kind
        self.atomic = atomic

    def predict(self, world: World, att: Attachment) -> str:
        return f"({self.name})"

    def apply(self, world: World, att: Attachment) -> str:
        raise AssertionError("it would have been waited for")

    def applying(self, world: World, att: Attachment) -> Work[str]:
        self.stage.log.append(f"begin {self.name}")
        assert self.name in [item["name"] for item in self.stage.recorded()]
        wait = f"until [ -e {self.stage.failed_file} ]; do sleep 0.01; done\n" if self.name in self.stage.patient else ""
        yield Program("/bin/sh", wait.encode(), {"PATH": "/bin:/usr/bin"})
        self.stage.log.append(f"end {self.name}")
        if self.name in self.stage.failing:
            self.stage.failed_file.touch()
            raise self.stage.failing[self.name]
        return self.name

    def verify(self, world: World, att: Attachment) -> str:
        raise Drift(f"{self.name} drifted")

    def ready(self, world: World) -> None:
        raise NotReady(f"{self.name} is not ready")

    def record(self, world: World, att: Attachment) -> Item:
        return {"name": self.name}


class Stage:
    """A plugin whose plan has two parts of two things each."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.failing: dict[str, BaseException] = {}
        self.patient: set[str] = set()
        self.failed_file = directory / "failed"
        self.atomic = False
        self.kind = ThingKind()
        self.facts: list[str] = []
        module: Any = ModuleType("staged.things")
        module.KIND = self.kind
        monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
        self.plugin = Plugin("staged", conf=NetConf, plan=self._plan, kinds=("staged.things",))
        self.world = World(Handles(run_dir=str(directory)), Request("staged", {}, b"{}"), NetConf(name="net"))
        self.att = Attachment("net", "pod", "eth0")

    def _plan(self, att: Attachment, conf: NetConf, need: Need) -> Result:
        self.facts = need.at_once([self._part("a"), self._part("b")])
        return Result()

    def _part(self, name: str) -> Part[str]:
        first = yield Thing(self, f"{name}1", atomic=self.atomic)
        second = yield Thing(self, f"{name}2")
        return f"{first} {second}"

    def recorded(self) -> list[Item]:
        """What the record has at this moment."""
        return records.load(self.world.run_dir, "staged", self.att).items

    def failed(self, kind: type[BaseException]) -> str:
        """An ADD that is to fail so, and what it says."""
        apply = runner.Apply(self.plugin, self.world, self.att)
        with pytest.raises(kind) as caught:
            apply.run()
        self.log.append("failed")
        apply.undo()
        return str(caught.value)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage in a directory of its own."""
    return Stage(tmp_path, monkeypatch)


def test_parts_are_begun_together_and_each_keeps_its_order(stage: Stage) -> None:
    runner.Apply(stage.plugin, stage.world, stage.att).run()
    assert stage.facts == ["a1 a2", "b1 b2"]
    assert stage.log[:2] == ["begin a1", "begin b1"]
    for part in "ab":
        assert [line for line in stage.log if part in line.split()[1]] == [
            f"{what} {part}{number}" for number in (1, 2) for what in ("begin", "end")
        ]


def test_failures_are_told_in_the_order_of_the_parts_after_all_has_ended(stage: Stage) -> None:
    stage.failing = {"a1": KernelRefused("a"), "b1": CniError("b")}
    assert stage.failed(CniError) == "a; b"
    assert {"end a1", "end b1"} == set(stage.log[2:4])
    assert stage.kind.dropped == ["a1", "b1"]
    assert stage.recorded() == []


def test_nothing_more_is_begun_after_a_failure(stage: Stage) -> None:
    stage.failing, stage.patient = {"a1": CniError("a")}, {"b1"}
    stage.failed(CniError)
    assert stage.log == ["begin a1", "begin b1", "end a1", "end b1", "failed"]


def test_what_fails_as_a_whole_is_not_dropped_though_others_were_begun_after_it(stage: Stage) -> None:
    stage.atomic = True
    stage.failing = {"a1": CniError("a")}
    stage.failed(CniError)
    assert "a1" not in stage.kind.dropped
    assert "b1" in stage.kind.dropped


def test_failure_that_is_the_kernels_is_told_like_others(stage: Stage) -> None:
    stage.failing = {"b1": OSError(5, "the kernel says no")}
    assert "the kernel says no" in stage.failed(KernelRefused)


def test_check_and_status_go_through_the_parts_in_turn(stage: Stage) -> None:
    with pytest.raises(Drifted, match="a1 drifted; a2 drifted; b1 drifted; b2 drifted"):
        runner.check(stage.plugin, stage.world, stage.att)
    assert stage.facts == ["(a1) (a2)", "(b1) (b2)"]
    with pytest.raises(NotReady, match="a1 is not ready"):
        runner.status(stage.plugin, stage.world, stage.att)
