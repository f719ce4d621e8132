"""What we think of each deviation that a published report shows: is it the plugin's, or a matter of opinion?

    [[remark]]
    plugin = "reference/*"               # the label of a report; * and ? as in file names
    case = "CHK-13"
    whose = "the plugin's"               # or "a matter of opinion"
    text = "CHECK writes the firewall's chains anew."

A verdict stays what it is whatever is remarked: remarks are read by people.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pydantic

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from conformance.results import RunResult

Whose = Literal["the plugin's", "a matter of opinion"]


class RemarksError(Exception):
    """The file of remarks cannot be used; the text says why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Remark:
    """One remark. `plugin` is a pattern of labels, `case` a pattern of ids."""

    plugin: str
    case: str
    whose: Whose
    text: str

    def fits(self, label: str, case_id: str) -> bool:
        """Whether this is about that case of the plugin with that label."""
        return fnmatchcase(label, self.plugin) and fnmatchcase(case_id, self.case)


def load(path: str | os.PathLike[str]) -> tuple[Remark, ...]:
    """Read the remarks of a TOML file; raises RemarksError."""
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        return pydantic.TypeAdapter(tuple[Remark, ...]).validate_python(table.get("remark", []))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RemarksError(f"{path} cannot be read: {error}") from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RemarksError(f"{path}: remark {where}: {first['msg']}") from error


def find(remarks: Iterable[Remark], label: str, case_id: str) -> Remark | None:
    """Return the first remark that fits, so that a particular one stands before a general one; None if there is none."""
    return next((remark for remark in remarks if remark.fits(label, case_id)), None)


def missing(remarks: Sequence[Remark], runs: Iterable[tuple[str, RunResult]]) -> list[str]:
    """List the deviations on which nothing was remarked, as "LABEL ID"."""
    return [f"{label} {case.id}" for label, run in runs for case in run.failures if find(remarks, label, case.id) is None]


def stale(remarks: Sequence[Remark], runs: Sequence[tuple[str, RunResult]]) -> list[Remark]:
    """List the remarks on which no deviation falls any more."""
    used = {find(remarks, label, case.id) for label, run in runs for case in run.failures}
    return [remark for remark in remarks if remark not in used]
