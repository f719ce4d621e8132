"""Calls of one executable that end otherwise than they should: killed, terminated, or with nobody to listen."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.netns import Container
from tests.support.node import Node
from tests.support.outcome import Outcome

TIMEOUT = 60
GOLDEN = 0.6180339887498949


class Caller:
    """Calls one plugin for one network on one node.

    `directory` is where the plugin and its delegates are; `conf` is the plugin's configuration without name and version.
    """

    def __init__(self, node: Node, directory: Path, conf: dict[str, Any], *, name: str = "pods", version: str = "1.1.0") -> None:
        self.node = node
        self.directory = directory
        self.conf = {"cniVersion": version, "name": name, **conf}

    def start(self, verb: str, container: Container | None, *, stdin: bytes | None = None, stdout: int = subprocess.PIPE) -> Call:
        """Start a call and hand it its configuration (or `stdin`)."""
        env = self.node.cni_env(verb, container=container, path=self.directory)
        with self.node.inside():
            process = subprocess.Popen(
                [self.directory / self.conf["type"]], env=env, stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.PIPE
            )
        return Call(process, json.dumps(self.conf).encode() if stdin is None else stdin)

    def run(self, verb: str, container: Container | None, **how: Any) -> Outcome:
        """Make a call and wait for its end."""
        return self.start(verb, container, **how).end()

    def add(self, container: Container) -> Any:
        """ADD, which must succeed; returns the result."""
        return self.run("ADD", container).result

    def delete(self, container: Container) -> None:
        """DEL, which must succeed."""
        outcome = self.run("DEL", container)
        assert outcome.code == 0, outcome

    def prime(self, container: Container) -> None:
        """ADD and DEL once, so that what a network shares is there before a ledger is taken."""
        self.add(container)
        self.delete(container)

    def duration(self, verb: str, container: Container) -> float:
        """Return the seconds that one call takes now; the container is attached before a DEL and detached at the end."""
        if verb == "DEL":
            self.add(container)
        start = time.monotonic()
        outcome = self.run(verb, container)
        seconds = time.monotonic() - start
        assert outcome.code == 0, outcome
        self.delete(container)
        return seconds


class Call:
    """A call that is under way."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes) -> None:
        self._process = process
        assert process.stdin
        try:
            process.stdin.write(stdin)
            process.stdin.close()
        except BrokenPipeError:  # it ended without reading; what it answered tells
            pass

    def signal_after(self, seconds: float, signal: int) -> bool:
        """Send a signal when the call has been running for so long; returns False when it had ended by itself."""
        ended = self.wait(seconds)
        if not ended:
            self._process.send_signal(signal)
        return not ended

    def wait(self, seconds: float) -> bool:
        """Wait for the end, so long at most; returns whether it has ended."""
        handle = os.pidfd_open(self._process.pid)
        try:
            return bool(select.select([handle], [], [], seconds)[0])
        finally:
            os.close(handle)

    def end(self) -> Outcome:
        """Wait for the end and return what came out."""
        stdout = self._process.stdout.read() if self._process.stdout else b""
        assert self._process.stderr
        stderr = self._process.stderr.read()
        code = self._process.wait(TIMEOUT)
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()
        return Outcome(code, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


def moments(duration: float) -> Iterator[float]:
    """Yield moments from 0 to `duration` seconds without end, spread evenly however many are taken."""
    place = 0.5
    while True:
        yield place * duration
        place = (place + GOLDEN) % 1
