"""The caller goes away at every step of the hand-over: nothing is begun, or what was begun is undone."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from cni_plugins import handover
from conformance import ledger
from tests.netns.agent.cuts import Caller
from tests.netns.plugins.networks import full_bridge, network
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.shared import SHARED

CONFIGURATIONS = {"bridge": full_bridge(), "host-local": network("host-local")}
STEPS = ("before anything", "before it was ready", "before the request", "in half a request", "after the request", "at the answer")


@pytest.fixture(params=list(CONFIGURATIONS))
def conf(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A network's configuration."""
    return CONFIGURATIONS[request.param]


def cut(ours: socket.socket, call: handover.Call, node: Node, step: str) -> None:
    """Behave like a caller until a step, and be gone."""
    with ours:
        if step == STEPS[0]:
            return
        ours.send(handover.CALL)
        if step == STEPS[1]:
            return
        assert ours.recv(1) == handover.READY
        if step == STEPS[2]:
            return
        if step == STEPS[3]:
            ours.send(call.encode(0o22)[:20])
            return
        with node.inside():
            assert handover.hand_over(ours, call)
        if step == STEPS[5]:
            assert ours.recv(1) == handover.ANSWER


@pytest.mark.parametrize("step", STEPS)
def test_an_add_whose_caller_is_gone_leaves_nothing(conf: dict[str, Any], node: Node, pod: Container, tmp_path: Path, *, step: str) -> None:
    caller = Caller(node, tmp_path)
    add, delete = (caller.call(verb, conf, pod) for verb in ("ADD", "DEL"))
    assert caller.here(add).code == caller.here(delete).code == 0
    before = node.ledger()
    ours, agent = caller.in_thread(_serving)
    cut(ours, add, node, step)
    agent.join()
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


def _serving(channel: socket.socket) -> None:
    from tests.netns.agent.cuts import session

    try:
        session(channel)
    except AssertionError:  # it said nothing at all
        pass


@pytest.mark.parametrize(("reply", "code"), [(handover.ENDED + b"\x0f", 11), (handover.FAILED + b"\x20", 100)])
def test_an_add_whose_answer_was_not_wanted_is_undone_and_says_so(
    conf: dict[str, Any], node: Node, pod: Container, tmp_path: Path, *, reply: bytes, code: int
) -> None:
    caller = Caller(node, tmp_path)
    add, delete = (caller.call(verb, conf, pod) for verb in ("ADD", "DEL"))
    assert caller.here(add).code == caller.here(delete).code == 0
    before = node.ledger()
    ours, agent = caller.in_thread()
    answers: list[bytes] = []

    def deliver(answer: bytes) -> None:
        answers.append(answer)
        if len(answers) == 1 and reply.startswith(handover.FAILED):
            raise OSError(reply[1], "")

    came = [15] if reply.startswith(handover.ENDED) else []
    with ours:
        ours.send(handover.CALL)
        assert ours.recv(1) == handover.READY
        with node.inside():
            assert handover.hand_over(ours, add)
        status = handover.serve(ours, add, deliver, ended=lambda: came.pop() if came else 0)
    agent.join()
    assert status == 1
    assert f'"code":{code}'.encode() in answers[-1]
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


def test_the_call_is_served_in_the_caller_s_own_directory(
    node: Node, pod: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    caller = Caller(node, tmp_path)
    call = caller.call("ADD", network("host-local", logFile="calls.log"), pod)
    ours, agent = caller.in_thread()
    with ours:
        ours.send(handover.CALL)
        assert ours.recv(1) == handover.READY
        with node.inside():
            assert handover.hand_over(ours, call)
        assert handover.serve(ours, call, lambda answer: None, ended=lambda: 0) == 0
    agent.join()
    assert "host-local ADD" in (tmp_path / "calls.log").read_text()
