"""What somebody sees who has just cloned the tree and types `make demo`."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.support.demos import Showing
from tests.support.paths import REPO


def test_everything_turns_out_as_the_demo_tells_it_and_it_leaves_nothing(root: None, plugin_dir: Path, tmp_path: Path) -> None:
    with Showing("demo", tmp_path / "files") as showing:
        assert showing.finish() == 0, showing.text
    assert "  ok  web -> 10.22.0.3" in showing.text
    assert "  NO " not in showing.text
    assert showing.left_behind() == []


def test_colours_are_for_terminals_alone_and_for_those_who_want_them(root: None, plugin_dir: Path, tmp_path: Path) -> None:
    with Showing("demo", tmp_path / "files") as plain:
        plain.finish()
    assert [("\x1b[" in text) for text in (plain.text, on_a_terminal(), on_a_terminal(NO_COLOR="1"))] == [False, True, False]


def on_a_terminal(**variables: str) -> str:
    """What the demo shows there."""
    script = "import sys; from demo.screen import Screen; screen = Screen(); screen.heading('Done'); screen.outcome(True, 'it works')"
    ours, its = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", script], cwd=REPO, env=os.environ | variables, stdout=its, check=True)
        return os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(its)
