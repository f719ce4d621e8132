"""The set of modules that each cold call imports is pinned: importing is most of what a call costs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.unit.imports.measure import CALLS, PINNED, VERBS, measure

_RECORD = "if the change is wanted, write it down with `python -m tests.unit.imports.record` (as root) and commit modules.json"
_SLOW = (
    "argparse",
    "collections",
    "ctypes",
    "dataclasses",
    "enum",
    "functools",
    "json",
    "logging",
    "os",
    "pydantic",
    "re",
    "socket",
    "typing",
)


@pytest.fixture(scope="module")
def measured(root: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What each call imports now."""
    return measure(tmp_path_factory.mktemp("imports"))


@pytest.mark.parametrize("call", [f"{name} {verb}" for name in CALLS for verb in VERBS[name]])
def test_call_imports_the_modules_that_are_written_down_and_no_others(measured: dict[str, list[str]], call: str) -> None:
    pinned = json.loads(PINNED.read_text())
    expected, found = set(pinned["modules"][call]), set(measured[call])
    assert not found - expected, f"{call} imports more: {sorted(found - expected)}; {_RECORD}"
    if pinned["python"] == ".".join(map(str, sys.version_info[:2])):
        assert not expected - found, f"{call} imports less: {sorted(expected - found)}; {_RECORD}"


def test_version_needs_nothing_but_the_first_stage(measured: dict[str, list[str]]) -> None:
    ours = [module for module in measured["bridge VERSION"] if module.startswith(("cni_plugins", "bridge"))]
    assert ours == [
        "cni_plugins",
        "cni_plugins.main",
        "cni_plugins.protocol",
        "cni_plugins.protocol.errors",
        "cni_plugins.protocol.versions",
    ]
    assert set(measured["bridge VERSION"]) - set(ours) == {"__future__"}


def test_nothing_slow_is_imported_by_anything(measured: dict[str, list[str]], tmp_path: Path) -> None:
    assert not {call: slow for call, modules in measured.items() if (slow := sorted(set(_SLOW) & set(modules)))}
