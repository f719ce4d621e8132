"""packaging/preflight.py: a machine that lacks something hears what, what for and how to get it, at once."""

from __future__ import annotations

import os
import shutil
import subprocess

import preflight
import pytest

LISTED = preflight.LIST.read_text()


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.fixture
def without_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)


def test_who_is_not_root_is_told_at_once(as_user: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert preflight.main(["demo"]) == 1
    assert capsys.readouterr().err == "`make demo` makes network namespaces and needs root: run `sudo make demo`.\n"


def test_building_needs_no_root(as_user: None) -> None:
    assert preflight.complaint("build") == ""


def test_one_sentence_names_what_is_missing_why_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch, without_apt: None) -> None:
    monkeypatch.setattr(preflight, "is_there", lambda what: what not in {"library:libnftables.so.1", "command:ping"})
    assert preflight.complaint("demo") == (
        "This machine lacks ping (for pinging between containers), libnftables.so.1 (for masquerading): "
        "run `apt-get install iputils-ping libnftables1` as root, or your distribution's equivalent."
    )


def test_root_on_debian_gets_what_is_missing_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    present = {need.what for need in preflight.needs("demo", LISTED)} - {"command:nft"}

    def apt(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        present.add("command:nft")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: f"/usr/bin/{name}")
    monkeypatch.setattr(preflight, "is_there", lambda what: what in present)
    monkeypatch.setattr(subprocess, "run", apt)
    assert preflight.complaint("demo") == ""
    assert [command[4:] for command in ran if command[0] == "apt-get"] == [
        ["update"],
        ["install", "--yes", "--no-install-recommends", "nftables"],
    ]


def test_a_machine_that_has_everything_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "fetch", lambda missing: pytest.fail("nothing was missing"))
    monkeypatch.setattr(preflight, "is_there", lambda what: True)
    assert preflight.complaint("build") == ""


def test_a_container_without_namespaces_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(preflight, "is_there", lambda what: True)
    monkeypatch.setattr(subprocess, "run", lambda command, **options: subprocess.CompletedProcess(command, 1))
    assert "does not let root make network and mount namespaces" in preflight.complaint("test")


@pytest.mark.parametrize("target", sorted(preflight.INCLUDES))
def test_every_line_of_the_list_can_be_looked_for(target: str) -> None:
    for need in preflight.needs(target, LISTED):
        assert preflight.is_there(need.what) in {True, False}
        assert need.reason


@pytest.mark.parametrize(
    ("what", "there"),
    [
        ("command:sh", True),
        ("command:no-such-command", False),
        ("library:libc.so.6", True),
        ("library:libnothing.so.1", False),
        ("file:/", True),
        ("file:/no/such/file", False),
        ("module:json", True),
        ("module:no_such_module", False),
    ],
)
def test_looking_finds_what_is_there(what: str, *, there: bool) -> None:
    assert preflight.is_there(what) is there


def test_wrong_use_says_how_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert preflight.main([]) == 2
    assert "preflight.py build|demo|test|cluster|vm" in capsys.readouterr().err
