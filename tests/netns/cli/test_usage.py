"""How cnictl is called: what it needs, what its exit status says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns.cli.conftest import Cnictl
from tests.support.node import Node
from tests.support.paths import REPO

COMMANDS = [["attachments"], ["leases"], ["gc", "net"], ["sweep"], ["handover"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_whoever_is_not_root_is_told_so(cnictl: Cnictl, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    printed = cnictl(*command)
    assert (printed.status, printed.lines) == (1, [])
    assert printed.remarks == "cnictl: it must be run as root: it looks into the containers' network namespaces\n"


@pytest.mark.parametrize("command", [[], ["nonsense"], ["gc"], ["sweep", "--nonsense"], ["leases", "a", "b"]], ids=" ".join)
def test_wrong_usage_is_status_2(cnictl: Cnictl, command: list[str]) -> None:
    assert cnictl(*command).status == 2


@pytest.mark.parametrize("command", [["--help"], *([*words[:1], "--help"] for words in COMMANDS)], ids=" ".join)
def test_help_is_status_0(cnictl: Cnictl, command: list[str]) -> None:
    printed = cnictl(*command)
    assert printed.status == 0
    assert printed.lines[0].startswith("usage: cnictl")


def test_a_reader_that_stops_reading_is_no_error(node: Node) -> None:
    Path("/etc/cni/net.d/10-a.conflist").write_text('{"name": "a", "plugins": []}')
    reading, writing = os.pipe()
    os.close(reading)
    program = "import sys; from cni_plugins.cli import main; sys.exit(main(['attachments', '--json']))"
    with node.inside():
        done = subprocess.run([sys.executable, "-c", program], cwd=REPO, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
