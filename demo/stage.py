"""What every demo does besides its story: it looks whether all is built, and leaves nothing whatever happens meanwhile."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from demo.screen import Screen
from tests.lab import peers
from tests.lab.machine import LabError
from tests.support.paths import PLUGIN_DIR


def perform(tell: Callable[[Screen], None], *, target: str, programs: Sequence[str], outlook: str) -> int:
    """Tell a story. `target` is the demo's in the Makefile, `programs` the peers that it runs, `outlook` its last sentence.

    Returns the exit status: 0 when everything turned out as told, 1 when not, 2 when something is not built, 130 when interrupted.
    """
    if not PLUGIN_DIR.is_dir() or not all(map(_is_built, programs)):
        print(f"the executables or {', '.join(programs)} are not built: run `make {target}`, which builds them", file=sys.stderr)
        return 2
    interruption = _Interruption()
    screen = Screen()
    try:
        tell(screen)
    except (KeyboardInterrupt, AssertionError, LabError) as error:
        if interruption.came:  # whatever came of it
            screen.heading("Interrupted: nothing of it is left")
            return 130
        screen.outcome(False, str(error))
    screen.heading("Done" if not screen.failed else f"Steps that did not work: {screen.failed}")
    if not screen.failed:
        screen.say(outlook)
    return 1 if screen.failed else 0


def _is_built(program: str) -> bool:
    try:
        peers.program(program)
    except peers.PeerError:
        return False
    return True


class _Interruption:
    """Unwinds the story at SIGINT or SIGTERM, once: whoever is impatient must not keep it from taking away what it made."""

    def __init__(self) -> None:
        self.came = False
        self._handle(self._unwind)

    def _unwind(self, *_: object) -> None:
        self.came = True
        self._handle(signal.SIG_IGN)
        raise KeyboardInterrupt

    def _handle(self, how: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, how)
