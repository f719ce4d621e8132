"""Runs one case on one plugin, and turns whatever happens into a verdict."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from conformance.case import Case, Failed, Skipped
from conformance.execute import TIMEOUT
from conformance.lab import Lab
from conformance.profile import Profile
from conformance.results import CaseResult, Evidence
from conformance.transcript import Transcript


def judge(case: Case, profile: Profile, plugin_dir: Path, *, helpers: Sequence[Path] = (), timeout: float = TIMEOUT) -> CaseResult:
    """Run a case on a node of its own, and return the verdict. The calling thread must be one that may enter other namespaces.

    An error of the suite itself is told as a failure too: a case that could not be run to its end must never count as passed.
    """
    started = time.monotonic()
    found = blank(case)
    transcript = Transcript()
    try:
        with Lab(profile, plugin_dir, helpers=helpers, timeout=timeout) as lab:
            transcript = lab.transcript
            lab.needs(*sorted(case.needs))
            case.body(lab)
            found = replace(found, verdict="pass")
    except Skipped as skip:
        found = replace(found, verdict="skip", observed=str(skip))
    except Failed as failed:
        evidence = Evidence(failed.ledger, tuple(transcript.lines()))
        found = replace(found, expected=failed.expected, observed=failed.observed, evidence=evidence)
        found = replace(found, reproduce=transcript.script(look=bool(failed.ledger)))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a body may meet anything in what a plugin answers
        observed = f"the case itself broke: {type(error).__name__}: {error} ({_where(error)})"
        evidence = Evidence(calls=tuple(transcript.lines()))
        found = replace(found, expected="an answer that can be judged", observed=observed, reproduce=transcript.script(), evidence=evidence)
    return replace(found, seconds=round(time.monotonic() - started, 3))


def blank(case: Case) -> CaseResult:
    """Return the result of a case that did not end: a failure, until something better is known."""
    return CaseResult(case.id, case.title, case.level, "fail", spec=case.spec)


def _where(error: BaseException) -> str:
    """The innermost line of a case's module that an error came through."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if os.path.basename(os.path.dirname(path)) == "cases" or not place:
            place = f"{os.path.basename(path)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
