"""cnictl as it is built: what it says is stale is gone when it says so, by the plugins beside it."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.calls import Caller
from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import bridge
from tests.support.node import Node


def test_a_sweep_removes_what_a_vanished_container_left_and_nothing_else(node: Node, plugins: Path, nothing_left: NothingLeft) -> None:
    caller = Caller(node, plugins, bridge(ipMasq=True))
    caller.add(node.container("live"))
    with nothing_left(node):
        stale = node.container("stale")
        caller.add(stale)
        stale.delete()
        listed = node.run([plugins / "cnictl", "attachments"]).stdout
        assert [line.split()[-1] for line in listed.splitlines()[1:] if "live" in line.split()[1]] == ["live"]
        assert "stale: netns gone" in listed
        node.run([plugins / "cnictl", "sweep"])
    assert "stale" not in node.run([plugins / "cnictl", "attachments"]).stdout
