"""The file of a run keeps what the run found, has the keys that were promised, and a wrong file is told in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given

from conformance import results
from conformance.results import ResultsError, RunResult
from tests.unit.conformance.runs import FAILED, OWN_BAR, PASSED, RUNS, SKIPPED, run

PROMISED = {"id", "title", "level", "verdict", "expected", "observed", "reproduce", "seconds"}


@given(RUNS)
def test_a_run_is_read_back_as_it_was_written(any_run: RunResult) -> None:
    assert results.decode(results.encode(any_run)) == any_run


def test_the_file_has_the_promised_keys(tmp_path: Path) -> None:
    results.save(run(), tmp_path / "run.json")
    written = json.loads((tmp_path / "run.json").read_text())
    assert {"plugin", "profile", "specVersion", "cases"} <= written.keys()
    assert all(case.keys() >= PROMISED for case in written["cases"])
    assert [case["verdict"] for case in written["cases"]] == ["pass", "fail", "skip", "fail"]


def test_a_file_with_the_promised_keys_alone_can_be_read() -> None:
    case = dict.fromkeys(PROMISED, "") | {"id": "DEL-01", "level": "MUST", "verdict": "pass", "seconds": 1}
    found = results.decode(json.dumps({"plugin": "x", "profile": "y", "specVersion": "1.1.0", "cases": [case]}))
    assert found.cases[0].group == "DEL"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "not an object"),
        ('{"plugin": "x"}', "profile"),
        ('{"plugin": "x", "profile": "y", "specVersion": 1, "cases": []}', "specVersion"),
        (
            '{"plugin": "x", "profile": "y", "specVersion": "1", "cases": [{"id": "A-1", "title": "", "level": "MUST", "verdict": "ok"}]}',
            "verdict",
        ),
    ],
)
def test_a_file_that_is_no_run_is_told_by_name_and_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=told) as caught:
        results.load(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="cannot be read"):
        results.load(tmp_path / "none.json")


def test_only_must_and_should_decide_whether_a_plugin_conforms() -> None:
    assert run(PASSED, SKIPPED, OWN_BAR).conforms
    assert not run(PASSED, FAILED).conforms


def test_a_skipped_case_is_never_counted_as_passed() -> None:
    assert run(SKIPPED).count("pass") == 0
    assert run(SKIPPED).count("skip", "SHOULD") == 1


def test_the_strictest_failures_come_first() -> None:
    assert [case.id for case in run(OWN_BAR, FAILED).failures] == ["DEL-02", "ERR-10"]
