"""The process that runs cases for `conformance.runner`: jobs as lines of JSON on stdin, results as lines of JSON on stdout.

Each case is process 1 of a new PID namespace, so that ending it ends everything that the plugin started, wherever that went.
This process has no threads, which makes forking safe.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from conformance import namespaces
from conformance.case import Case, cases
from conformance.judge import blank, judge
from conformance.profile import Profile
from conformance.runner import RESULT, encoded

CLONE_NEWPID = 0x20000000


@dataclass
class _Running:
    """A case under way: its process, and the pipe that its result comes through."""

    number: int
    case: Case
    pid: int
    pipe: int
    limit: float
    deadline: float
    data: bytes = b""


class Foreman:
    """Keeps `workers` cases going until all have ended."""

    def __init__(self, jobs: list[dict[str, Any]], workers: int) -> None:
        self._jobs = jobs[::-1]
        self._workers = workers
        self._cases = {case.id: case for case in cases()}
        self._running: list[_Running] = []
        self._home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def work(self) -> None:
        """Run all jobs, and write a line for each as it ends."""
        while self._jobs or self._running:
            while self._jobs and len(self._running) < self._workers:
                self._running.append(self._start(self._jobs.pop()))
            self._wait()

    def end(self) -> None:
        """End the cases that are under way, with all that they started."""
        for one in self._running:
            os.kill(one.pid, signal.SIGKILL)
            os.waitpid(one.pid, 0)

    def _start(self, job: dict[str, Any]) -> _Running:
        case = self._cases[job["case"]]
        receiving, sending = os.pipe()
        namespaces.unshare(CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            os.close(receiving)
            _play(case, job, sending)
        os.close(sending)
        namespaces.setns(self._home, CLONE_NEWPID)
        limit = job["limit"] or case.seconds
        return _Running(job["number"], case, pid, receiving, limit, time.monotonic() + limit)

    def _wait(self) -> None:
        """Wait until something comes from a case, or one is out of time."""
        left = max(0.0, min(one.deadline for one in self._running) - time.monotonic())
        ready = select.select([one.pipe for one in self._running], [], [], left)[0]
        for one in list(self._running):
            chunk = os.read(one.pipe, 1 << 16) if one.pipe in ready else None
            if chunk:
                one.data += chunk
            elif chunk == b"" or time.monotonic() >= one.deadline:
                self._finish(one, late=chunk is None)

    def _finish(self, one: _Running, *, late: bool) -> None:
        os.kill(one.pid, signal.SIGKILL)
        os.waitpid(one.pid, 0)
        os.close(one.pipe)
        self._running.remove(one)
        result = blank(one.case)
        if late:
            expected, observed = f"the case ends within {one.limit:g} s", "it does not"
            result = replace(result, expected=expected, observed=observed, seconds=one.limit)
        elif one.data:
            result = RESULT.validate_json(one.data)
        else:
            result = replace(result, expected="an answer that can be judged", observed="the process of the case was ended from within")
        sys.stdout.write(encoded(one.number, result))
        sys.stdout.flush()


def _play(case: Case, job: dict[str, Any], sending: int) -> NoReturn:
    """Be process 1 of the case's PID namespace: run the case, send its result, and end."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    namespaces.unshare(namespaces.CLONE_NEWNS | namespaces.CLONE_FS)
    namespaces.mount("none", "/", flags=namespaces.MS_REC | namespaces.MS_PRIVATE)
    namespaces.mount("proc", "/proc", "proc")
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    helpers = [Path(helper) for helper in job["helpers"]]
    result = judge(case, Profile.model_validate(job["profile"]), Path(job["plugin_dir"]), helpers=helpers, timeout=job["timeout"])
    data = RESULT.dump_json(result)
    while data:
        data = data[os.write(sending, data) :]
    os._exit(0)


def main() -> None:
    """Read jobs, run them, and end the cases when told to end."""
    foreman = Foreman([json.loads(line) for line in sys.stdin], int(sys.argv[1]))
    gc.freeze()

    def stop(*_: object) -> NoReturn:
        foreman.end()
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    foreman.work()


if __name__ == "__main__":
    main()
