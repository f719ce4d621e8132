"""What somebody sees who types `make demo-overlay`."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.demos import Showing


def test_everything_turns_out_as_the_demo_tells_it_and_it_leaves_nothing(root: None, plugin_dir: Path, tmp_path: Path) -> None:
    with Showing("demo.overlay", tmp_path / "files") as showing:
        assert showing.finish() == 0, showing.text
    assert "VNIs in the packets that arrived at node2: 100, 101" in showing.text
    assert "  NO " not in showing.text
    assert showing.left_behind() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: signal.Signals(number).name)
def test_interrupted_it_leaves_nothing(root: None, plugin_dir: Path, tmp_path: Path, number: signal.Signals) -> None:
    with Showing("demo.overlay", tmp_path / "files") as showing:
        showing.wait_for("node2 has ")
        showing.interrupt(number)
        assert showing.finish() == 130, showing.text
    assert showing.text.endswith("Interrupted: nothing of it is left\n")
    assert showing.left_behind() == []
