"""What somebody is told whose demo goes wrong."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo import stage
from demo.screen import Screen
from tests.lab.machine import LabError


@pytest.fixture(autouse=True)
def _signals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The test's own handlers are back afterwards; and there is a directory of executables."""
    monkeypatch.setattr(stage, "PLUGIN_DIR", tmp_path)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def perform(story: Callable[[Screen], None], *, programs: tuple[str, ...] = ()) -> int:
    return stage.perform(story, target="demo", programs=programs, outlook="Next: nothing.")


def test_a_step_that_does_not_work_is_marked_and_counted_and_nothing_is_promised(capsys: pytest.CaptureFixture[str]) -> None:
    assert perform(lambda screen: screen.outcome(False, "web -> db")) == 1
    assert capsys.readouterr().out == "  NO  web -> db\n\nSteps that did not work: 1\n"


@pytest.mark.parametrize("error", [LabError("etcd does not answer"), AssertionError("etcd does not answer")])
def test_a_lab_that_does_not_come_up_says_so_in_a_sentence(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def story(screen: Screen) -> None:
        raise error

    assert perform(story) == 1
    assert capsys.readouterr().out == "  NO  etcd does not answer\n\nSteps that did not work: 1\n"


def test_what_is_not_built_is_named_with_what_builds_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert perform(lambda screen: None, programs=("no-such-peer",)) == 2
    assert capsys.readouterr().err == "the executables or no-such-peer are not built: run `make demo`, which builds them\n"


def test_an_impatient_reader_does_not_keep_it_from_cleaning_up(capsys: pytest.CaptureFixture[str]) -> None:
    cleaned = []

    def story(screen: Screen) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            cleaned.append(True)

    assert perform(story) == 130
    assert cleaned
    assert capsys.readouterr().out == "\nInterrupted: nothing of it is left\n"
