"""Several runs side by side: which plugin keeps what. A row is a case, a column a run; a case that a run does not have is left blank."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from conformance.report.html import document, text, verdict
from conformance.report.terminal import COLOURS
from conformance.report.text import GLYPHS, by_group, group_title, one_line
from conformance.results import LEVELS, VERDICTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from conformance.results import CaseResult, RunResult, Verdict


@dataclass(frozen=True, slots=True)
class Row:
    """One case in all runs. `case` says what it is, as the last run that has it tells; a verdict is None where a run has no such case."""

    case: CaseResult
    verdicts: tuple[Verdict | None, ...]

    @property
    def differs(self) -> bool:
        """Whether the plugins that were judged by this case were judged differently."""
        return len({verdict for verdict in self.verdicts if verdict}) > 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs with a name for each that no other has, and the rows of all their cases in the suite's order."""

    runs: tuple[RunResult, ...]
    labels: tuple[str, ...]
    rows: tuple[Row, ...]


def compare(runs: Sequence[RunResult]) -> Comparison:
    """Set the runs side by side, in the order given."""
    verdicts = [{case.id: case.verdict for case in run.cases} for run in runs]
    cases = {case.id: case for run in runs for case in run.cases}
    ordered = [case for _, members in by_group(sorted(cases.values(), key=lambda case: case.id)) for case in members]
    rows = tuple(Row(case, tuple(of_run.get(case.id) for of_run in verdicts)) for case in ordered)
    return Comparison(tuple(runs), _labels(runs), rows)


def _labels(runs: Sequence[RunResult]) -> tuple[str, ...]:
    """Name the runs by their plugins; where two have the same name, by their versions too; where that does not help, number them all."""
    labels = [one_line(run.plugin) for run in runs]
    versioned = [one_line(f"{run.plugin} {run.plugin_version}") for run in runs]
    labels = [longer if labels.count(label) > 1 else label for label, longer in zip(labels, versioned, strict=True)]
    if len(set(labels)) < len(labels):
        labels = [f"{label} #{number}" for number, label in enumerate(labels, 1)]
    return tuple(labels)


def as_json(comparison: Comparison) -> str:
    """Return the comparison as JSON: `plugins` with their counts, and `cases` with a verdict (or null) for each, in that order."""
    plugins: list[dict[str, Any]] = [
        {
            "label": label,
            "plugin": run.plugin,
            "profile": run.profile,
            "specVersion": run.spec_version,
            "counts": {level: {kind: run.count(kind, level) for kind in VERDICTS} for level in LEVELS},
        }
        for label, run in zip(comparison.labels, comparison.runs, strict=True)
    ]
    cases = [
        {"id": row.case.id, "title": row.case.title, "level": row.case.level, "verdicts": list(row.verdicts)} for row in comparison.rows
    ]
    return json.dumps({"plugins": plugins, "cases": cases}, indent=2) + "\n"


def show(comparison: Comparison, console: Console, *, everything: bool = False) -> None:
    """Print the counts and the cases on which the plugins differ; all cases if `everything`."""
    table = Table("case", "level", box=None, pad_edge=False, header_style="dim")
    for label in comparison.labels:
        table.add_column(Text(label), justify="center", max_width=18)
    table.add_column("", ratio=1)
    shown = [row for row in comparison.rows if everything or row.differs]
    for row in shown:
        case = row.case
        cells = [Text(f"{GLYPHS[kind]} {kind}", style=COLOURS[kind]) if kind else Text("") for kind in row.verdicts]
        table.add_row(Text(one_line(case.id)), case.level, *cells, Text(one_line(case.title)))
    if shown:
        console.print(table)
    alike = len(comparison.rows) - len(shown)
    if alike:
        console.print(f"{alike} other case{'s have' if alike > 1 else ' has'} the same verdict everywhere.", highlight=False)
    console.print()
    console.print(_totals(comparison))


def _totals(comparison: Comparison) -> Table:
    table = Table("passed, of those that ran", box=None, pad_edge=False, header_style="dim")
    for label in comparison.labels:
        table.add_column(Text(label), justify="center", max_width=18)
    for level in LEVELS:
        counts = [_score(run, level) for run in comparison.runs]
        if any(ran for _, ran in counts):
            table.add_row(level, *(Text(f"{good} / {ran}", style="green" if good == ran else "bold red") for good, ran in counts))
    return table


def _score(run: RunResult, level: str) -> tuple[int, int]:
    """How many cases of a level passed, and how many passed or failed."""
    kinds = [case.verdict for case in run.cases if case.level == level]
    return kinds.count("pass"), len(kinds) - kinds.count("skip")


def page(comparison: Comparison, *, title: str = "CNI conformance, side by side") -> str:
    """Return the comparison as one page that needs nothing beside it."""
    heads = "".join(f'<th class="kind">{text(label)}</th>' for label in comparison.labels)
    legend = ", ".join(f"{verdict(kind)}" for kind in VERDICTS)
    rows = {row.case.id: row for row in comparison.rows}
    groups = []
    for group, cases in by_group(row.case for row in comparison.rows):
        name = f'<tr><th class="group" colspan="{len(comparison.runs) + 3}">{text(group_title(group))}</th></tr>'
        groups.append(f"<tbody>{name}{''.join(_row(rows[case.id]) for case in cases)}</tbody>")
    body = [
        f'<header><h1>{text(title)}</h1><p class="quiet">{len(comparison.runs)} plugins, {len(comparison.rows)} cases, ',
        f"{sum(row.differs for row in comparison.rows)} with different verdicts (shaded).</p></header>",
        '<section><h2>Passed, of those that ran</h2><div class="wide"><table class="compared">',
        f"<thead><tr><th>Level</th>{heads}<th></th></tr></thead><tbody>{_score_rows(comparison)}</tbody></table></div></section>",
        f'<section><h2>Cases</h2><p>{legend}; blank: no such case in that run</p><div class="wide"><table class="compared">',
        f'<thead><tr><th class="id">Case</th>{heads}<th>Level</th><th></th></tr></thead>{"".join(groups)}</table></div></section>',
    ]
    return document(title, "".join(body))


def _score_rows(comparison: Comparison) -> str:
    lines = []
    for level in LEVELS:
        counts = [_score(run, level) for run in comparison.runs]
        if any(ran for _, ran in counts):
            cells = "".join(f'<td class="kind {"pass" if good == ran else "fail"}">{good} / {ran}</td>' for good, ran in counts)
            lines.append(f'<tr><th><span class="level {level}">{level}</span></th>{cells}<td class="title"></td></tr>')
    return "".join(lines)


def _row(row: Row) -> str:
    case = row.case
    cells = "".join(f'<td class="kind">{verdict(kind, words=False) if kind else ""}</td>' for kind in row.verdicts)
    mark = ' class="differs"' if row.differs else ""
    name, level = escape(one_line(case.id)), f'<span class="level {case.level}">{case.level}</span>'
    return f'<tr{mark}><td class="id">{name}</td>{cells}<td>{level}</td><td class="title">{text(one_line(case.title))}</td></tr>'
