"""Nodes whose tuning plugin is swapped while containers live: what the one changed, the other takes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance import ledger
from tests.netns.plugins.tuning.tuned import ALL, HOMES, LINK, MAC, STATE, conf, interface, previous, seen, state
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node

ROUNDS: dict[str, dict[str, Any]] = {key: {key: value} for key, value in LINK.items()} | {"all": LINK, "off": {"allmulti": False}}


class Sides:
    """Ours and the reference's tuning, on one node."""

    def __init__(self, node: Node, ours: InProcess, reference: Path) -> None:
        self.node = node
        self.ours = ours
        self.reference = reference

    def call(self, side: str, verb: str, keys: dict[str, Any], container: Container) -> Any:
        """One call, which must succeed, by "ours" or "theirs"; its result."""
        if side == "ours":
            return self.ours.good("tuning", verb, keys, container=container)
        return self.node.cni(self.reference / "tuning", verb, keys, container=container, path=self.reference).result


@pytest.fixture
def sides(node: Node, tmp_path: Path, reference_bin: Path) -> Sides:
    """Both."""
    return Sides(node, InProcess(node, tmp_path), reference_bin)


@pytest.fixture
def pod(node: Node) -> Container:
    """A container with an interface."""
    return interface(node.container("pod"))


@pytest.mark.parametrize("keys", ROUNDS)
@pytest.mark.parametrize(("first", "second"), [("ours", "theirs"), ("theirs", "ours")])
def test_the_other_one_s_del_restores_the_interface(
    sides: Sides, pod: Container, *, node: Node, first: str, second: str, keys: str
) -> None:
    if keys == "off":
        pod.run(["ip", "link", "set", "eth0", "allmulticast", "on"])
    before = node.ledger()
    sides.call(first, "ADD", conf(pod, **ROUNDS[keys]), pod)
    assert ledger.diff(before, node.ledger(), ignore=(*HOMES, "node .*")) != []
    sides.call(second, "DEL", conf(pod, **ROUNDS[keys]), pod)
    if first == "ours":  # the reference does not know of records
        sides.call("ours", "GC", conf() | {"cni.dev/valid-attachments": []}, pod)
    assert ledger.diff(before, node.ledger(), ignore=HOMES) == []


@pytest.mark.parametrize(("first", "second"), [("ours", "theirs"), ("theirs", "ours")])
def test_the_other_one_s_check_is_content(sides: Sides, pod: Container, first: str, second: str) -> None:
    keys = {**ALL, "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}
    result = sides.call(first, "ADD", conf(pod, **keys), pod)
    sides.call(second, "CHECK", conf(**keys, prevResult=result), pod)


def test_both_answer_the_same_and_set_the_same(sides: Sides, pod: Container, node: Node) -> None:
    before = previous(pod)
    del before["interfaces"][1]["mtu"]
    answers, links = [], []
    for side in ("ours", "theirs"):
        answers.append(sides.call(side, "ADD", conf(**ALL, prevResult=before), pod))
        links.append(seen(pod))
        sides.call(side, "DEL", conf(**ALL, prevResult=before), pod)
    assert answers[0] == answers[1]
    assert links[0] == links[1] == LINK


def test_del_without_prevresult_restores_what_the_reference_changed(sides: Sides, pod: Container, node: Node) -> None:
    before = node.ledger()
    sides.call("theirs", "ADD", conf(pod, **LINK), pod)
    sides.call("ours", "DEL", conf(), pod)
    sides.call("ours", "DEL", conf(), pod)
    assert ledger.diff(before, node.ledger(), ignore=HOMES) == []


def test_vanished_namespace_leaves_no_state_of_the_reference(sides: Sides, pod: Container) -> None:
    sides.call("theirs", "ADD", conf(pod, **LINK), pod)
    pod.delete()
    sides.call("ours", "DEL", conf(), pod)
    assert not list(STATE.iterdir())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"mac": 5, "mtu": "1500", "promisc": 1, "txQLen": true}', '{"mac": "", "mtu": null}'])
def test_damaged_state_of_the_reference_keeps_no_pod_from_going(sides: Sides, pod: Container, text: str) -> None:
    before = seen(pod)
    sides.call("theirs", "ADD", conf(pod, promisc=True), pod)
    state(pod).write_text(text)
    sides.call("ours", "DEL", conf(), pod)
    assert seen(pod) == before | {"promisc": True}
    assert not state(pod).exists()


def test_state_has_what_the_reference_s_would(sides: Sides, pod: Container) -> None:
    written = []
    for side in ("ours", "theirs"):
        sides.call(side, "ADD", conf(pod, **LINK), pod)
        written.append(json.loads(state(pod).read_text()))
        sides.call(side, "DEL", conf(), pod)
    assert written[0].pop("owner").startswith("cni-plugins:")
    assert written[0] == written[1]
    assert written[0]["mac"] != MAC
