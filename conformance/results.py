"""What a run found: one verdict for each case, and the file that keeps them.

    {"plugin": "bridge", "profile": "bridge", "specVersion": "1.1.0",
     "cases": [{"id": "DEL-02", "title": …, "level": "MUST", "verdict": "pass|fail|skip",
                "expected": …, "observed": …, "reproduce": …, "seconds": 0.2}]}

These keys are promised to whoever reads the file, and a file with no others can be read. What the suite knows beyond them stands beside
them: `pluginPath`, `pluginVersion`, `kernel`, `started`, `seconds`; `spec` and `evidence` of a case.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydantic

Verdict = Literal["pass", "fail", "skip"]
LevelName = Literal["MUST", "SHOULD", "MAY", "BEST"]
LEVELS: tuple[LevelName, ...] = ("MUST", "SHOULD", "MAY", "BEST")
VERDICTS: tuple[Verdict, ...] = ("pass", "fail", "skip")

# JSON's names of the fields that Python spells otherwise.
_SPELLED = {"spec_version": "specVersion", "plugin_path": "pluginPath", "plugin_version": "pluginVersion"}
_PYTHON = {spelled: name for name, spelled in _SPELLED.items()}


class ResultsError(Exception):
    """A file is not the results of a run; the text says which file and why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Spec:
    """The clause a case holds a plugin to: its words, and the link to where they stand."""

    text: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen when a case failed: the ledger's difference, line by line, and the calls made so far, oldest first."""

    ledger: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The verdict on one case.

    `expected`, `observed` and `reproduce` (a shell snippet) are empty for a case that passed. For one that was skipped, `observed` is
    the reason.
    """

    id: str
    title: str
    level: LevelName
    verdict: Verdict
    expected: str = ""
    observed: str = ""
    reproduce: str = ""
    seconds: float = 0.0
    spec: Spec = Spec()
    evidence: Evidence = Evidence()

    @property
    def group(self) -> str:
        """The part of the id before the hyphen: DEL of DEL-02."""
        return self.id.partition("-")[0]


@dataclass(frozen=True, slots=True)
class RunResult:
    """The verdicts of one run on one plugin, in the order of the cases.

    `started` is a time in ISO 8601 with its zone, `kernel` the release that `uname -r` gives, `plugin_version` what the plugin calls itself
    (empty when it does not say).
    """

    plugin: str
    profile: str
    spec_version: str
    cases: tuple[CaseResult, ...]
    plugin_path: str = ""
    plugin_version: str = ""
    kernel: str = ""
    started: str = ""
    seconds: float = 0.0

    def count(self, verdict: Verdict, level: LevelName | None = None) -> int:
        """Return how many cases, of one level or of all, have this verdict."""
        return sum(case.verdict == verdict and level in {None, case.level} for case in self.cases)

    @property
    def failures(self) -> tuple[CaseResult, ...]:
        """The cases that failed, MUST first."""
        failed = (case for case in self.cases if case.verdict == "fail")
        return tuple(sorted(failed, key=lambda case: LEVELS.index(case.level)))

    @property
    def conforms(self) -> bool:
        """Whether no MUST and no SHOULD failed, which is what the command's exit status tells."""
        return not (self.count("fail", "MUST") or self.count("fail", "SHOULD"))


def encode(run: RunResult) -> str:
    """Return the run as the text of a JSON file."""
    ordered: dict[str, Any] = {"plugin": run.plugin, "profile": run.profile, "spec_version": run.spec_version}
    ordered |= dataclasses.asdict(run)
    ordered["cases"] = ordered.pop("cases")
    return json.dumps({_SPELLED.get(key, key): value for key, value in ordered.items()}, indent=2) + "\n"


def decode(text: str) -> RunResult:
    """Return the run that `encode` wrote, or any that has the promised keys; raises ResultsError."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ResultsError("is JSON, but not an object with plugin, profile, specVersion and cases")
    fields = {_PYTHON.get(str(key), str(key)): value for key, value in raw.items()}
    try:
        return pydantic.TypeAdapter(RunResult).validate_python(fields)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(_SPELLED.get(str(part), str(part)) for part in first["loc"])
        raise ResultsError(f"is not the results of a run: {where}: {first['msg']}") from error


def save(run: RunResult, path: str | os.PathLike[str]) -> None:
    """Write the run to `path`; raises OSError."""
    Path(path).write_text(encode(run), encoding="utf-8")


def load(path: str | os.PathLike[str]) -> RunResult:
    """Read a run from `path`; raises ResultsError with the path in its text."""
    try:
        return decode(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"{os.fspath(path)} cannot be read: {error}") from error
    except ResultsError as error:
        raise ResultsError(f"{os.fspath(path)} {error}") from error
