"""An API server that is busy, silent, away, or says no, and pods that change meanwhile; see api_server.py."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import pytest

from conformance import ledger
from tests.netns.multus_lite.api_server import ApiServer
from tests.netns.multus_lite.scene import SHARED, STATE, Scene, chain, links, states


@pytest.mark.parametrize("gone", ["missing", "another", "refused"])
def test_container_of_a_pod_that_is_gone_gets_no_network(api: ApiServer, scene: Scene, gone: str) -> None:
    if gone == "missing":
        api.pods.clear()
    elif gone == "another":
        api.pod(uid="uid-2")
    else:
        api.unwell = [("GET", 403)]
    before = scene.node.ledger()
    assert scene.call("ADD").error["code"] == (7 if gone == "refused" else 11)
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []
    scene.good("DEL")


def test_mirror_of_a_static_pod_has_a_uid_of_its_own(api: ApiServer, scene: Scene) -> None:
    api.pod(uid="mirror", **{"kubernetes.io/config.source": "file"})
    scene.good("ADD")
    assert api.status()


def test_server_that_is_busy_is_asked_again(api: ApiServer, scene: Scene) -> None:
    api.unwell = [("GET", 503), ("GET", 0), ("GET", 429), ("PATCH", 500)]
    scene.good("ADD")
    assert api.status()
    assert api.unwell == []


@pytest.mark.parametrize("how", ["silent", "not there", "busy"])
def test_add_never_waits_longer_for_the_api_than_it_may(api: ApiServer, scene: Scene, how: str) -> None:
    if how == "silent":
        api.hold.set()
    elif how == "not there":
        api.stop()
    else:
        api.unwell = [("GET", 503)] * 1000
    before = scene.node.ledger()
    begun = monotonic()
    error = scene.call("ADD", apiTimeout=1).error
    assert error["code"] == 11
    assert "did not answer GET /api/v1/namespaces/default/pods/web" in error["msg"]
    assert monotonic() - begun < 30  # and not the minutes that TCP waits
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []
    if how == "not there":
        api.start()


@pytest.mark.parametrize("status", [403, 409, 422, 500])
def test_failure_to_write_the_status_undoes_everything(api: ApiServer, scene: Scene, status: int) -> None:
    api.define("two", chain(2))
    api.annotate("two")
    api.unwell = [("PATCH", status)] * 1000
    before = scene.node.ledger()
    assert "PATCH" in scene.call("ADD", apiTimeout=3).error["msg"]
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


def test_pod_that_vanishes_while_it_is_attached_is_no_failure(api: ApiServer, scene: Scene) -> None:
    api.unwell = [("PATCH", 404)]
    scene.good("ADD")


def test_event_that_cannot_be_written_fails_nothing(api: ApiServer, scene: Scene) -> None:
    api.unwell = [("POST", 403)]
    scene.good("ADD")


@pytest.mark.parametrize("reachable", [True, False])
def test_delete_of_an_attachment_whose_state_is_lost_asks_for_the_pod_if_it_can(api: ApiServer, scene: Scene, *, reachable: bool) -> None:
    api.define("two", chain(2))
    api.annotate("two")
    before = scene.node.ledger()
    scene.good("ADD")
    for path in (*STATE.rglob("*"), *Path("/run/cni-plugins/records").iterdir()):
        if path.is_file() and path.suffix != ".host-local":
            path.unlink()
    if not reachable:
        api.stop()
    log = Path("/run/multus.log")
    scene.good("DEL", logFile=str(log), logToStderr=False)
    assert not states()
    if reachable:
        assert ledger.diff(before, scene.node.ledger(), ignore=(*SHARED, "node file /run/multus.log")) == []
    else:
        assert "did not answer" in log.read_text()
        assert set(links(scene.pod)) == {"net1"}
        api.start()
