"""Collections of a real Kubernetes API server, watched: what comes is heard, in pages and past a restart of the server."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.agent import watching
from cni_plugins.agent.watching import Watched
from cni_plugins.kernel.https import Server
from multus_lite import kubeconfig
from tests.lab.control_plane import ApiServer
from tests.lab.machine import Machine, wait_for

ADDRESS = "192.168.77.1"
SECONDS = 60


@pytest.fixture(scope="module")
def shared(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One API server for the tests of this module."""
    with Machine("control", tmp_path_factory.mktemp("lab") / "control") as machine:
        machine.ip(f"address add {ADDRESS}/24 dev lo")
        yield ApiServer(machine, ADDRESS)


@pytest.fixture
def api(shared: ApiServer) -> Iterator[ApiServer]:
    """An API server without pods, and the test on its machine."""
    with shared.machine.node.inside():
        yield shared
    shared.kubectl("delete", "pods", "--all", "--force", "--grace-period=0")


class Ear:
    """A watch of the pods of the node `one`, and the names of pods that it tells of, with ! for those that are gone."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._heard: queue.Queue[str] = queue.Queue()
        query = {"fieldSelector": "spec.nodeName=one"}
        self.watched = Watched(self._server, "/api/v1/pods", query=query, brief=True, changed=self._changed)

    def _server(self) -> Server:
        found = kubeconfig.server(self._path, {})
        assert found
        return found

    def _changed(self, namespace: str, name: str, found: dict[str, Any] | None) -> None:
        self._heard.put(name if found else f"{name}!")

    def until(self, name: str) -> list[str]:
        """What is told until this is."""
        heard = [""]
        while heard[-1] != name:
            heard.append(self._heard.get(timeout=SECONDS))
        return heard[1:]


@pytest.fixture
def ear(api: ApiServer) -> Iterator[Ear]:
    """A watch that has not begun."""
    ear = Ear(api.kubeconfig)
    yield ear
    ear.watched.stop()


def pod(name: str, node: str = "one", **annotations: str) -> dict[str, Any]:
    """A pod on a node."""
    spec = {"nodeName": node, "containers": [{"name": "main", "image": "none"}], "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": annotations}, "spec": spec}


def test_pods_of_one_node_are_known_by_their_metadata(api: ApiServer, ear: Ear) -> None:
    api.apply(pod("elsewhere", "two"), pod("here", networks="blue"))
    ear.watched.start()
    assert ear.until("here") == ["here"]
    wait_for(lambda: ear.watched.synced, "it is never certain", seconds=SECONDS)
    real = api.get("pod", "here")["metadata"]
    found = ear.watched.get("default", "here")
    assert found
    assert found["metadata"] == real
    assert "spec" not in found
    api.kubectl("annotate", "pod", "here", "networks=red", "--overwrite")
    ear.until("here")
    assert json.dumps(ear.watched.get("default", "here")).count("red") == 1
    api.kubectl("delete", "pod", "here", "--force", "--grace-period=0")
    ear.until("here!")
    assert ear.watched.get("default", "here") is None


def test_long_list_comes_in_pages(api: ApiServer, ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_PAGE", 2)
    names = [f"pod{number}" for number in range(5)]
    api.apply(*map(pod, names))
    ear.watched.start()
    assert ear.until("pod4") == names


def test_nothing_is_missed_when_the_api_server_restarts_and_has_forgotten_what_happened(api: ApiServer, ear: Ear) -> None:
    api.apply(pod("before"), pod("gone"))
    ear.watched.start()
    ear.until("gone")
    api.machine.run("sh", "-c", "kill -KILL $(cat /run/daemons/kube-apiserver)")
    api.machine.stop("kube-apiserver")
    api._start_api()
    api.apply(pod("after"))
    api.kubectl("delete", "pod", "gone", "--force", "--grace-period=0")
    heard = {*ear.until("after"), *ear.until("gone!")}
    assert "before" not in heard
    wait_for(lambda: ear.watched.synced, "it is never certain again", seconds=SECONDS)


def test_connection_that_dies_without_a_word_is_noticed(api: ApiServer, ear: Ear) -> None:
    ear.watched.start()
    wait_for(lambda: ear.watched.synced, "it is never certain", seconds=SECONDS)
    api.machine.run("nft", "add table inet cut; add chain inet cut in { type filter hook input priority 0; }")
    api.machine.run("nft", "add rule inet cut in tcp dport 6443 drop; add rule inet cut in tcp sport 6443 drop")
    wait_for(lambda: not ear.watched.synced, "it is certain of what it cannot hear", seconds=SECONDS)
    api.machine.run("nft", "delete table inet cut")
    wait_for(lambda: ear.watched.synced, "it is never certain again", seconds=SECONDS)
