"""A foreign delegate runs for long while an agent serves the call: its caller is ended, or the agent is. It ends, or is waited for."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.agents import TIMEOUT, Agent
from tests.e2e.calls import Caller
from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import bridge
from tests.support.node import Node

NETWORK = bridge()
IPAM = """#!/bin/sh
echo "$CNI_COMMAND" >> {log}
[ "$CNI_COMMAND" = ADD ] || exit 0
echo $$ > {fifo}
read go < {fifo}
echo "end" >> {log}
echo '{{"cniVersion": "1.1.0", "ips": [{{"address": "10.61.0.9/24"}}]}}'
"""


class Slow:
    """A network on a node whose addresses come from a delegate of somebody else's, which waits for `go`."""

    def __init__(self, node: Node, plugins: Path, directory: Path) -> None:
        self.fifo, self.log, bin_dir = directory / "fifo", directory / "log", directory / "bin"
        os.mkfifo(self.fifo)
        bin_dir.mkdir()
        (bin_dir / "bridge").symlink_to(plugins / "bridge")
        (bin_dir / "slow").write_text(IPAM.format(fifo=self.fifo, log=self.log))
        (bin_dir / "slow").chmod(0o755)
        self.node = node
        self.caller = Caller(node, bin_dir, {**NETWORK, "ipam": {"type": "slow"}})

    def begun(self) -> int:
        """Wait for the delegate; the number of its process."""
        return int(self.fifo.read_text())

    def go(self) -> None:
        """Let it end."""
        self.fifo.write_text("go\n")

    def verbs(self) -> list[str]:
        """What the delegate was asked so far, with an `end` for each ADD that came to its end."""
        return self.log.read_text().split()

    def wait_for_lock(self) -> None:
        """Wait until somebody waits for the lock of the attachment, or the delegate is asked for anything more."""
        with self.node.inside():
            lock = Path("/run/cni-plugins/lock").stat()
        waiting, before = f":{lock.st_ino} ", self.verbs()
        while not any("->" in line and waiting in line for line in Path("/proc/locks").read_text().splitlines()):
            if self.verbs() != before:
                return


@pytest.fixture
def slow(node: Node, plugins: Path, tmp_path: Path) -> Slow:
    """That network, on a node where the bridge is there already."""
    Caller(node, plugins, NETWORK).prime(node.container("primer"))
    return Slow(node, plugins, tmp_path)


@pytest.fixture
def agent(node: Node, plugins: Path) -> Agent:
    """An agent, not yet running."""
    return Agent(node, plugins)


def test_a_delegate_that_hangs_is_ended_with_its_caller(agent: Agent, slow: Slow, nothing_left: NothingLeft) -> None:
    container = slow.node.container("pod")
    with agent, nothing_left(slow.node):
        call = slow.caller.start("ADD", container)
        pid = slow.begun()
        call.signal_after(0, signal.SIGTERM)
        outcome = call.end()
        assert outcome.error["code"] == 11, outcome
        assert "ended by signal 15" in outcome.error["msg"]
        assert not Path(f"/proc/{pid}").exists()
        assert slow.verbs() == ["ADD", "DEL"]
        assert agent.calls("bridge", "ADD") == 1


def test_a_delegate_of_a_killed_caller_is_ended_and_keeps_no_del_waiting(agent: Agent, slow: Slow, nothing_left: NothingLeft) -> None:
    container = slow.node.container("pod")
    with agent, nothing_left(slow.node):
        call = slow.caller.start("ADD", container)
        slow.begun()
        call.signal_after(0, signal.SIGKILL)
        call.end()
        slow.caller.delete(container)
        assert slow.verbs() == ["ADD", "DEL", "DEL"]


def test_what_a_dead_agent_had_executed_is_waited_for(agent: Agent, slow: Slow, nothing_left: NothingLeft) -> None:
    container = slow.node.container("pod")
    with nothing_left(slow.node):
        with agent:
            call = slow.caller.start("ADD", container)
            slow.begun()
            agent.process.kill()
            agent.process.wait(TIMEOUT)
            slow.wait_for_lock()
            assert slow.verbs() == ["ADD"], "the caller went on beside what the agent had begun"
            slow.go()
            slow.begun()
            slow.go()
            outcome = call.end()
        assert outcome.code == 0, outcome
        assert slow.verbs() == ["ADD", "end", "DEL", "ADD", "end"]
        slow.caller.delete(container)
        with Agent(slow.node, agent.plugins):
            pass  # takes the dead one's socket away


def test_a_lock_that_a_delegate_leaves_to_a_daemon_is_free_when_the_call_is_over(
    node: Node, plugins: Path, tmp_path: Path, nothing_left: NothingLeft
) -> None:
    Caller(node, plugins, NETWORK).prime(node.container("primer"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bridge").symlink_to(plugins / "bridge")
    daemon = tmp_path / "bin" / "daemon"
    daemon.write_text(
        f"#!/bin/sh\n[ $CNI_COMMAND = ADD ] || exit 0\nsleep 1000 >&- 2>&- <&- & echo $! > {tmp_path}/pid\n"
        """echo '{"cniVersion": "1.1.0", "ips": [{"address": "10.61.0.9/24"}]}'\n"""
    )
    daemon.chmod(0o755)
    caller, container = Caller(node, tmp_path / "bin", {**NETWORK, "ipam": {"type": "daemon"}}), node.container("pod")
    with nothing_left(node):
        caller.add(container)
        try:
            caller.delete(container)
        finally:
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_a_second_signal_ends_an_agent_that_waits_for_its_calls(agent: Agent, slow: Slow) -> None:
    container = slow.node.container("pod")
    with agent:
        call = slow.caller.start("ADD", container)
        slow.begun()
        agent.process.terminate()
        agent.wait_for("ending on signal 15")
        agent.process.terminate()
        assert agent.process.wait(TIMEOUT) == -signal.SIGTERM
        slow.go()
        slow.begun()
        slow.go()
        assert call.end().code == 0
    slow.caller.delete(container)


def test_a_call_whose_log_is_its_own_standard_error_is_served_by_itself(agent: Agent, node: Node, plugins: Path) -> None:
    caller = Caller(node, plugins, {**NETWORK, "logFile": "/dev/stderr"})
    container = node.container("pod")
    with agent:
        outcome = caller.run("ADD", container)
        assert "bridge ADD" in outcome.stderr, outcome
        assert "bridge ADD" not in "".join(agent.log)
        caller.delete(container)
