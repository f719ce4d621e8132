"""Collections of the Kubernetes API that are watched, while the API server is restarted, forgetful, or says no."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.agent import watching
from cni_plugins.agent.watching import Watched
from cni_plugins.kernel.https import Server
from multus_lite import kubeconfig
from tests.lab.machine import wait_for
from tests.netns.multus_lite.api_server import ApiServer

PODS = "/api/v1/pods"
SECONDS = 60
"""More than anything here takes on any machine."""


class Ear:
    """A watch of the pods, and what it tells."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: queue.Queue[tuple[str, str | None]] = queue.Queue()
        self.watched = Watched(self.server, PODS, changed=self.changed)

    def server(self) -> Server:
        """What the kubeconfig says now."""
        found = kubeconfig.server(str(self.path), {})
        assert found
        return found

    def changed(self, namespace: str, name: str, found: dict[str, Any] | None) -> None:
        """Called by the watch."""
        self.heard.put((f"{namespace}/{name}", found["metadata"]["uid"] if found else None))

    def next(self) -> tuple[str, str | None]:
        """What is told next: whose pod it is, and its UID, None when it is gone."""
        return self.heard.get(timeout=SECONDS)

    def wait_until_synced(self) -> None:
        """Until memory is certain."""
        wait_for(lambda: self.watched.synced, "it is never certain", seconds=SECONDS)


@pytest.fixture
def ear(api: ApiServer, tmp_path: Path) -> Iterator[Ear]:
    """A watch that hears of the pod default/web first."""
    api.watchable = True
    ear = Ear(tmp_path / "kubeconfig")
    ear.watched.start()
    yield ear
    ear.watched.stop()


def test_objects_are_known_as_they_come_change_and_go(api: ApiServer, ear: Ear) -> None:
    assert ear.next() == ("default/web", "uid-1")
    api.pod("db", "other", uid="uid-2")
    assert ear.next() == ("other/db", "uid-2")
    api.pod("db", "other", uid="uid-3")
    assert ear.next() == ("other/db", "uid-3")
    ear.wait_until_synced()
    found = ear.watched.get("other", "db")
    assert found
    assert found["metadata"]["uid"] == "uid-3"
    api.remove("db", "other")
    assert ear.next() == ("other/db", None)
    assert ear.watched.get("other", "db") is None


def test_watch_that_ends_is_resumed_where_it_was(api: ApiServer, ear: Ear) -> None:
    assert ear.next() == ("default/web", "uid-1")
    api.pod("db", uid="uid-2")
    assert ear.next() == ("default/db", "uid-2")
    api.history.end_watches()
    api.pod("db", uid="uid-3")
    assert ear.next() == ("default/db", "uid-3")
    assert [one for one in api.watches if "watch=" not in one] == [f"{PODS}?limit=250"]
    assert ear.heard.empty()


def test_server_that_has_forgotten_is_listed_anew_and_what_is_as_it_was_is_not_told_again(api: ApiServer, ear: Ear) -> None:
    assert ear.next() == ("default/web", "uid-1")
    for number, name in enumerate(("db", "still"), 2):
        api.pod(name, uid=f"uid-{number}")
        assert ear.next() == (f"default/{name}", f"uid-{number}")
    port = api.port
    api.stop()
    api.pod("web", uid="uid-4")
    api.remove("db")
    api.pod("new", uid="uid-5")
    api.history.oldest = api.history.version
    api.start(port)
    told = [ear.next(), ear.next(), ear.next()]
    assert sorted(told, key=str) == [("default/db", None), ("default/new", "uid-5"), ("default/web", "uid-4")]
    ear.wait_until_synced()
    assert ear.heard.empty()


@pytest.mark.parametrize("how", ["forgets", "forbids", "ends"])
def test_server_that_ends_every_watch_at_once_is_not_asked_in_a_hot_loop(
    api: ApiServer, ear: Ear, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    assert ear.next() == ("default/web", "uid-1")
    pauses: queue.Queue[float] = queue.Queue()
    take = ear.watched._pauses.pause

    def pause() -> float:
        pauses.put(found := take())
        return found

    monkeypatch.setattr(ear.watched._pauses, "pause", pause)
    if how == "forgets":
        api.history.oldest = 1 << 30
    elif how == "forbids":
        api.watchable = False
    else:
        monkeypatch.setattr(api.history, "since", lambda version, kind: ())
    api.history.end_watches()
    seen = [pauses.get(timeout=SECONDS) for _ in range(6)]
    assert seen[-1] > 4 * seen[0]


def test_broken_watch_is_not_certain_and_nothing_is_forgotten(api: ApiServer, ear: Ear) -> None:
    assert ear.next() == ("default/web", "uid-1")
    ear.wait_until_synced()
    port = api.port
    api.stop()
    wait_for(lambda: not ear.watched.synced, "it does not notice", seconds=SECONDS)
    assert ear.watched.get("default", "web")
    api.start(port)
    ear.wait_until_synced()
    assert ear.heard.empty()


def test_memory_is_not_certain_while_something_that_has_come_waits_to_be_taken_in(api: ApiServer, ear: Ear) -> None:
    assert ear.next() == ("default/web", "uid-1")
    ear.wait_until_synced()
    begun, go_on = threading.Event(), threading.Event()

    def linger(*_: Any) -> None:
        begun.set()
        go_on.wait(SECONDS)

    ear.watched._changed = linger
    api.pod(uid="uid-2")
    assert begun.wait(SECONDS)
    assert not ear.watched.synced
    api.pod(uid="uid-3")
    go_on.set()

    def known() -> str:
        found = ear.watched.get("default", "web")
        return found["metadata"]["uid"] if found else ""

    wait_for(lambda: known() == "uid-3" and ear.watched.synced, "it does not catch up", seconds=SECONDS)


def test_memory_is_not_certain_while_a_watch_may_still_tell_of_what_was_before(
    api: ApiServer, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SETTLED_SECONDS", 3600)
    assert ear.next() == ("default/web", "uid-1")
    api.pod(uid="uid-2")
    assert ear.next() == ("default/web", "uid-2")
    wait_for(lambda: ear.watched._stream and ear.watched._stream.caught_up, "it does not catch up", seconds=SECONDS)
    assert not ear.watched.synced


def test_right_that_is_lacking_is_told_once_and_noticed_when_it_is_granted(
    api: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ear = Ear(tmp_path / "kubeconfig")
    ear.watched.start()
    wait_for(lambda: len(api.watches) > 3, "it does not try again", seconds=SECONDS)
    api.watchable = True
    ear.wait_until_synced()
    ear.watched.stop()
    assert [record.message for record in caplog.records] == [
        f"cannot watch {PODS}: 403: pods is forbidden", f"watching {PODS}",
    ]  # fmt: skip


def test_credentials_are_read_for_each_connection(api: ApiServer, ear: Ear) -> None:
    assert ear.next() == ("default/web", "uid-1")
    ear.wait_until_synced()
    api.kubeconfig(ear.path, user={"token": "yesterdays"})
    ear.watched.renew()
    wait_for(lambda: ear.watched._trouble.startswith("401"), "old credentials are used", seconds=SECONDS)
    assert not ear.watched.synced
    api.kubeconfig(ear.path)
    ear.watched.renew()
    ear.wait_until_synced()


@pytest.mark.parametrize("silent", [False, True])
def test_it_can_be_stopped_at_any_time(api: ApiServer, ear: Ear, *, silent: bool) -> None:
    assert ear.next() == ("default/web", "uid-1")
    if silent:
        api.hold.set()
        api.history.end_watches()
        wait_for(lambda: api.held, "it does not come back", seconds=SECONDS)
    ear.watched.stop()
    assert not ear.watched.synced
