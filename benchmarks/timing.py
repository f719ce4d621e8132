"""Timing whole processes in turn: A B A B …, so that what else the machine does falls on both."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Run(NamedTuple):
    """One process: milliseconds from start to end, the most memory that it had in MiB, what it wrote."""

    ms: float
    mib: float
    stdout: bytes = b""


def run(command: Sequence[str], *, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> Run:
    """Run a process to its end. Raises RuntimeError with its output when it fails."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdin.write(stdin)
    process.stdin.close()
    output = process.stdout.read()
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    ms = (time.perf_counter() - begun) * 1000
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    process.stderr.close()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {output.decode()}{complaint.decode()}")
    return Run(ms, usage.ru_maxrss / 1024, output)


class Series:
    """What one contender did, run by run."""

    def __init__(self, name: str, once: Callable[[int], Run]) -> None:
        self.name = name
        self.once = once
        self.runs: list[Run] = []

    @property
    def ms(self) -> float:
        """The median, in milliseconds."""
        return statistics.median(run.ms for run in self.runs)

    @property
    def mib(self) -> float:
        """The largest peak, in MiB."""
        return max(run.mib for run in self.runs)


def in_turn(contenders: Sequence[Series], *, times: int, warm_up: int = 2) -> None:
    """Run every contender `times` times, one after the other in each round; the first rounds do not count."""
    for number in range(warm_up + times):
        for contender in contenders:
            measured = contender.once(number)
            if number >= warm_up:
                contender.runs.append(measured)
