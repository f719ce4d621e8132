"""What counts as a copy of our own executable: the same bytes, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cni_plugins.kernel import own

BYTES = b"\x7fELF and the name of a build"


@pytest.fixture
def executable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The executable of this process."""
    path = tmp_path / "bridge"
    path.write_bytes(BYTES)
    monkeypatch.setattr(sys, "executable", str(path))
    return path


def is_copy(path: Path) -> bool:
    return own.is_copy(str(path), path.stat().st_size)


def test_the_same_bytes_are_a_copy(executable: Path, tmp_path: Path) -> None:
    (tmp_path / "host-local").write_bytes(BYTES)
    assert is_copy(tmp_path / "host-local")


@pytest.mark.parametrize("theirs", [BYTES[:-1] + b"D", BYTES + b"s", b""])
def test_other_bytes_are_somebody_else_s(executable: Path, tmp_path: Path, theirs: bytes) -> None:
    (tmp_path / "host-local").write_bytes(theirs)
    assert not is_copy(tmp_path / "host-local")


def test_without_an_executable_of_our_own_there_are_no_copies(executable: Path, tmp_path: Path) -> None:
    (tmp_path / "host-local").write_bytes(BYTES)
    executable.unlink()
    assert not is_copy(tmp_path / "host-local")


def test_what_is_gone_is_no_copy(executable: Path, tmp_path: Path) -> None:
    assert not own.is_copy(str(tmp_path / "host-local"), len(BYTES))
