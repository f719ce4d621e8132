"""Words that all reports share, and what makes a plugin's words fit to print: they may hold anything that a program can write."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING

from conformance.results import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.results import CaseResult, LevelName, RunResult, Verdict

GLYPHS: dict[Verdict, str] = {"pass": "✓", "fail": "✗", "skip": "○"}

# Control characters but for line feed and tab; halves of surrogate pairs; what turns the direction of text, which would show other words
# than there are; and what XML has no way to write.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")

_GROUPS = {
    "PRO": "protocol",
    "VER": "versions",
    "ADD": "ADD",
    "DEL": "DEL",
    "CHK": "CHECK",
    "STA": "STATUS",
    "GC": "GC",
    "ERR": "errors",
    "IPM": "address management",
    "CHN": "chaining",
    "CON": "concurrency",
    "CRS": "crashes",
    "DP": "data plane",
}


def printable(text: str) -> str:
    r"""Return the text with all that a terminal or an XML file cannot bear written as escapes: `\x1b` for the escape character."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str, *, limit: int | None = None) -> str:
    """Return the printable text on one line, cut to `limit` characters with an ellipsis."""
    line = " ".join(printable(text).split())
    return line if limit is None or len(line) <= limit else line[: limit - 1] + "…"


def group_title(group: str) -> str:
    """Return the words for a group of cases: "address management" for IPM; a group we do not know is called by its code."""
    return _GROUPS.get(group, one_line(group))


def by_group(cases: Iterable[CaseResult]) -> list[tuple[str, list[CaseResult]]]:
    """Return the cases of each group, groups in the suite's order, unknown ones last; within a group in the order given."""
    known = list(_GROUPS)
    ordered = sorted(cases, key=lambda case: (known.index(case.group), "") if case.group in _GROUPS else (len(known), case.group))
    return [(group, list(members)) for group, members in groupby(ordered, key=lambda case: case.group)]


def levels(run: RunResult) -> list[LevelName]:
    """Return the levels that have cases in this run, the strictest first."""
    return [level for level in LEVELS if any(case.level == level for case in run.cases)]


def sentence(run: RunResult) -> str:
    """Return the outcome in one sentence."""
    if not run.count("pass") and not run.count("fail"):
        return "Nothing was checked."
    wrong = [f"{run.count('fail', level)} {level}" for level in ("MUST", "SHOULD") if run.count("fail", level)]
    if wrong:
        return f"Breaks {' and '.join(wrong)} of the specification."
    short = run.count("fail")
    return "Keeps every MUST and SHOULD that was checked" + (f"; {short} of MAY or BEST failed." if short else ".")


def about(run: RunResult) -> list[tuple[str, str]]:
    """Return what is known about the run, as pairs of a name and a line: plugin, version, profile and so on; empty ones left out."""
    pairs = [
        ("Plugin", run.plugin),
        ("Executable", run.plugin_path),
        ("Version", run.plugin_version),
        ("Profile", run.profile),
        ("Specification", f"CNI {run.spec_version}"),
        ("Kernel", run.kernel),
        ("Started", _moment(run.started)),
        ("Duration", duration(run.seconds) if run.seconds else ""),
    ]
    return [(name, one_line(value)) for name, value in pairs if value]


def _moment(started: str) -> str:
    """Return an ISO 8601 time to the minute, as "2026-11-25 14:05 UTC"; any other text as it is."""
    try:
        return datetime.fromisoformat(started).strftime("%Y-%m-%d %H:%M %Z").rstrip()
    except ValueError:
        return started


def duration(seconds: float) -> str:
    """Return a time as a person says it: "0.21 s", "14 s", "2 min 5 s"."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
