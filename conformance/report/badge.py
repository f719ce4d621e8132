"""A run as a badge: a small SVG picture for a README, "CNI 1.1.0 | 41 MUST, 9 SHOULD kept"."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from conformance.report.text import one_line

if TYPE_CHECKING:
    from conformance.results import RunResult

GREEN, AMBER, RED, GREY = "#1a7f37", "#9a6700", "#c62828", "#57606a"

_HEIGHT = 20
_PADDING = 8
_NARROW = frozenset("fijlrtI.,:;!|'()[] ")
_WIDE = frozenset("mwMWOQD@%")


def badge(run: RunResult) -> str:
    """Return the SVG as text. Green: no MUST or SHOULD failed; amber: a SHOULD failed; red: a MUST; grey: nothing was checked."""
    label = one_line(f"CNI {run.spec_version}", limit=24)
    message, colour = _message(run)
    left, right = _width(label), _width(message)
    title = escape(f"{one_line(run.plugin, limit=80)}, {label}: {message}")
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{_HEIGHT}" role="img" aria-label="{title}">
<title>{title}</title>
<rect width="{left + right}" height="{_HEIGHT}" rx="3" fill="{colour}"/>
<path d="M3 0H{left}V{_HEIGHT}H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z" fill="#3d444d"/>
<g fill="#fff" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="11">
{_text(label, start=0, width=left)}
{_text(message, start=left, width=right)}
</g>
</svg>
"""


def _message(run: RunResult) -> tuple[str, str]:
    if not run.count("pass") and not run.count("fail"):
        return "not checked", GREY
    broken = [f"{run.count('fail', level)} {level}" for level in ("MUST", "SHOULD") if run.count("fail", level)]
    if broken:
        return f"breaks {', '.join(broken)}", RED if run.count("fail", "MUST") else AMBER
    kept = [f"{run.count('pass', level)} {level}" for level in ("MUST", "SHOULD") if run.count("pass", level)]
    return (f"keeps {', '.join(kept)}" if kept else "no MUST or SHOULD checked", GREEN if kept else GREY)


def _width(text: str) -> int:
    """Width in pixels that leaves room for the text at 11 px; `textLength` makes the text fit it whatever the font."""
    return round(2 * _PADDING + sum(4.4 if char in _NARROW else 9.6 if char in _WIDE else 7.2 for char in text))


def _text(text: str, *, start: int, width: int) -> str:
    return f'<text x="{start + _PADDING}" y="14" textLength="{width - 2 * _PADDING}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
