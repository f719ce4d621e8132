"""Several programs at the same time: what came of each is its own affair, and none outlives the call."""

from __future__ import annotations

import os
from collections.abc import Iterator
from errno import EIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cni_plugins.kernel import calls, process
from cni_plugins.kernel.process import Finished, Program
from cni_plugins.protocol.errors import CniError, IoFailure

if TYPE_CHECKING:
    from cni_plugins.kernel.process import Work

MEET = "touch {mine}; n=0; until [ -e {other} ]; do n=$((n + 1)); [ $n -lt 6000 ] || exit 9; sleep 0.01; done"


def shell(text: str, *, limit: int = 1 << 20) -> Work[str]:
    """A work that is a shell's; what it wrote."""
    finished = yield Program("/bin/sh", f"{text}\n".encode(), dict(os.environ), limit=limit)
    return f"{finished.status} {finished.stdout.decode().strip()}"


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Descriptors are closed and children reaped in the end."""

    def state() -> tuple[list[str], set[str]]:
        tasks = Path("/proc/self/task").iterdir()
        return os.listdir("/proc/self/fd"), {pid for task in tasks for pid in (task / "children").read_text().split()}

    before = state()
    yield
    assert state() == before


@pytest.fixture
def meeting(tmp_path: Path) -> tuple[str, str]:
    """Two commands, each of which waits for the other."""
    one, other = tmp_path / "one", tmp_path / "other"
    return MEET.format(mine=one, other=other), MEET.format(mine=other, other=one)


@pytest.mark.usefixtures("nothing_left")
def test_programs_of_different_works_run_at_the_same_time(meeting: tuple[str, str]) -> None:
    one, other = meeting
    assert process.together([shell(f"{one}; echo 1"), shell(f"{other}; echo 2; exit 3")]) == ["0 1", "3 2"]


@pytest.mark.usefixtures("nothing_left")
def test_each_goes_on_when_its_own_program_has_ended(tmp_path: Path) -> None:
    def two_steps() -> Work[str]:
        first = yield from shell("echo first")
        (tmp_path / "stepped").touch()
        return first

    wait = f"until [ -e {tmp_path}/stepped ]; do sleep 0.01; done; echo second"
    assert process.together([shell(wait), two_steps()]) == ["0 second", "0 first"]


@pytest.mark.usefixtures("nothing_left")
def test_failures_of_some_do_not_keep_others(meeting: tuple[str, str]) -> None:
    def missing() -> Work[Finished]:
        return (yield Program("/no/such/program", b"", {}))

    def refusing() -> Work[None]:
        yield from shell("true")
        raise CniError("refused")

    one, other = meeting
    good, absent, endless, refused, last = process.together([
        shell(f"{one}; echo good"), missing(), shell("exec yes", limit=1000), refusing(), shell(other),
    ])  # fmt: skip
    assert (good, last) == ("0 good", "0 ")
    assert isinstance(absent, FileNotFoundError)
    assert isinstance(endless, IoFailure)
    assert isinstance(refused, CniError)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("operation", ["poll", "read", "write", "waitpid", "pipe", "spawn"])
def test_operation_that_fails_is_told_to_a_work_and_ends_what_runs(monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    genuine, calls_made = getattr(calls, operation), []

    def fail(*args: object, **keys: object) -> object:
        calls_made.append(args)
        if len(calls_made) == 2:
            raise OSError(EIO, os.strerror(EIO))
        return genuine(*args, **keys)

    monkeypatch.setattr(calls, operation, fail)
    outcomes = process.together([shell("echo 1"), shell("echo 2")])
    assert [outcome for outcome in outcomes if isinstance(outcome, OSError)]


@pytest.mark.usefixtures("nothing_left")
def test_all_are_ended_when_somebody_says_so(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    waiting = "trap 'echo told >> {0}/told; exit' TERM; echo >> {0}/begun; {1} while :; do sleep 0.01; done"
    tell = f"until [ $(wc -l < {tmp_path}/begun) = 2 ]; do sleep 0.01; done; echo > /proc/{os.getpid()}/fd/{writer};"

    def heed() -> None:
        raise InterruptedError("told to end")

    works = [shell(waiting.format(tmp_path, "")), shell(waiting.format(tmp_path, tell))]
    with pytest.raises(InterruptedError):
        process.together(works, (reader, heed))
    os.close(reader)
    os.close(writer)
    assert (tmp_path / "told").read_text() == "told\n" * 2


@pytest.mark.usefixtures("nothing_left")
def test_defect_of_one_ends_all(tmp_path: Path) -> None:
    def defective() -> Work[str]:
        yield from shell("true")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        process.together([shell("while :; do sleep 0.01; done"), defective()])


def test_what_needs_no_program_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def own() -> Work[int]:
        yield from ()
        return 5

    monkeypatch.setattr(calls, "pipe", None)
    assert process.complete(own()) == 5
