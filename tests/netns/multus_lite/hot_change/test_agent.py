"""An agent that is told to has the networks of running pods follow their annotations: pods are watched, and changed when they differ."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from cni_plugins.agent.conf import read
from cni_plugins.agent.hot_change import HotChange
from cni_plugins.agent.server import Server
from cni_plugins.agent.warm import Warm
from cni_plugins.plan.locks import AttachmentLock
from cni_plugins.protocol.attachment import Attachment
from cni_plugins.protocol.errors import CniError
from conformance import ledger
from tests.netns.multus_lite.hot_change.changing import RUN_DIR, Changing
from tests.netns.multus_lite.scene import SHARED, links
from tests.support.node import Node

ON = "[multus]\nhotChange = true\n"
NET_D = Path("/etc/cni/net.d")
PATIENCE = 60


def wait_for(reached: Callable[[], bool], what: str) -> None:
    """Wait until something has happened. Raises AssertionError when it does not."""
    latest = monotonic() + PATIENCE
    while not reached():
        assert monotonic() < latest, what
        sleep(0.02)


class Agent:
    """The agent's part that makes changes, on the node of `changing`."""

    def __init__(self, changing: Changing) -> None:
        self.changing = changing
        scene = changing.scene
        conf = {"cniVersion": "1.1.0", "name": "multi", "plugins": [scene.conf()]}
        (NET_D / "10-multi.conflist").write_text(json.dumps(conf))
        self.start()

    def start(self) -> None:
        """Begin."""
        with self.changing.scene.node.inside():
            self.warm = Warm()
            self.hot_change = HotChange(self.warm, run_dir=RUN_DIR, executable=self.changing.scene.plugins._executable)
            self.hot_change.start()

    def stop(self) -> None:
        """End it, as an agent ends."""
        self.hot_change.stop()
        self.warm.close()

    def has(self, *interfaces: str) -> None:
        """Wait until the pod is told that it has these besides eth0."""
        wait_for(lambda: set(self.changing.status) == {"eth0", *interfaces}, f"{self.changing.status} is not {interfaces}")


@pytest.fixture
def changing(changing: Changing) -> Changing:
    """An API server that lets its pods be watched."""
    changing.api.watchable = True
    return changing


@pytest.fixture
def agent(changing: Changing) -> Iterator[Agent]:
    """An agent that has begun."""
    agent = Agent(changing)
    yield agent
    agent.stop()


def test_pod_gains_and_loses_networks_while_it_runs(changing: Changing, agent: Agent) -> None:
    before = changing.scene.node.ledger()
    changing.add("")
    changing.api.annotate("two, three")
    agent.has("net1", "net2")
    changing.api.annotate("three")
    agent.has("net2")
    assert links(changing.scene.pod) == {"eth0": ["10.1.0.2/24"], "net2": ["10.3.0.2/24"]}
    changing.scene.good("DEL")
    assert ledger.diff(before, changing.scene.node.ledger(), ignore=SHARED) == []


def test_what_changed_while_no_agent_ran_is_found_when_one_starts(changing: Changing) -> None:
    changing.add("two")
    changing.api.annotate("three")
    agent = Agent(changing)
    wait_for(lambda: changing.status.get("net1", ("",))[0] == "default/three", "nothing was changed")
    agent.stop()
    changing.api.annotate("three, two")
    agent.start()
    agent.has("net1", "net2")
    agent.stop()


def test_what_changed_before_it_was_switched_on_is_found_by_a_running_agent(changing: Changing, agent: Agent) -> None:
    changing.add("two")
    agent.hot_change.stop()
    changing.api.annotate("three")
    with changing.scene.node.inside():
        agent.hot_change = HotChange(agent.warm, run_dir=RUN_DIR, executable=changing.scene.plugins._executable)
        agent.hot_change.start()
    wait_for(lambda: changing.status["net1"][0] == "default/three", "nothing was changed")


def test_failure_is_told_and_a_better_annotation_tried_at_once(changing: Changing, agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    changing.add("two")
    changing.api.annotate("two, missing")
    wait_for(lambda: any(reason == "FailedNetwork" for reason, _ in changing.told), "no event")
    said = f"pod default/web (multi/{changing.scene.pod.id}/eth0): its networks are not changed: there is no"
    wait_for(lambda: said in caplog.text, "no log")
    assert set(links(changing.scene.pod)) == {"eth0", "net1"}
    changing.api.annotate("two, three")
    agent.has("net1", "net2")


def test_failure_that_passes_is_tried_again(changing: Changing, agent: Agent) -> None:
    changing.add("two")
    changing.foreign.answers("ADD")
    changing.api.annotate("foreign")
    wait_for(lambda: any(reason == "FailedNetwork" for reason, _ in changing.told), "no event")
    changing.foreign.answers()
    wait_for(lambda: changing.status["net1"][0] == "default/foreign", "it was not tried again")


def test_pod_that_is_deleted_in_the_middle_of_a_change_leaves_nothing(changing: Changing, agent: Agent) -> None:
    before = changing.scene.node.ledger()
    changing.add("")
    gate = Path("/run/gate")
    changing.foreign.answers("ADD", f'touch {gate}.came; until [ -e {gate} ]; do sleep 0.02; done; echo \'{{"cniVersion":"1.0.0"}}\'')
    changing.api.annotate("two, foreign")
    wait_for(Path(f"{gate}.came").exists, "the change did not begin")
    outcomes: list[Any] = []
    deletion = threading.Thread(target=lambda: outcomes.append(changing.scene.call("DEL").code))
    deletion.start()
    wait_for(lambda: bool(_waiting_for_locks()), "the deletion does not wait")
    assert not outcomes
    gate.touch()
    deletion.join()
    assert outcomes == [0]
    for path in (gate, Path(f"{gate}.came")):
        path.unlink()
    assert ledger.diff(before, changing.scene.node.ledger(), ignore=(*SHARED, r"node file /etc/cni/.*")) == []


def _waiting_for_locks() -> list[str]:
    file = Path(RUN_DIR, "lock").stat()
    place = f" {os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino} "
    return [line for line in Path("/proc/locks").read_text().splitlines() if "-> OFDLCK" in line and place in line]


def test_change_waits_for_a_call_of_the_runtime(changing: Changing, agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    changing.add("two")
    att = Attachment("multi", changing.scene.pod.id, "eth0")
    with changing.scene.node.inside(), AttachmentLock(RUN_DIR, "multus-lite", att.key):
        changing.api.annotate("three")
        wait_for(lambda: agent.hot_change._pods["default", "web"].asked[1] == "three", "it was not heard of")
        caplog.clear()
        wait_for(lambda: "later: " in caplog.text, "it was not tried, or not again")
        assert changing.status["net1"][0] == "default/two"
    wait_for(lambda: changing.status["net1"][0] == "default/three", "it was not tried again")


def test_agent_that_ends_undoes_the_change_that_a_plugin_does_not_finish(changing: Changing) -> None:
    changing.add("two")
    before = changing.scene.node.ledger()
    agent = Agent(changing)
    came = Path("/run/came")
    changing.foreign.answers("ADD", f"touch {came}; exec sleep 1000")
    changing.api.annotate("two, three, foreign")
    wait_for(came.exists, "the change did not begin")
    changing.foreign.answers()
    agent.stop()
    came.unlink()
    assert ledger.diff(before, changing.scene.node.ledger(), ignore=(*SHARED, r"node file /etc/cni/.*")) == []
    assert set(changing.status) == {"eth0", "net1"}


@pytest.mark.parametrize(("text", "wanted"), [("", False), ("[multus]\n", False), (ON, True)])
def test_it_is_off_unless_it_is_switched_on(text: str, wanted: bool, node: Node, tmp_path: Path) -> None:
    def running() -> bool:
        return any(thread.name == "hot change" for thread in threading.enumerate())

    file = tmp_path / "agent.toml"
    file.write_text(text)
    with node.inside(), socket.socket(socket.AF_UNIX) as listening:
        listening.bind("/run/agent.sock")
        listening.listen()
        server = Server(listening, run_dir=Path(RUN_DIR), workers=1, conf=read(file))
        server.start()
        assert running() is wanted
        file.write_text("")
        server.configure(read(file))
        assert not running()
        file.write_text(ON)
        server.configure(read(file))
        assert running()
        server.stop()
    assert not running()


def test_switch_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("[multus]\nhotChange = 1\n")
    with pytest.raises(CniError, match=r"agent.toml: multus.hotChange: .* \(got 1\)"):
        read(tmp_path / "agent.toml")
