"""The commands around a run do what they say, and tell in one sentence, with exit status 2, why they cannot."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from conformance import about, init, results
from conformance.case import GROUPS
from conformance.cli import main
from conformance.report.text import by_group
from tests.unit.conformance.runs import FAILED, PASSED, run


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    """The files of two runs."""
    files = [tmp_path / "reference.json", tmp_path / "ours.json"]
    results.save(run(PASSED, FAILED), files[0])
    results.save(run(PASSED, plugin="ours"), files[1])
    return [str(file) for file in files]


def test_several_plugins_are_set_side_by_side(two: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *two, "--all", "--json", str(tmp_path / "all.json"), "--html", str(tmp_path / "all.html")]) == 0
    assert "DEL twice succeeds" in capsys.readouterr().out
    written = json.loads((tmp_path / "all.json").read_text())
    assert [plugin["label"] for plugin in written["plugins"]] == ["bridge", "ours"]
    assert {"id": "DEL-02", "title": "DEL twice succeeds", "level": "MUST", "verdicts": ["fail", None]} in written["cases"]
    assert "DEL twice succeeds" in (tmp_path / "all.html").read_text()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["compare", "none.json"], "none.json cannot be read"),
        (["compare", "{run}", "--html", "none/all.html"], "none/all.html cannot be written"),
        (["run", "--plugin-dir", "{bin}", "--profile", "bridge", "--html", "none/run.html"], "none/run.html cannot be written"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(
    line: list[str], told: str, *, two: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    executable(tmp_path / "bridge", "exit 0")
    assert main([word.format(run=two[0], bin=tmp_path) for word in line]) == 2
    assert told in capsys.readouterr().err


def test_reports_know_the_names_of_all_groups() -> None:
    assert [group for group, _ in by_group(run(*_one_of_each()).cases)] == list(GROUPS)


def _one_of_each() -> list[results.CaseResult]:
    return [results.CaseResult(f"{group}-01", "", "MUST", "pass") for group in reversed(GROUPS)]


def executable(path: Path, script: str) -> Path:
    """Write a plugin as a shell script."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("echo 'CNI x plugin v1.2.3' >&2; echo more >&2", "CNI x plugin v1.2.3"),
        ("echo 'x v1'", "x v1"),
        ("""echo '{"code": 4}'; exit 1""", ""),
        ("echo oops >&2; exit 2", ""),
    ],
)
def test_a_plugin_is_asked_for_its_name_and_an_error_is_none(tmp_path: Path, script: str, line: str) -> None:
    assert about.line(executable(tmp_path / "x", script)) == line


@pytest.mark.parametrize(
    ("version", "operations"),
    [
        ("0.3.1", ["ADD", "DEL", "VERSION"]),
        ("0.4.0", ["ADD", "DEL", "CHECK", "VERSION"]),
        ("1.0.0", ["ADD", "DEL", "CHECK", "VERSION"]),
        ("1.1.0", ["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"]),
    ],
)
def test_a_plugin_is_not_expected_to_have_operations_newer_than_its_versions(version: str, operations: list[str]) -> None:
    assert init.verbs(["0.1.0", version]) == operations
