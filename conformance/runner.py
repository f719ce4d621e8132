"""Runs cases: each in a process and in namespaces of its own, several at once, none longer than it may.

    for result in run(jobs, workers=2):
        print(result.id, result.verdict)

The cases are run by `conformance.foreman`, a process without threads that makes the others.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from conformance.case import GROUPS
from conformance.execute import TIMEOUT
from conformance.profile import Profile
from conformance.results import CaseResult


class BrokenRun(Exception):
    """The suite itself could not run; the text says why in a sentence."""


@dataclass(frozen=True, slots=True)
class Job:
    """One case to be run on one plugin.

    `tag` is the caller's own; `timeout` is how many seconds a call may take, `limit` how many the case may take, if not as many as it says.
    """

    case: str
    profile: Profile
    plugin_dir: Path
    helpers: tuple[Path, ...] = ()
    tag: str = ""
    timeout: float = TIMEOUT
    limit: float | None = None


RESULT: TypeAdapter[CaseResult] = TypeAdapter(CaseResult)


def run(jobs: Iterable[Job], *, workers: int = 2) -> Generator[tuple[Job, CaseResult], None, None]:
    """Run the jobs, `workers` at once, and yield each with its result as it ends. Raises BrokenRun when the suite itself cannot run."""
    waiting = list(jobs)
    if os.geteuid() != 0:
        raise BrokenRun("the suite makes network namespaces and needs root: run it with sudo")
    lines = "".join(json.dumps(_encoded(number, job)) + "\n" for number, job in enumerate(waiting))
    package = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    _try_a_node(environment)
    foreman = subprocess.Popen(
        [sys.executable, "-m", "conformance.foreman", str(workers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert foreman.stdin is not None
    assert foreman.stdout is not None
    try:
        foreman.stdin.write(lines)
        foreman.stdin.close()
        for line in foreman.stdout:
            number, result = json.loads(line)
            yield waiting[number], RESULT.validate_python(result)
    finally:
        foreman.terminate()
        foreman.stdout.close()
        status = foreman.wait()
    if status != 0:
        raise BrokenRun(f"the process that runs the cases ended with exit status {status}")


def in_order(results: Iterable[CaseResult]) -> list[CaseResult]:
    """Return results in the order of the suite: by group, then by id."""
    return sorted(results, key=lambda one: (GROUPS.index(one.group), one.id))


def _encoded(number: int, job: Job) -> dict[str, Any]:
    return {
        "number": number,
        "case": job.case,
        "profile": job.profile.model_dump(mode="json"),
        "plugin_dir": str(job.plugin_dir),
        "helpers": [str(helper) for helper in job.helpers],
        "timeout": job.timeout,
        "limit": job.limit,
    }


def encoded(number: int, result: CaseResult) -> str:
    """Return what the foreman says of a job that has ended, as a line."""
    return json.dumps([number, asdict(result)]) + "\n"


def _try_a_node(environment: Mapping[str, str]) -> None:
    """Make a node and let it go, so that a machine that cannot have one is not blamed on the plugin. Raises BrokenRun."""
    missing = [tool for tool in ("ip", "unshare") if shutil.which(tool) is None]
    if missing:
        raise BrokenRun(f"this machine lacks {' and '.join(missing)}: install iproute2 and util-linux")
    probe = "from conformance.node import Node\nwith Node(): pass"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", probe]
    tried = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if tried.returncode:
        raise BrokenRun(f"no namespaces can be made here: {(tried.stderr.strip().splitlines() or ['?'])[-1]}")
