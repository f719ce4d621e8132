"""The table that `make bench` prints."""

from __future__ import annotations

from typing import NamedTuple

HEAD = "| work | ours | ms | beside | its ms | ratio | target | met |\n|---|---|---|---|---|---|---|---|"


class Row(NamedTuple):
    """A line of the table: what was measured, of which of ours, both medians, their ratio, and the ratio that is aimed at."""

    work: str
    who: str
    ours: float
    peer: str
    theirs: float
    target: float

    def __str__(self) -> str:
        ratio = self.ours / self.theirs
        met = "yes" if ratio <= self.target else "NO"
        return f"| {self.work} | {self.who} | {self.ours:.1f} | {self.peer} | {self.theirs:.1f} | {ratio:.2f} | {self.target:.2f} | {met} |"
