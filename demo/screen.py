"""What the demo writes: headings, steps and a picture of who is wired to whom. Colours only where a person looks at a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

WIDTH = 23

_COLOURS = {"heading": "1;36", "good": "32", "bad": "31", "quiet": "2"}


class Screen:
    """Prints to standard output; colours are decided on once, by where that goes and by NO_COLOR. `failed` counts what did not work."""

    def __init__(self) -> None:
        self.failed = 0
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def paint(self, style: str, text: str) -> str:
        """The text in one of the demo's styles."""
        return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m" if self._colour else text

    def heading(self, text: str) -> None:
        """A new part of the story."""
        print(f"\n{self.paint('heading', text)}", flush=True)

    def say(self, text: str) -> None:
        """A sentence, indented below its heading."""
        print(f"  {text}", flush=True)

    def quote(self, text: str) -> None:
        """What a program answered, line by line, indented below what it was asked."""
        for line in text.splitlines():
            print(f"         {line}".rstrip(), flush=True)

    def command(self, text: str) -> None:
        """What a person would type to do the same."""
        print(f"  {self.paint('quiet', '$ ' + text)}", flush=True)

    def outcome(self, good: bool, text: str) -> None:
        """Something that was tried, and whether it worked."""
        self.failed += not good
        mark = self.paint("good", "ok ") if good else self.paint("bad", "NO ")
        print(f"  {mark} {text}", flush=True)


class Box(NamedTuple):
    """A container in the picture: its name, its addresses, and the name of its end on the node."""

    name: str
    addresses: Sequence[str]
    port: str


def picture(boxes: Sequence[Box], *, bridge: str, gateways: Sequence[str], uplink: Sequence[str]) -> str:
    """The node as characters: containers on top, each with its link to the bridge, the outside below."""
    inner = WIDTH - 2
    rows = [
        "┌" + "─" * inner + "┐",
        *(None for _ in range(1 + len(boxes[0].addresses))),
        "└" + "─" * (inner // 2) + "┬" + "─" * (inner - inner // 2 - 1) + "┘",
    ]
    lines = []
    for number, row in enumerate(rows):
        cells = []
        for box in boxes:
            texts = [box.name, *box.addresses]
            cells.append(row or "│" + f" {texts[number - 1]}".ljust(inner) + "│")
        lines.append("  ".join(cells))
    wires = "  ".join(f"{'│':>{inner // 2 + 2}}".ljust(WIDTH) for _ in boxes)
    names = "  ".join(f"{box.port:^{WIDTH}}" for box in boxes)
    total = (WIDTH + 2) * len(boxes) - 2
    foot = "╨"
    label = f" {bridge}   {'   '.join(gateways)} "
    bar = "═" * ((total - len(label)) // 2)
    lines += [
        wires,
        names,
        wires,
        (bar + label + bar).ljust(total, "═"),
        f"{foot:^{total}}".rstrip(),
        f"{'the node forwards and masquerades':^{total}}".rstrip(),
    ]
    lines += [f"{'│':^{total}}".rstrip(), f"{'outside host  ' + '  '.join(uplink):^{total}}".rstrip()]
    return "\n".join("    " + line.rstrip() for line in lines)
