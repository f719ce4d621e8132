"""A run as one page that needs nothing beside it: no script, no file, no network. It can be mailed, printed and read on a phone."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from conformance.report.style import STYLE
from conformance.report.text import GLYPHS, about, by_group, duration, group_title, levels, one_line, printable, sentence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.results import CaseResult, RunResult, Spec, Verdict

WORDS: dict[Verdict, str] = {"pass": "passed", "fail": "failed", "skip": "skipped"}
_CHANGES = {"+": "added", "-": "gone", "~": "changed"}


def page(run: RunResult) -> str:
    """Return the page of a run: outcome, counts by level, all cases as a matrix, each failure in full, and the list of cases."""
    title = f"{one_line(run.plugin)}: CNI conformance"
    parts = [
        f"<header><h1>{escape(title)}</h1>",
        f'<p class="outcome {_tone(run)}">{escape(sentence(run))}</p>',
        '<dl class="about">',
        *(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in about(run)),
        "</dl></header>",
        _summary(run),
        _matrix(run),
        _failures(run),
        _list(run),
    ]
    return document(title, "\n".join(parts))


def document(title: str, body: str) -> str:
    """Return a whole page with our style around `body`, which is HTML already; `title` is not."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>{STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""


def text(value: str) -> str:
    """Return any text as HTML that shows it, whatever it holds."""
    return escape(printable(value))


def anchor(case_id: str) -> str:
    """Return the name of a case's place on a page."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", case_id)


def verdict(kind: Verdict, *, words: bool = True) -> str:
    """Return a verdict as a sign, coloured, with its word: colour alone tells nothing to those who do not see it."""
    label = f" {WORDS[kind]}" if words else ""
    return f'<span class="{kind}" title="{WORDS[kind]}">{GLYPHS[kind]}{label}</span>'


def _tone(run: RunResult) -> Verdict:
    if not run.count("pass") and not run.count("fail"):
        return "skip"
    return "pass" if run.conforms else "fail"


def _summary(run: RunResult) -> str:
    rows = []
    for level in levels(run):
        numbers = [(kind, run.count(kind, level)) for kind in GLYPHS]
        cells = "".join(f'<td class="number {kind if number else "zero"}">{number}</td>' for kind, number in numbers)
        bar = "".join(f'<span class="{kind}" style="flex:{number}"></span>' for kind, number in numbers if number)
        rows.append(
            f'<tr><th><span class="level {level}">{level}</span></th>{cells}<td class="picture"><div class="bar">{bar}</div></td></tr>'
        )
    heads = "".join(f'<th class="number">{WORDS[kind]}</th>' for kind in GLYPHS)
    return (
        f'<section><h2>Summary</h2><table class="summary"><thead><tr><th>Level</th>{heads}<th class="picture" style="width:50%"></th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></section>"
    )


def _matrix(run: RunResult) -> str:
    rows = []
    for group, cases in by_group(run.cases):
        chips = "".join(_chip(case) for case in cases)
        title = group_title(group)
        name = f'{text(title)} <span class="quiet">{text(group)}</span>' if title != group else text(group)
        rows.append(f'<tr><th>{name}</th><td><div class="chips">{chips}</div></td></tr>')
    return f'<section><h2>Cases</h2><table class="groups"><tbody>{"".join(rows)}</tbody></table></section>'


def _chip(case: CaseResult) -> str:
    target = anchor(case.id) if case.verdict == "fail" else f"list-{anchor(case.id)}"
    label = one_line(case.id).removeprefix(f"{case.group}-")
    hint = f"{one_line(case.id)} {WORDS[case.verdict]}: {one_line(case.title)}"
    return f'<a class="chip {case.verdict}" href="#{target}" title="{escape(hint)}">{GLYPHS[case.verdict]} {escape(label)}</a>'


def _failures(run: RunResult) -> str:
    if not run.failures:
        return ""
    return f"<section><h2>Failures</h2>{''.join(_failure(case) for case in run.failures)}</section>"


def _failure(case: CaseResult) -> str:
    pair = "".join(
        f"<div><h4>{name}</h4><pre>{text(value)}</pre></div>" for name, value in (("Expected", case.expected), ("Observed", case.observed))
    )
    parts = [
        f'<article id="{anchor(case.id)}"><h3><span class="fail">{GLYPHS["fail"]}</span> {text(one_line(case.id))} ',
        f'<span class="level {case.level}">{case.level}</span> {text(one_line(case.title))}</h3>',
        _clause(case.spec),
        f'<div class="pair">{pair}</div>',
        _block("What the ledger shows", _ledger(case.evidence.ledger)),
        _block("Calls", text("\n".join(case.evidence.calls))),
        _block("See it again", text(case.reproduce.strip("\n"))),
        "</article>",
    ]
    return "".join(parts)


def _clause(spec: Spec) -> str:
    link = ""
    if spec.url.startswith(("https://", "http://")):
        link = f' <a href="{escape(printable(spec.url))}">Specification</a>'
    return f"<blockquote>{text(spec.text)}{link}</blockquote>" if spec.text or link else ""


def _block(title: str, content: str) -> str:
    return f"<h4>{title}</h4><pre>{content}</pre>" if content.strip() else ""


def _ledger(lines: Iterable[str]) -> str:
    """Colour the ledger's difference; the sign at the start of a line says the same."""
    return "\n".join(f'<span class="{_CHANGES.get(line[:1], "")}">{text(line)}</span>' for line in lines)


def _list(run: RunResult) -> str:
    rows = []
    for case in run.cases:
        reason = f'<br><span class="quiet">{text(one_line(case.observed))}</span>' if case.verdict == "skip" and case.observed else ""
        name = text(one_line(case.id))
        name = f'<a href="#{anchor(case.id)}">{name}</a>' if case.verdict == "fail" else name
        rows.append(
            f'<tr id="list-{anchor(case.id)}"><td class="id">{name}</td>'
            f'<td><span class="level {case.level}">{case.level}</span></td><td>{text(one_line(case.title))}{reason}</td>'
            f'<td class="verdict">{verdict(case.verdict)}</td><td class="number seconds">{duration(case.seconds)}</td></tr>'
        )
    heads = '<th>Case</th><th>Level</th><th></th><th>Verdict</th><th class="number seconds">Time</th>'
    return (
        f'<section><h2>Every case</h2><table class="cases"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></section>'
    )
