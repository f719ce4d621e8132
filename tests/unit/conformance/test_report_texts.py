"""Terminal, log and Markdown tell what a run found, and no plugin's words get out of their place in them."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from conformance.report import compare, markdown, remarks, terminal
from conformance.report.remarks import Remark, RemarksError
from conformance.report.text import one_line
from conformance.results import RunResult
from tests.unit.conformance.runs import FAILED, OWN_BAR, PASSED, RUNS, SKIPPED, TEXTS, run

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
REMARKS = (
    Remark("reference/br*", "DEL-02", "the plugin's", "It forgets."),
    Remark("*", "ERR-*", "a matter of opinion", "The text names the field elsewhere."),
)


def shown(found: RunResult, *, live: bool = False) -> str:
    """What a person sees of a run, with a terminal or in a log."""
    console = Console(file=io.StringIO(), force_terminal=live, width=100, highlight=False)
    with terminal.progress(len(found.cases), console) as progress:
        for case in found.cases:
            progress.finished(case)
    terminal.summarize(found, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_log_has_a_line_for_each_case() -> None:
    lines = shown(run()).splitlines()
    assert lines[0] == "1/4 pass ADD-01 MUST The interface exists (0.50 s)"
    assert lines[1].startswith("2/4 fail DEL-02 MUST DEL twice succeeds (0.25 s): exit status 1")
    assert lines[2].endswith(": kernel without 802.1q")


@pytest.mark.parametrize("live", [True, False])
def test_the_end_of_a_run_tells_how_to_see_a_failure_again(live: bool) -> None:
    text = ESCAPE.sub("", shown(run(), live=live))
    assert FAILED.reproduce in text  # with nothing before its lines: it can be copied
    for told in (FAILED.expected, FAILED.observed, FAILED.evidence.ledger[0], FAILED.spec.url, "Breaks 1 MUST of the specification."):
        assert told in text


def test_a_log_is_plain() -> None:
    assert "\x1b" not in shown(run())


def test_the_counts_tell_levels_apart() -> None:
    assert "MUST   1 passed, 1 failed, 0 skipped\nSHOULD 0 passed, 0 failed, 1 skipped\nBEST   0 passed, 1 failed, 0 skipped" in shown(
        run()
    )


@given(RUNS)
def test_no_plugin_commands_the_terminal(any_run: RunResult) -> None:
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", shown(any_run).replace("\t", " "))
    live = ESCAPE.sub("", shown(any_run, live=True))
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e\ud800-\udfff]", live)


@given(TEXTS)
def test_a_text_in_a_table_stays_one_cell_and_reads_as_it_is(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(f"| a | b |\n| --- | --- |\n| x{markdown.inline(text)}x | y |\n")
    cells = [tokens[place + 1] for place, token in enumerate(tokens) if token.type == "td_open"]
    assert len(cells) == 2
    assert {child.type for child in cells[0].children or []} <= {"text", "text_special"}
    assert "".join(child.content for child in cells[0].children or []) == f"x{one_line(text)}x"


@given(TEXTS)
def test_a_text_in_a_block_stays_in_it(text: str) -> None:
    tokens = MarkdownIt("commonmark").parse(markdown.block(text) + "\n\nafter")
    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]


@given(RUNS)
def test_a_report_can_be_made_of_any_run(any_run: RunResult) -> None:
    markdown.report(any_run, label="reference/bridge").encode()
    markdown.index([("reference/bridge", any_run), ("ours/bridge", any_run)], introduction="# Reports").encode()


def test_each_deviation_has_a_line_that_says_whose_it_is() -> None:
    lines = markdown.report(run(), label="reference/bridge", remarks=REMARKS).splitlines()
    assert sum(line.startswith("| [DEL-02](") and "| the plugin's | It forgets. |" in line for line in lines) == 1
    assert sum(line.startswith("| [ERR-10](") and "| a matter of opinion |" in line for line in lines) == 1


def test_a_deviation_without_a_remark_is_told_as_not_judged() -> None:
    assert markdown.NOT_JUDGED in markdown.report(run(), label="ours/bridge", remarks=REMARKS)
    assert remarks.missing(REMARKS, [("ours/bridge", run())]) == ["ours/bridge DEL-02"]


def test_a_remark_on_what_no_longer_fails_is_found() -> None:
    assert remarks.stale(REMARKS, [("reference/bridge", run(PASSED, OWN_BAR))]) == [REMARKS[0]]


def test_remarks_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "remarks.toml"
    path.write_text('[[remark]]\nplugin = "*"\ncase = "DEL-02"\nwhose = "the plugin\'s"\ntext = "It forgets."\n')
    assert remarks.load(path) == (Remark("*", "DEL-02", "the plugin's", "It forgets."),)


@pytest.mark.parametrize(
    "text", ["remark = 3", "[[remark]]\nplugin = 1", '[[remark]]\nplugin = "x"\ncase = "y"\nwhose = "mine"\ntext = ""', "["]
)
def test_a_wrong_file_of_remarks_is_told_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "remarks.toml"
    path.write_text(text)
    with pytest.raises(RemarksError, match=re.escape(str(path))):
        remarks.load(path)


def test_plugins_side_by_side_show_where_they_differ() -> None:
    good = run(PASSED, replace(FAILED, verdict="pass"), SKIPPED, plugin="ours")
    comparison = compare.compare([run(PASSED, FAILED, SKIPPED), good])
    assert [(row.case.id, row.verdicts) for row in comparison.rows if row.differs] == [("DEL-02", ("fail", "pass"))]
    console = Console(file=io.StringIO(), width=100)
    compare.show(comparison, console)
    assert isinstance(console.file, io.StringIO)
    assert re.search(r"DEL-02 +MUST +✗ fail +✓ pass +DEL twice", console.file.getvalue())
    assert "2 other cases have the same verdict everywhere." in console.file.getvalue()


def test_a_case_that_a_run_does_not_have_is_left_blank() -> None:
    comparison = compare.compare([run(PASSED), run(FAILED, plugin="ours")])
    assert [row.verdicts for row in comparison.rows] == [("pass", None), (None, "fail")]
    assert not any(row.differs for row in comparison.rows)


def test_runs_of_one_name_can_be_told_apart() -> None:
    runs = [run(version="v1"), run(version="v2"), run(version="v2"), run(plugin="ours")]
    assert compare.compare(runs).labels == ("bridge v1 #1", "bridge v2 #2", "bridge v2 #3", "ours #4")
    assert compare.compare([*runs[:2], runs[3]]).labels == ("bridge v1", "bridge v2", "ours")


@given(st.lists(RUNS, min_size=1, max_size=3))
def test_any_runs_can_be_compared(runs: list[RunResult]) -> None:
    comparison = compare.compare(runs)
    compare.as_json(comparison)
    compare.show(comparison, Console(file=io.StringIO(), width=80), everything=True)
    assert len(set(comparison.labels)) == len(runs)
