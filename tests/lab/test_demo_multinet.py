"""What somebody sees who types `make demo-multinet`."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.lab import peers
from tests.support.demos import Showing


def test_everything_turns_out_as_the_demo_tells_it_beside_another_one_that_is_interrupted(
    root: None, plugin_dir: Path, tmp_path: Path
) -> None:
    for group in ("cni", "flannel", "kubernetes"):
        peers.build(group)
    with Showing("demo.multinet", tmp_path / "whole") as whole, Showing("demo.multinet", tmp_path / "interrupted") as interrupted:
        interrupted.wait_for("web-0 got ")
        interrupted.interrupt(signal.SIGTERM)
        assert interrupted.finish() == 130, interrupted.text
        assert interrupted.left_behind() == []
        assert whole.finish() == 0, whole.text
    assert "VNI 1, from 10.244.1." in whole.text
    assert "VNI 2, from 10.50." in whole.text
    assert "  NO " not in whole.text
    assert whole.left_behind() == []
