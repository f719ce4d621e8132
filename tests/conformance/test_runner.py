"""Runs: cases beside each other, none longer than it may, the same verdicts every time, and nothing left of one that is broken off."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conformance import runner
from conformance.case import GROUPS, cases
from conformance.profile import load
from conformance.runner import BrokenRun, Job, run
from tests.conformance.fakes import PROFILE, TIMEOUT, VERSIONS, plugin
from tests.conformance.test_bad_plugins import running

# Answers when a second one has come, which is seen in a directory that the cases share with the machine.
TOGETHER = """
os.mkdir(f"{meeting}/{os.urandom(8).hex()}")
while len(os.listdir(meeting)) < 2:
    time.sleep(0.01)
"""


@pytest.mark.parametrize(("workers", "verdict"), [(1, "fail"), (2, "pass")])
def test_cases_are_run_at_once(root: None, tmp_path: Path, workers: int, verdict: str) -> None:
    meeting = Path(f"/dev/shm/meeting-{os.getpid()}-{workers}")
    meeting.mkdir()
    try:
        directory = plugin(tmp_path, f"meeting = '{meeting}'\n{TOGETHER}\n{VERSIONS}")
        timeout = TIMEOUT if verdict == "pass" else 0.5
        jobs = [Job(case, PROFILE, directory, timeout=timeout) for case in ("VER-01", "VER-02")]
        assert next(result.verdict for _, result in run(jobs, workers=workers)) == verdict
    finally:
        for entry in meeting.iterdir():
            entry.rmdir()
        meeting.rmdir()


def test_a_case_that_takes_too_long_is_ended_and_failed(root: None, tmp_path: Path) -> None:
    jobs = [Job("VER-01", PROFILE, plugin(tmp_path, "subprocess.run(['sleep', '983'])"), timeout=1000, limit=1)]
    [(_, result)] = run(jobs)
    assert (result.verdict, result.expected) == ("fail", "the case ends within 1 s")
    assert not running("sleep 983")


def test_a_run_that_is_broken_off_leaves_nothing(root: None, tmp_path: Path) -> None:
    quick, slow = tmp_path / "quick", tmp_path / "slow"
    for directory, body in ((quick, VERSIONS), (slow, "subprocess.run(['sleep', '982'])")):
        directory.mkdir()
        plugin(directory, body)
    results = run([Job("VER-01", PROFILE, slow, timeout=1000), Job("VER-01", PROFILE, quick)])
    next(results)
    results.close()
    assert not running("sleep 982")


def test_the_same_run_twice_gives_the_same_verdicts(root: None, plugin_dir: Path) -> None:
    def verdicts() -> dict[str, str]:
        jobs = [Job(case.id, load("host-local"), plugin_dir, timeout=TIMEOUT) for case in cases() if case.id.startswith(("VER", "DEL"))]
        return {result.id: result.verdict for _, result in run(jobs)}

    assert verdicts() == verdicts()


def test_a_skip_has_a_reason_and_is_no_pass(root: None, tmp_path: Path) -> None:
    [(_, result)] = run([Job("DEL-10", PROFILE, plugin(tmp_path, VERSIONS))])
    assert (result.verdict, result.observed) == ("skip", "the plugin's profile is without delegates")


def test_results_are_told_in_the_order_of_the_suite(root: None, tmp_path: Path) -> None:
    ids = ["DEL-10", "VER-02", "VER-01"]
    results = runner.in_order(result for _, result in run([Job(case, PROFILE, plugin(tmp_path, VERSIONS)) for case in ids]))
    assert [result.id for result in results] == ["VER-01", "VER-02", "DEL-10"]


def test_a_user_without_the_rights_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BrokenRun, match="needs root"):
        next(run([]))


def test_a_foreman_that_cannot_run_is_told(root: None, tmp_path: Path) -> None:
    with pytest.raises(BrokenRun, match="exit status"):
        list(run([Job("NOT-01", PROFILE, tmp_path)]))


def test_cases_come_in_the_order_of_their_groups() -> None:
    groups = [case.id.partition("-")[0] for case in cases()]
    assert groups == sorted(groups, key=GROUPS.index)
