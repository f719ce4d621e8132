"""packaging/environment.py: one Python environment for each lock file and interpreter, whole or not there."""

from __future__ import annotations

import sys
from pathlib import Path

import environment
import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(environment, "LOCK", tmp_path / "locked.txt")
    environment.LOCK.write_text("pyroute2==0.9.7\n")
    return tmp_path / "cache"


def record(ran: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*command: str) -> None:
        ran.append(command)
        if command[:3] == (sys.executable, "-m", "venv"):
            (Path(command[3]) / "bin").mkdir(parents=True)

    monkeypatch.setattr(environment, "run", run)


def test_it_lies_outside_the_work_tree_and_changes_with_the_lock_file_and_the_interpreter(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = environment.directory()
    assert first.is_relative_to(cache)
    environment.LOCK.write_text("pyroute2==0.9.8\n")
    second = environment.directory()
    monkeypatch.setattr(sys, "version", "3.13.99")
    assert len({first, second, environment.directory()}) == 3


def test_it_is_made_once_from_the_locked_packages_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []
    record(ran, monkeypatch)
    python = environment.ensure()
    assert environment.ensure() == python == environment.directory() / "bin/python"
    assert len(ran) == 2
    assert "--require-hashes" in ran[1]
    assert ran[1][-2:] == ("-r", str(environment.LOCK))


def test_a_half_made_one_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []
    (environment.directory() / "bin").mkdir(parents=True)
    (environment.directory() / "bin/half").touch()
    record(ran, monkeypatch)
    environment.ensure()
    assert not (environment.directory() / "bin/half").exists()
    assert len(ran) == 2


def test_a_failing_installer_ends_the_command_with_its_code(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        environment.run(sys.executable, "-c", "import sys; print('no such package'); sys.exit(3)")
    assert ended.value.code == 3
    assert "no such package" in capfd.readouterr().err
