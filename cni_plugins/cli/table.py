"""Tables for people: columns as wide as what stands in them, times as people say them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST = 24
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of columns under their heads; an empty cell is a dash. Without rows the head stands alone."""
    lines = [list(head), *([cell or "-" for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def short(name: str) -> str:
    """A long name as its beginning: container IDs of 64 digits are told apart by the first ones."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def age(seconds: float) -> str:
    """A length of time in its two largest units: "3d4h", "12m5s", "0s"."""
    left = int(seconds)
    words: list[str] = []
    for unit, letter in _UNITS:
        count, left = divmod(left, unit)
        if count or words:
            words.append(f"{count}{letter}" if count else "")
        if len(words) == 2:
            break
    return "".join(words) or "0s"
