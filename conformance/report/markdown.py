"""Published reports: a run as Markdown, with a line on each deviation that says whose it is, and an index of many runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from conformance.report.compare import compare
from conformance.report.remarks import find
from conformance.report.text import GLYPHS, about, by_group, group_title, levels, one_line, printable, sentence
from conformance.results import LEVELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.report.remarks import Remark
    from conformance.results import CaseResult, RunResult

NOT_JUDGED = "not judged yet"


def report(run: RunResult, *, label: str, remarks: Sequence[Remark] = ()) -> str:
    """Return the whole report on one run. `label` is its name among the published ones, by which remarks find it."""
    parts = [
        f"# {inline(label)}",
        f"**{inline(sentence(run))}**",
        _facts(run),
        _counts(run),
        *_deviations(run, label=label, remarks=remarks),
        *_skipped(run),
        *_cases(run),
    ]
    return "\n\n".join(parts) + "\n"


def index(runs: Sequence[tuple[str, RunResult]], *, introduction: str) -> str:
    """Return the table of all reports, each linked as LABEL.md, and below it the cases on which the plugins differ."""
    used = [level for level in LEVELS if any(level in levels(run) for _, run in runs)]
    lines = [_line(["plugin", "version", *used, "skipped"]), _line(["---", "---", *["---:"] * (len(used) + 1)])]
    for label, run in runs:
        scores = [f"{run.count('pass', level)} / {run.count('pass', level) + run.count('fail', level)}" for level in used]
        lines.append(_line([f"[{inline(label)}]({label}.md)", inline(run.plugin_version), *scores, str(run.count("skip"))]))
    return f"{introduction.strip()}\n\n" + "\n".join(lines) + "\n\n" + _differences(runs) + "\n"


def inline(text: str) -> str:
    """Return any text as Markdown that shows it within a line: no mark-up, no formula, no end of a table's cell."""
    line = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", line)


def block(text: str, *, language: str = "text") -> str:
    """Return any text as a block of code, in a fence longer than any in the text."""
    content = printable(text).strip("\n")
    longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{content}\n{fence}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _facts(run: RunResult) -> str:
    return "\n".join(f"- {name}: {inline(value)}" for name, value in about(run))


def _counts(run: RunResult) -> str:
    lines = [_line(["level", "passed", "failed", "skipped"]), _line(["---", "---:", "---:", "---:"])]
    lines += [_line([level, *(str(run.count(kind, level)) for kind in GLYPHS)]) for level in levels(run)]
    return "\n".join(lines)


def _deviations(run: RunResult, *, label: str, remarks: Sequence[Remark]) -> list[str]:
    if not run.failures:
        return []
    lines = [_line(["case", "level", "deviation", "whose", "remark"]), _line(["---"] * 5)]
    for case in run.failures:
        remark = find(remarks, label, case.id)
        whose, words = (remark.whose, remark.text) if remark else (NOT_JUDGED, "")
        name = f"[{inline(case.id)}](#{_heading_anchor(case)})"
        lines.append(_line([name, case.level, inline(one_line(case.observed, limit=200)), inline(whose), inline(words)]))
    return ["## Deviations", "\n".join(lines), *(_deviation(case) for case in run.failures)]


def _deviation(case: CaseResult) -> str:
    parts = [f"### {inline(_heading(case))}"]
    if case.spec.text:
        link = f" ([specification]({case.spec.url}))" if re.fullmatch(r"https?://[^\s()<>]+", case.spec.url) else ""
        parts.append(f"> “{inline(case.spec.text)}”{link}")
    blocks = [
        ("Expected", case.expected, "text"),
        ("Observed", case.observed, "text"),
        ("Ledger", "\n".join(case.evidence.ledger), "diff"),
        ("See it again", case.reproduce, "sh"),
    ]
    parts += [f"{title}:\n\n{block(value, language=language)}" for title, value, language in blocks if value.strip()]
    return "\n\n".join(parts)


def _heading(case: CaseResult) -> str:
    return one_line(f"{case.id} {case.title}")


def _heading_anchor(case: CaseResult) -> str:
    """The name that Git forges give to the heading of a case."""
    return re.sub(r"[^\w\- ]", "", _heading(case).lower()).replace(" ", "-")


def _skipped(run: RunResult) -> list[str]:
    skipped = [case for case in run.cases if case.verdict == "skip"]
    if not skipped:
        return []
    lines = [_line(["case", "why it could not run"]), _line(["---", "---"])]
    return ["## Skipped", "\n".join(lines + [_line([inline(case.id), inline(case.observed)]) for case in skipped])]


def _cases(run: RunResult) -> list[str]:
    parts = ["## Every case"]
    for group, cases in by_group(run.cases):
        lines = [_line(["case", "level", "", "verdict"]), _line(["---"] * 4)]
        lines += [_line([inline(case.id), case.level, inline(case.title), f"{GLYPHS[case.verdict]} {case.verdict}"]) for case in cases]
        parts.append(f"**{inline(group_title(group))}**\n\n" + "\n".join(lines))
    return parts


def _differences(runs: Sequence[tuple[str, RunResult]]) -> str:
    """The cases that some plugin failed, with those plugins."""
    comparison = compare([run for _, run in runs])
    lines = [_line(["case", "level", "", "failed by"]), _line(["---"] * 4)]
    for row in comparison.rows:
        failed = [inline(label) for (label, _), kind in zip(runs, row.verdicts, strict=True) if kind == "fail"]
        if failed:
            lines.append(_line([inline(row.case.id), row.case.level, inline(row.case.title), ", ".join(failed)]))
    return "## What fails where\n\n" + ("\n".join(lines) if len(lines) > 2 else "Nothing failed.")
