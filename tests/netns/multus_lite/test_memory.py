"""An agent that knows pods and definitions by watching: calls get what the API would answer, which is asked where that is not certain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni_plugins.agent.memory import DEFINITIONS, PODS
from cni_plugins.agent.watching import Watched
from cni_plugins.kernel import calls
from cni_plugins.kernel.https import Connection
from tests.lab.machine import wait_for
from tests.netns.multus_lite.api_server import ApiServer
from tests.netns.multus_lite.certificates import Certificates
from tests.netns.multus_lite.scene import ARGS, Scene, chain, links
from tests.support.inprocess import InProcess
from tests.support.node import Node

POD = "GET /api/v1/namespaces/default/pods/web"
TWO = "GET /apis/k8s.cni.cncf.io/v1/namespaces/default/network-attachment-definitions/two"
SECONDS = 60


class Watching:
    """A scene whose calls go through an agent, and the API server that the agent watches. The pod default/web wants the network `two`."""

    def __init__(self, scene: Scene, api: ApiServer) -> None:
        self.scene = scene
        self.api = api
        api.watchable = True
        api.define("two", chain(2))
        api.annotate("two")

    def settle(self) -> None:
        """Let the agent hear of the API server by a first call, and wait until it is certain of what it has heard since."""
        self.scene.good("ADD", self.scene.other)
        self.wait()
        self.scene.good("DEL", self.scene.other)
        self.api.asked.clear()

    def wait(self) -> None:
        """Until the agent has heard everything, and is certain."""
        wait_for(self._knows, "the agent is never certain", seconds=SECONDS)

    @property
    def certain(self) -> bool:
        """Whether the agent is certain of all that it knows."""
        return all(one.synced for one in self.watched)

    @property
    def watched(self) -> tuple[Watched, Watched]:
        """The agent's watches, of pods and of definitions."""
        (cluster,) = self.scene.plugins.warm.memory._clusters.values()
        return cluster._watched[PODS], cluster._watched[DEFINITIONS]

    def _knows(self) -> bool:
        pods, definitions = self.watched
        return self.certain and (pods._objects, definitions._objects) == (self.api.pods, self.api.definitions)

    def known(self, pod: str) -> str:
        """What a pod asks for, as the agent knows it."""
        found = self.watched[0].get("default", pod)
        return found["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"] if found else ""

    def questions(self) -> list[str]:
        """What the API was asked since the last time; the status and events are not questions."""
        asked = [one for one in self.api.asked if one.startswith("GET")]
        self.api.asked.clear()
        return asked


@pytest.fixture
def watching(node: Node, certificates: Certificates, tmp_path: Path) -> Iterator[Watching]:
    """Calls of the agent's, which has no certainty yet."""
    scene = Scene(node, InProcess(node, tmp_path, agent=True))
    node.run(["ip", "link", "set", "lo", "up"])
    api = ApiServer(certificates)
    scene.delegates = scene.delegates[:1]
    scene.keys = {"kubeconfig": str(api.kubeconfig(tmp_path / "kubeconfig")), "apiTimeout": 5}
    scene.args = ARGS
    yield Watching(scene, api)
    scene.plugins.rest()
    api.stop()


def test_pod_and_definition_are_known_and_not_asked_for(watching: Watching) -> None:
    watching.settle()
    watching.scene.good("ADD")
    assert watching.questions() == []
    assert set(links(watching.scene.pod)) == {"eth0", "net1"}
    assert [one["name"] for one in watching.api.status()] == ["net1", "default/two"]


def test_first_call_asks_and_is_not_kept_waiting(watching: Watching) -> None:
    watching.scene.good("ADD")
    assert watching.questions() == [POD, TWO]


def test_definition_that_has_changed_is_followed(watching: Watching) -> None:
    watching.settle()
    watching.api.define("two", chain(3))
    watching.wait()
    watching.scene.good("ADD")
    assert watching.questions() == []
    assert links(watching.scene.pod)["net1"] == ["10.3.0.2/24"]


def test_definition_that_is_not_known_is_asked_for_since_it_may_be_newer(watching: Watching) -> None:
    watching.settle()
    watching.api.definitions["default", "three"] = {"metadata": {"name": "three"}, "spec": {"config": json.dumps(chain(3))}}
    watching.api.annotate("three")
    wait_for(lambda: watching.known("web") == "three" and watching.certain, "the annotation is not heard of", seconds=SECONDS)
    watching.scene.good("ADD")
    assert watching.questions() == [f"{TWO[:-3]}three"]


def test_definition_that_is_gone_is_gone(watching: Watching) -> None:
    watching.settle()
    watching.api.remove("two")
    watching.wait()
    error = watching.scene.call("ADD").error
    assert error["msg"] == "there is no NetworkAttachmentDefinition default/two"
    assert watching.questions() == [TWO]


def test_pod_of_another_uid_is_asked_for(watching: Watching) -> None:
    watching.settle()
    pod = watching.api.pods["default", "web"]
    watching.api.pods["default", "web"] = {"metadata": {**pod["metadata"], "uid": "uid-2", "annotations": {}}}  # nobody has told of it yet
    watching.scene.good("ADD", args=ARGS.replace("uid-1", "uid-2"))
    assert watching.questions() == [POD]
    assert set(links(watching.scene.pod)) == {"eth0"}


def test_pod_is_asked_for_when_the_runtime_does_not_say_which_one_it_means(watching: Watching) -> None:
    watching.settle()
    watching.scene.good("ADD", args=ARGS.replace("K8S_POD_UID=uid-1;", ""))
    assert watching.questions() == [POD]


def test_api_is_asked_for_everything_while_the_watch_is_broken(watching: Watching) -> None:
    watching.settle()
    watching.api.watchable = False
    watching.api.history.end_watches()
    wait_for(lambda: not any(one.synced for one in watching.watched), "it does not notice", seconds=SECONDS)
    watching.scene.good("ADD")
    assert watching.questions() == [POD, TWO]


def test_without_the_right_to_watch_calls_work_and_the_log_says_so_once(watching: Watching, caplog: pytest.LogCaptureFixture) -> None:
    watching.api.watchable = False
    watching.scene.good("ADD", watching.scene.other)
    wait_for(lambda: len(watching.api.watches) > 5, "it does not try again", seconds=SECONDS)
    watching.api.asked.clear()
    watching.scene.good("ADD")
    assert watching.questions() == [POD, TWO]
    told = [record.message for record in caplog.records]
    assert told.count("cannot watch /api/v1/pods: 403: pods is forbidden") == 1
    kind = "network-attachment-definitions"
    assert told.count(f"cannot watch /apis/k8s.cni.cncf.io/v1/{kind}: 403: {kind} is forbidden") == 1


def test_who_shows_other_credentials_gets_the_answer_that_belongs_to_them(watching: Watching) -> None:
    watching.settle()
    path = Path(watching.scene.keys["kubeconfig"])
    watching.api.kubeconfig(path, user={"token": "yesterdays"})
    assert "401" in watching.scene.call("ADD").error["msg"]
    watching.api.kubeconfig(path)
    watching.scene.good("ADD")
    watching.wait()
    watching.scene.good("DEL")
    watching.api.asked.clear()
    watching.scene.good("ADD")
    assert watching.questions() == []


def test_only_pods_of_this_node_are_watched_and_only_what_is_needed_of_them(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_NAME", "node-7")
    watching.settle()
    pods = [one for one in watching.api.watches if one.startswith("/api/v1/pods?")]
    assert pods
    assert all("fieldSelector=spec.nodeName%3Dnode-7" in one for one in pods)


def test_connection_is_kept_from_call_to_call_and_a_server_that_was_restarted_is_no_trouble(watching: Watching) -> None:
    watching.settle()
    made = watching.api.connections
    watching.scene.good("ADD")
    watching.scene.good("ADD", watching.scene.other)
    assert watching.api.connections == made
    port = watching.api.port
    watching.api.stop()
    watching.api.start(port)
    watching.scene.good("DEL")
    watching.scene.good("ADD")
    assert [one["name"] for one in watching.api.status()] == ["net1", "default/two"]


def test_what_a_server_says_unasked_is_not_taken_for_an_answer(watching: Watching) -> None:
    watching.settle()
    idle = watching.scene.plugins.warm.connections._idle
    for channel in watching.api._server.open.copy():
        channel.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    wait_for(lambda: not any(one.at_rest for one in idle), "it does not come", seconds=SECONDS)
    watching.scene.good("ADD")
    assert [one["name"] for one in watching.api.status()] == ["net1", "default/two"]


def test_connection_that_ends_in_the_moment_of_its_next_use_costs_no_pause(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    watching.settle()
    port = watching.api.port
    watching.api.stop()
    watching.api.start(port)
    pauses: list[float] = []
    monkeypatch.setattr(calls, "sleep", pauses.append)
    monkeypatch.setattr(Connection, "at_rest", True)  # as it was a moment before
    watching.scene.good("ADD")
    assert pauses == []


def test_nothing_stays_open_when_the_agent_ends(watching: Watching) -> None:
    watching.settle()
    watching.scene.plugins.rest()
    assert watching.scene.plugins.warm.memory._clusters == {}
    assert watching.scene.plugins.warm.connections._idle == []
