"""The executables with an agent, both as they are built: it serves, it refuses, it dies; and nobody notices but by the time."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cni_plugins import handover
from tests.e2e.agents import RUN_DIR, TIMEOUT, Agent
from tests.e2e.calls import Caller
from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import bridge
from tests.support.node import Node

NETWORK = bridge(ipMasq=True)
BLOCKING_IPAM = """#!/bin/sh
if [ "$CNI_COMMAND" = ADD ]; then
  echo "asked for an address" >&2
  echo begun > {fifo}
  read go < {fifo}
  echo '{{"cniVersion": "1.1.0", "ips": [{{"address": "10.61.0.9/24"}}]}}'
fi
"""


@pytest.fixture
def agent(node: Node, plugins: Path) -> Iterator[Agent]:
    """An agent on the node."""
    with Agent(node, plugins) as agent:
        yield agent


@pytest.fixture
def caller(node: Node, plugins: Path) -> Caller:
    """A network on the node."""
    return Caller(node, plugins, NETWORK)


def test_the_agent_serves_what_the_executables_are_asked(agent: Agent, caller: Caller, node: Node, nothing_left: NothingLeft) -> None:
    caller.prime(node.container("primer"))
    with nothing_left(node):
        for name in ("a", "b", "c"):
            container = node.container(name)
            caller.add(container)
            caller.delete(container)
            container.delete()
    assert (agent.calls("bridge", "ADD"), agent.calls("bridge", "DEL")) == (4, 4)
    assert agent.calls("host-local", "ADD") == 0, "our own delegate was executed"


def test_plugins_that_were_copied_one_by_one_know_each_other(agent: Agent, node: Node, plugins: Path, tmp_path: Path) -> None:
    for name in ("bridge", "host-local"):
        shutil.copy(plugins / name, tmp_path / name)
    shutil.copytree(next(plugins.glob(".cni-plugins-*")), tmp_path / next(plugins.glob(".cni-plugins-*")).name)
    assert (tmp_path / "bridge").stat().st_ino != (tmp_path / "host-local").stat().st_ino
    Caller(node, tmp_path, NETWORK).prime(node.container())
    assert agent.calls("bridge", "ADD") == 1
    assert agent.calls("host-local", "ADD") == 0, "our own delegate was executed"


def _answers(caller: Caller, node: Node) -> Iterator[tuple[str, int, str]]:
    """What the executable answers to calls of all sorts."""
    container = node.container("same")
    calls: list[tuple[str, dict[str, Any]]] = [
        ("STATUS", {}), ("ADD", {}), ("ADD", {}), ("CHECK", {}), ("GC", {"cni.dev/valid-attachments": "none"}), ("DEL", {}), ("DEL", {}),
        ("ADD", {"mtu": -5}), ("ADD", {"cniVersion": "9.9.9"}), ("ADD", {"ipam": {"type": "missing"}}), ("NONSENSE", {}), ("VERSION", {}),
        ("ADD", {"cniVersion": "0.2.0"}), ("DEL", {"cniVersion": "0.2.0"}),
    ]  # fmt: skip
    for verb, keys in calls:
        outcome = Caller(node, caller.directory, {**caller.conf, **keys}).run(verb, container)
        yield verb, outcome.code, outcome.stdout
    for stdin in (b"", b"{", b"[]", b"\xff"):
        outcome = caller.run("ADD", container, stdin=stdin)
        yield "ADD", outcome.code, outcome.stdout


def test_answers_are_the_same_to_the_byte_with_and_without_an_agent(plugins: Path, root: None) -> None:
    found = []
    for with_agent in (False, True):
        with Node() as node:
            caller = Caller(node, plugins, NETWORK)
            if with_agent:
                with Agent(node, plugins) as agent:
                    answers = list(_answers(caller, node))
                    assert agent.calls("bridge", "ADD") > 4
            else:
                answers = list(_answers(caller, node))
            # The kernel draws the bridge's address.
            found.append([(verb, code, re.sub(r'"name":"cbr0","mac":"[^"]*"', '"name":"cbr0"', text)) for verb, code, text in answers])
    assert found[0] == found[1]


@pytest.mark.parametrize("who", ["another user", "another mount namespace", "another network namespace", "root of the node"])
def test_only_root_of_the_node_itself_may_speak(agent: Agent, node: Node, who: str) -> None:
    with node.inside():
        RUN_DIR.chmod(0o711)
        path = agent.path
        path.chmod(0o666)
    script = f"""if True:
        import os, socket, sys
        who = sys.argv[1]
        channel = socket.socket(socket.AF_UNIX)
        if who == "another user":
            os.setresuid(65534, 65534, 65534)
        channel.settimeout({TIMEOUT})
        channel.connect({str(path)!r})
        try:
            channel.sendall(b"\\1")
            print(channel.recv(1) == b"\\2")
        except ConnectionError:
            print(False)
    """
    wrap = {"another mount namespace": ["unshare", "--mount"], "another network namespace": ["unshare", "--net"]}.get(who, [])
    done = node.run([*wrap, "python3", "-I", "-c", script, who])
    assert done.stdout.strip() == str(who == "root of the node"), done
    assert agent.metrics()["cni_refused_peers_total"] == (who != "root of the node")


def test_a_caller_whose_agent_is_full_serves_itself(node: Node, plugins: Path, caller: Caller) -> None:
    with Agent(node, plugins, "--workers", "1") as agent:
        with node.inside():
            occupant = agent.connect()
        with occupant:
            container = node.container()
            caller.add(container)
            caller.delete(container)
        assert agent.calls("bridge", "ADD") == 0


def test_connections_that_never_speak_are_closed_and_others_are_served(node: Node, plugins: Path, caller: Caller) -> None:
    with Agent(node, plugins, "--workers", "2") as agent:
        with node.inside():
            silent = [agent.connect() for _ in range(2)]
        for channel in silent:
            with channel:
                assert channel.recv(1) == b""
        caller.prime(node.container())
        assert agent.calls("bridge", "ADD") == 1


def test_a_caller_whose_agent_is_silent_serves_itself(agent: Agent, node: Node, caller: Caller) -> None:
    container = node.container()
    agent.process.send_signal(signal.SIGSTOP)
    caller.add(container)
    caller.delete(container)
    agent.process.send_signal(signal.SIGCONT)
    assert agent.calls("bridge", "ADD") == 0


def test_every_call_comes_to_its_end_when_the_agent_is_killed(node: Node, plugins: Path, caller: Caller, nothing_left: NothingLeft) -> None:
    caller.prime(node.container("primer"))
    containers = [node.container(f"pod{number}") for number in range(20)]

    def life(number: int) -> list[tuple[int, str]]:
        outcomes = [caller.run(verb, containers[number]) for verb in ("ADD", "DEL") * 5]
        return [(outcome.code, outcome.stdout) for outcome in outcomes]

    with nothing_left(node), ThreadPoolExecutor(8) as pool:
        lives = [pool.submit(life, number) for number in range(len(containers))]
        chance, deaths = random.Random(5), 0
        while not all(one.done() for one in lives):
            with Agent(node, plugins) as agent:
                enough = chance.randrange(1, 12)
                while agent.calls("bridge", "ADD") < enough and not all(one.done() for one in lives):
                    pass  # each look asks the agent and waits for its answer
                agent.process.kill()
                deaths += 1
        with Agent(node, plugins):
            pass  # takes the dead one's socket away
        outcomes = [outcome for one in lives for outcome in one.result()]
    assert len(outcomes) == 200
    assert deaths > 2
    assert [outcome for outcome in outcomes if outcome[0]] == []


def test_a_terminated_caller_s_add_is_undone_by_the_agent(
    agent: Agent, node: Node, plugins: Path, *, tmp_path: Path, nothing_left: NothingLeft
) -> None:
    caller = Caller(node, plugins, NETWORK)
    caller.prime(node.container("primer"))
    fifo, directory = tmp_path / "fifo", tmp_path / "bin"
    os.mkfifo(fifo)
    directory.mkdir()
    for plugin in ("bridge", "host-local"):
        (directory / plugin).symlink_to(plugins / plugin)
    (directory / "blocking").write_text(BLOCKING_IPAM.format(fifo=fifo))
    (directory / "blocking").chmod(0o755)
    container = node.container()
    with nothing_left(node):
        blocked = Caller(node, directory, {**NETWORK, "ipam": {"type": "blocking"}, "ipMasq": False})
        call = blocked.start("ADD", container)
        assert fifo.read_text() == "begun\n"
        call.signal_after(0, signal.SIGTERM)  # ends the delegate that the call waits for, too
        outcome = call.end()
    assert outcome.error["code"] == 11, outcome
    assert "ended by signal 15" in outcome.error["msg"]
    assert outcome.stderr == "asked for an address\n", "what a delegate says goes where the executable's own words would"
    assert agent.calls("bridge", "ADD") == 2


def test_what_a_firewall_s_reload_took_is_put_back(agent: Agent, node: Node, caller: Caller) -> None:
    containers = [node.container(f"pod{number}") for number in range(5)]
    results = {container: caller.add(container) for container in containers}
    before = node.run(["nft", "list", "ruleset"]).stdout
    assert "cni_plugins" in before
    node.run(["nft", "flush", "ruleset"])
    assert "of 5 attachments" in agent.wait_for("put back")
    after = node.run(["nft", "list", "ruleset"]).stdout
    assert sorted(re.findall(r"10\.\d+\.\d+\.\d+ comment \"[^\"]*\"", after)) == sorted(
        re.findall(r"10\.\d+\.\d+\.\d+ comment \"[^\"]*\"", before)
    )
    for container, result in results.items():
        outcome = Caller(node, caller.directory, {**caller.conf, "prevResult": result}).run("CHECK", container)
        assert outcome.code == 0, outcome


def test_there_is_one_agent_to_a_node(agent: Agent, node: Node, plugins: Path) -> None:
    second = node.run([plugins / "cni-agent", "--foreground"], check=False)
    assert second.returncode == 1
    assert "an agent is running already" in second.stderr
    assert agent.metrics()["cni_refused_peers_total"] == 0, "the first one goes on"


def test_an_agent_that_was_killed_is_replaced(node: Node, plugins: Path, caller: Caller) -> None:
    with Agent(node, plugins) as first:
        first.process.kill()
        first.process.wait()
    with Agent(node, plugins) as second:
        caller.prime(node.container())
        assert second.calls("bridge", "ADD") == 1


def test_the_first_call_starts_an_agent_under_systemd(node: Node, plugins: Path, caller: Caller) -> None:
    (contents,) = plugins.glob(".cni-plugins-*")
    build = contents.name.removeprefix(".cni-plugins-")
    with node.inside():
        RUN_DIR.mkdir(mode=0o700)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(handover.socket_path(str(RUN_DIR), build))
        listening.listen(8)
    container = node.container()
    with listening, ThreadPoolExecutor(1) as pool:
        adding = pool.submit(caller.add, container)
        start = f"""if True:
            import os
            os.dup2({listening.fileno()}, 3)
            os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
            os.execv("{plugins}/cni-agent", ["cni-agent", "--foreground"])
        """
        with node.inside():
            process = subprocess.Popen(["python3", "-I", "-c", start], pass_fds=[listening.fileno()])
        try:
            adding.result()
            caller.delete(container)
        finally:
            process.terminate()
        assert process.wait(TIMEOUT) == 0
    with node.inside():
        assert list(RUN_DIR.glob("agent-*.sock")), "the socket is systemd's: it stays"


def test_people_are_shown_what_the_agent_has_done(agent: Agent, node: Node, plugins: Path, caller: Caller) -> None:
    caller.prime(node.container())
    shown = node.run([plugins / "cni-agent", "--status"]).stdout
    assert re.search(r"bridge +ADD +1 +0\n", shown), shown
    assert re.search(r"ADD +work +\d", shown), shown


def test_status_without_an_agent_says_so(node: Node, plugins: Path) -> None:
    done = node.run([plugins / "cni-agent", "--status"], check=False)
    assert done.returncode == 1
    assert "no agent of this build is running" in done.stderr
