"""A demo as somebody sees it who types its target: `python -m MODULE` in a process of its own.

    with Showing("demo", tmp_path) as showing:
        assert showing.finish() == 0

`directory` is where it may put files. What it has started is recognised by that, whatever becomes of it.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.support.paths import REPO

TIMEOUT = 300
ENDING = 10


class Showing:
    """One run of a demo; `text` is what it has printed so far."""

    def __init__(self, module: str, directory: Path) -> None:
        self.directory = directory
        self.text = ""
        directory.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=REPO,
            env={**os.environ, "TMPDIR": str(directory)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self.finish()

    def wait_for(self, text: str) -> None:
        """Read on to the line that has `text`. Raises AssertionError when the demo ends without it."""
        assert self._process.stdout
        for line in self._process.stdout:
            self.text += line
            if text in line:
                return
        raise AssertionError(f"the demo ended without saying {text!r}:\n{self.text}")

    def interrupt(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def finish(self) -> int:
        """Read it to its end. Returns its exit status."""
        if self._process.stdout and not self._process.stdout.closed:
            self.text += self._process.communicate(timeout=TIMEOUT)[0]
        return self._process.wait(TIMEOUT)

    def left_behind(self) -> list[str]:
        """What is left of it: its files, and the processes that it has started, by their command lines."""
        return [*map(str, self.directory.iterdir()), *_processes_with(f"TMPDIR={self.directory}\0".encode())]


def _processes_with(variable: bytes) -> list[str]:
    """The command lines of the processes that have a variable in their environment, and go on with it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it is gone
            if variable in (process / "environ").read_bytes():
                command = (process / "cmdline").read_text().replace("\0", " ")
                handle = os.pidfd_open(int(process.name))
                if not select.select([handle], [], [], ENDING)[0]:
                    found.append(command)
                os.close(handle)
    return found
