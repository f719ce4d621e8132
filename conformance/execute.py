"""One execution of a plugin, whatever the plugin does: hang, flood its output, close its input, die by a signal, or leave processes behind.

Nothing here judges what the plugin said; `Execution.trouble` tells only of behaviour that no runtime could live with.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Literal

TIMEOUT = 10.0
"""Seconds after which a plugin counts as hanging."""
OUTPUT_LIMIT = 1 << 20
"""Bytes of standard output, and of standard error, after which a plugin counts as flooding."""
_GRACE = 5.0
"""Seconds for the end of what a plugin has killed or closed itself, on a machine that is busy."""
_CHUNK = 1 << 16

Stderr = Literal["read", "closed"]


@dataclass(frozen=True, slots=True)
class Execution:
    """What came out of it. `status` is negative for a death by that signal; `trouble` is empty, or says in words what no plugin may do."""

    status: int
    stdout: str
    stderr: str
    seconds: float
    trouble: str = ""


class _Drain(threading.Thread):
    """Reads a stream to its end; from the limit on it keeps nothing, and tells."""

    def __init__(self, stream: IO[bytes], flooded: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.data = bytearray()
        self.over = False
        self._stream = stream
        self._flooded = flooded
        self.start()

    def run(self) -> None:
        while chunk := os.read(self._stream.fileno(), _CHUNK):
            self.data += chunk[: OUTPUT_LIMIT - len(self.data)]
            if len(self.data) >= OUTPUT_LIMIT and not self.over:
                self.over = True
                self._flooded()

    @property
    def text(self) -> str:
        """What was read so far."""
        return bytes(self.data).decode(errors="replace")


class Running:
    """A plugin that was started in the namespaces that the calling thread is in. Get its `Execution` with `wait`.

    `timeout` is in seconds. `stderr="closed"` starts it without a standard error.
    Raises OSError when the executable cannot be started.
    """

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], stdin: bytes, timeout: float = TIMEOUT, stderr: Stderr = "read"
    ) -> None:
        self._timeout = timeout
        self._ended_by_us = ""
        self._started = time.monotonic()
        line = list(command) if stderr == "read" else ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *command]
        self.process = subprocess.Popen(
            line, env=dict(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self._outputs = [stream for stream in (self.process.stdout, self.process.stderr) if stream]
        self._drains = [_Drain(stream, self._end_flood) for stream in self._outputs]
        self._writer = threading.Thread(target=_write, args=(self.process.stdin, stdin), daemon=True)
        self._writer.start()

    @property
    def pid(self) -> int:
        """Its process number, which is its process group's too."""
        return self.process.pid

    def _end_flood(self) -> None:
        self._ended_by_us = f"it floods: more than {OUTPUT_LIMIT >> 20} MiB of output"
        self.kill()

    def kill(self, number: int = signal.SIGKILL, *, group: bool = True) -> None:
        """Send a signal to the plugin, and to what it has started unless `group` is False."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def ends_within(self, deadline: float) -> bool:
        """Wait until the plugin has ended or it is `deadline` by the monotonic clock; returns whether it has ended."""
        handle = os.pidfd_open(self.pid)
        try:
            return bool(select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0])
        finally:
            os.close(handle)

    def wait(self, left: Callable[[], Mapping[int, str]] = dict) -> Execution:
        """Wait for the end, and tidy up.

        `left` names the processes that were not there before: number to command line. Any that is still there shortly after the
        plugin's end is killed, and is trouble.
        """
        if not self.ends_within(self._started + self._timeout):
            self._ended_by_us = self._ended_by_us or f"it hangs: no end after {self._timeout:g} s"
            self.kill()
        self.process.wait()
        seconds = time.monotonic() - self._started
        trouble = self._ended_by_us or self._end_leftovers(left)
        self._close()
        stdout, stderr = (drain.text for drain in self._drains)
        return Execution(self.process.returncode, stdout, stderr, seconds, trouble or self._ended_by_us)

    def _end_leftovers(self, left: Callable[[], Mapping[int, str]]) -> str:
        deadline = time.monotonic() + _GRACE
        while (found := left()) and time.monotonic() < deadline:
            time.sleep(0.02)
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        named = "; ".join(command or str(pid) for pid, command in found.items())
        return f"it leaves processes behind: {named}" if found else ""

    def _close(self) -> None:
        """Let go of the pipes; a reader of one that somebody else still holds open is left to itself."""
        self._writer.join(_GRACE)
        for drain in self._drains:
            drain.join(_GRACE)
        if any(drain.is_alive() for drain in self._drains):
            self._ended_by_us = self._ended_by_us or "it leaves a process behind that holds its output open"
            return
        for stream in self._outputs:
            stream.close()


def _write(stream: IO[bytes], data: bytes) -> None:
    with suppress(OSError):  # a plugin need not read all
        stream.write(data)
    with suppress(OSError):
        stream.close()
