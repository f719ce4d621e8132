"""The command: what it prints, and the exit status that scripts go by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance import cli
from tests.conformance.fakes import VERSIONS, plugin
from tests.support.node import Node
from tests.support.paths import REPO

PROFILE = 'name = "bad"\nplugin = "bad"\nkind = "ipam"\n[conf]\n'
ECHO = VERSIONS.replace('"cniVersion": "1.1.0"', '"cniVersion": "%s"').replace(", flush", " % json.load(sys.stdin)['cniVersion'], flush")


@pytest.fixture
def profile(tmp_path: Path) -> str:
    (tmp_path / "bad.toml").write_text(PROFILE)
    return str(tmp_path / "bad.toml")


def test_a_plugin_that_keeps_all_is_exit_status_0(root: None, tmp_path: Path, profile: str, capsys: pytest.CaptureFixture[str]) -> None:
    plugin(tmp_path, ECHO)
    arguments = ["run", "--plugin-dir", str(tmp_path), "--profile", profile, "--only", "VER-0[123]", "--json", str(tmp_path / "out.json")]
    assert cli.main(arguments) == 0
    assert "Keeps every MUST and SHOULD" in capsys.readouterr().out
    written = json.loads((tmp_path / "out.json").read_text())
    assert [case["verdict"] for case in written["cases"]] == ["pass"] * 3
    assert (written["plugin"], written["specVersion"]) == ("bad", "1.1.0")


def test_a_broken_must_is_exit_status_1(root: None, tmp_path: Path, profile: str, capsys: pytest.CaptureFixture[str]) -> None:
    plugin(tmp_path, VERSIONS)
    assert cli.main(["run", "--plugin-dir", str(tmp_path), "--profile", profile, "--only", "VER-03"]) == 1
    assert "VERSION echoes" in capsys.readouterr().out


def test_level_and_skip_choose_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "--only", "VER-*", "--skip", "VER-01", "--level", "MUST"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[1] for line in lines} == {"MUST"}
    assert {"VER-02", "VER-03"} <= {line.split()[0] for line in lines} <= {f"VER-0{number}" for number in range(2, 10)}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "--plugin-dir", "/nowhere", "--profile", "bridge"], "there is no plugin bridge in /nowhere"),
        (["run", "--plugin-dir", "/nowhere", "--profile", "brigde"], "profile brigde cannot be read"),
        (["list", "--only", "XYZ-*"], "there is no such case"),
        (["ledger", "--", "/no/such/command"], "/no/such/command: No such file or directory"),
    ],
)
def test_a_suite_that_could_not_run_is_exit_status_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], node: Node
) -> None:
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert told in said
    assert len(said.splitlines()) == 1


def test_a_user_without_the_rights_gets_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, profile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin(tmp_path, VERSIONS)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["run", "--plugin-dir", str(tmp_path), "--profile", profile]) == 2
    assert "needs root" in capsys.readouterr().err


def test_ledger_shows_what_a_command_leaves_behind(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ledger", "--", "ip", "link", "add", "br7", "type", "bridge"]) == 0
    assert "+ node link br7: kind bridge" in capsys.readouterr().out
    assert cli.main(["ledger", "--", "true"]) == 0
    assert capsys.readouterr().out == ""


def test_ledger_has_the_commands_exit_status(node: Node) -> None:
    assert cli.main(["ledger", "--", "sh", "-c", "exit 7"]) == 7


def test_the_suite_needs_nothing_of_our_plugins() -> None:
    """Who installs it has Python, pydantic and rich, and a plugin of his own."""
    ours = ("cni_plugins", "bridge", "tests")
    look = f"import sys, conformance.cli, conformance.foreman; print([name for name in sys.modules if name.split('.')[0] in {ours}])"
    done = subprocess.run([sys.executable, "-c", look], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
