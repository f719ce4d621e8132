"""The run as it goes, and its outcome: colours and a bar on a terminal, plain lines in a log.

with progress(len(cases), console) as shown:
    for result in run(cases):
        shown.finished(result)
summarize(run, console)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from conformance.report.text import GLYPHS, duration, levels, one_line, printable, sentence

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

    from conformance.results import CaseResult, LevelName, RunResult, Verdict

COLOURS: dict[Verdict, str] = {"pass": "green", "fail": "bold red", "skip": "yellow"}
_LEVEL_COLOURS: dict[LevelName, str] = {"MUST": "bold red", "SHOULD": "bold yellow", "MAY": "bold cyan", "BEST": "bold magenta"}


class PlainProgress:
    """One line for each case that has finished, for logs: nothing moves, nothing is coloured."""

    def __init__(self, total: int, console: Console) -> None:
        self._console = console
        self._total = total
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def finished(self, case: CaseResult) -> None:
        """Tell of a case's verdict, and of the reason if it did not pass."""
        self._done += 1
        count = f"{self._done:>{len(str(self._total))}}/{self._total}"
        reason = "" if case.verdict == "pass" else f": {one_line(case.observed, limit=200)}"
        line = f"{count} {case.verdict} {one_line(case.id)} {case.level} {one_line(case.title)} ({duration(case.seconds)}){reason}"
        _plain(self._console, line)


class LiveProgress:
    """A bar with the counts so far; a case that fails is told above it at once."""

    def __init__(self, total: int, console: Console) -> None:
        counts = TextColumn(
            "[green]{task.fields[good]} passed[/]  [red]{task.fields[bad]} failed[/]  [yellow]{task.fields[skipped]} skipped[/]"
        )
        self._bar = Progress(BarColumn(bar_width=None), MofNCompleteColumn(), counts, TimeElapsedColumn(), console=console)
        self._counts: dict[Verdict, int] = {"pass": 0, "fail": 0, "skip": 0}
        self._task = self._bar.add_task("", total=total, good=0, bad=0, skipped=0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def finished(self, case: CaseResult) -> None:
        """Move the bar, and tell of a failure."""
        self._counts[case.verdict] += 1
        if case.verdict == "fail":
            self._bar.console.print(_headline(case))
        good, bad, skipped = self._counts.values()
        self._bar.update(self._task, advance=1, good=good, bad=bad, skipped=skipped)


def progress(total: int, console: Console) -> PlainProgress | LiveProgress:
    """Return what shows `total` cases as they finish, fit for where the console writes to."""
    return LiveProgress(total, console) if console.is_terminal else PlainProgress(total, console)


def summarize(run: RunResult, console: Console) -> None:
    """Print every failure with what shows it again, why cases were skipped, the counts by level, and the outcome in a sentence."""
    for case in run.failures:
        console.print()
        _failure(case, console)
    _skips(run, console)
    console.print()
    if console.is_terminal:
        console.print(_counts(run))
    else:
        _plain_counts(run, console)
    console.print()
    style = "bold green" if run.conforms else "bold red"
    console.print(Text(f"{one_line(run.plugin)}: {sentence(run)}", style=style), soft_wrap=True)


def _headline(case: CaseResult) -> Text:
    return Text.assemble(
        (GLYPHS[case.verdict], COLOURS[case.verdict]),
        " ",
        (one_line(case.id), "bold"),
        " ",
        (case.level, _LEVEL_COLOURS[case.level]),
        " ",
        one_line(case.title),
    )


def _failure(case: CaseResult, console: Console) -> None:
    console.print(_headline(case), soft_wrap=True)
    for name, value in (("clause", f"{case.spec.text}\n{case.spec.url}"), ("expected", case.expected), ("observed", case.observed)):
        _labelled(name, value, console)
    _labelled("ledger", "\n".join(case.evidence.ledger), console)
    if case.reproduce.strip():
        console.print(Text("  to see it again", style="dim"))
        _plain(console, printable(case.reproduce).strip("\n"))


def _labelled(name: str, value: str, console: Console) -> None:
    lines = printable(value).strip("\n").split("\n")
    for number, line in enumerate(lines if value.strip() else []):
        label = name if number == 0 else ""
        console.print(Text.assemble("  ", (f"{label:9}", "dim"), " ", (line, _style(name, line))), soft_wrap=True)


def _style(name: str, line: str) -> str:
    """Colour of a line of the ledger's difference: what is there too much is red, what is gone yellow."""
    return {"+": "red", "-": "yellow", "~": "cyan"}.get(line[:1], "") if name == "ledger" else ""


def _skips(run: RunResult, console: Console) -> None:
    reasons: dict[str, list[str]] = {}
    for case in run.cases:
        if case.verdict == "skip":
            reasons.setdefault(one_line(case.observed) or "no reason given", []).append(one_line(case.id))
    if reasons:
        console.print()
    for reason, ids in reasons.items():
        console.print(Text.assemble((GLYPHS["skip"], COLOURS["skip"]), f" skipped {', '.join(ids)}: {reason}"), soft_wrap=True)


def _counts(run: RunResult) -> Table:
    table = Table("level", box=None, pad_edge=False, header_style="dim")
    for heading in ("passed", "failed", "skipped"):
        table.add_column(heading, justify="right")
    for level in levels(run):
        numbers = [(verdict, run.count(verdict, level)) for verdict in GLYPHS]
        cells = [Text(str(number), style=COLOURS[verdict] if number else "dim") for verdict, number in numbers]
        table.add_row(Text(level, style=_LEVEL_COLOURS[level]), *cells)
    return table


def _plain_counts(run: RunResult, console: Console) -> None:
    for level in levels(run):
        good, bad, skipped = (run.count(verdict, level) for verdict in GLYPHS)
        _plain(console, f"{level:<6} {good} passed, {bad} failed, {skipped} skipped")


def _plain(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False, highlight=False)
