"""Networks of other people's plugins that are being set up at once when the caller, or the agent, is ended: none goes on by itself."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agents import TIMEOUT, Agent
from tests.e2e.calls import Caller
from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import bridge
from tests.support.node import Node

HANGING = """#!/bin/sh
echo "$CNI_COMMAND {name}" >> {directory}/log
[ "$CNI_COMMAND" = ADD ] || exit 0
echo $$ > {directory}/begun-{name}
read go < {directory}/go-{name}
echo "made {name}" >> {directory}/log
echo '{{"cniVersion": "1.1.0"}}'
"""
NAMES = ("left", "right")


class Hanging:
    """A network of ours and two of plugins that wait for `go`, on a node where the first has been used."""

    def __init__(self, node: Node, plugins: Path, directory: Path) -> None:
        self.node = node
        self.directory = directory
        bin_dir = directory / "bin"
        bin_dir.mkdir()
        for name in ("multus", "bridge", "host-local"):
            (bin_dir / name).symlink_to(plugins / name)
        for name in NAMES:
            for kind in ("begun", "go"):
                os.mkfifo(directory / f"{kind}-{name}")
            (bin_dir / name).write_text(HANGING.format(name=name, directory=directory))
            (bin_dir / name).chmod(0o755)
        ours: dict[str, Any] = {"name": "ours", **bridge()}
        Caller(node, bin_dir, {"type": "multus", "delegates": [ours]}).prime(node.container("primer"))
        delegates = [ours, *({"name": f"of-{name}", "type": name} for name in NAMES)]
        self.caller = Caller(node, bin_dir, {"type": "multus", "delegates": delegates})

    def begun(self) -> list[int]:
        """Wait until both run, since the first does not end before the second has begun; the numbers of their processes."""
        return [int((self.directory / f"begun-{name}").read_text()) for name in NAMES]

    def go(self) -> None:
        """Let both end."""
        for name in NAMES:
            (self.directory / f"go-{name}").write_text("go\n")

    def wait_for_lock(self) -> None:
        """Wait until somebody waits for the lock of the attachment, or a plugin is asked for anything more."""
        with self.node.inside():
            lock = Path("/run/cni-plugins/lock").stat()
        before = self.log
        while not any("->" in line and f":{lock.st_ino} " in line for line in Path("/proc/locks").read_text().splitlines()):
            if self.log != before:
                return

    def check_order(self) -> None:
        """Nothing was deleted before all had ended."""
        made, deleted = ([self.log.index(f"{what} {name}") for name in NAMES] for what in ("made", "DEL"))
        assert max(made) < min(deleted)

    @property
    def log(self) -> list[str]:
        """What they were asked and did."""
        return (self.directory / "log").read_text().splitlines()


@pytest.fixture
def hanging(node: Node, plugins: Path, tmp_path: Path) -> Hanging:
    """Those networks."""
    return Hanging(node, plugins, tmp_path)


@pytest.mark.parametrize("with_agent", [False, True], ids=["cold", "agent"])
def test_all_that_run_are_ended_with_their_caller(
    node: Node, plugins: Path, hanging: Hanging, nothing_left: NothingLeft, *, with_agent: bool
) -> None:
    container = node.container("pod")
    with Agent(node, plugins) if with_agent else nullcontext(), nothing_left(node):
        call = hanging.caller.start("ADD", container)
        begun = hanging.begun()
        call.signal_after(0, signal.SIGTERM)
        outcome = call.end()
        assert outcome.error["code"] == 11, outcome
        assert not [pid for pid in begun if Path(f"/proc/{pid}").exists()]
    assert sorted(hanging.log[:2]) == ["ADD left", "ADD right"]
    assert sorted(hanging.log[2:]) == ["DEL left", "DEL right"]


def test_what_a_killed_plugin_had_begun_is_waited_for_and_deleted(node: Node, hanging: Hanging, nothing_left: NothingLeft) -> None:
    """Killed without warning it can end nobody: the next call of the attachment waits for all of them."""
    container = node.container("pod")
    with nothing_left(node):
        call = hanging.caller.start("ADD", container)
        hanging.begun()
        call.signal_after(0, signal.SIGKILL)
        deletion = hanging.caller.start("DEL", container)
        hanging.wait_for_lock()
        hanging.go()
        assert call.end().code == -signal.SIGKILL
        assert deletion.end().code == 0
    hanging.check_order()


def test_what_a_killed_agent_had_begun_is_waited_for_deleted_and_done_again(
    node: Node, plugins: Path, hanging: Hanging, nothing_left: NothingLeft
) -> None:
    container = node.container("pod")
    with nothing_left(node):
        with Agent(node, plugins) as agent:
            call = hanging.caller.start("ADD", container)
            hanging.begun()
            agent.process.kill()
            agent.process.wait(TIMEOUT)
            hanging.wait_for_lock()
            hanging.go()
            hanging.begun()
            hanging.check_order()
            hanging.go()
            assert call.end().code == 0
        hanging.caller.delete(container)
        with Agent(node, plugins):
            pass  # takes the dead one's socket away
