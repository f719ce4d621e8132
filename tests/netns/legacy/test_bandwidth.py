"""Limits and the reference: what either has made the other takes away, and what the reference loses or leaks is not lost or leaked here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.legacy import bandwidth
from conformance import ledger
from tests.netns.plugins.bandwidth.shaped import BOTH, IFB, RECEIVE, SEND, conf, ifbs, pair, qdiscs, redirected
from tests.netns.plugins.networks import network
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.shared import SHARED

Call = Callable[..., Any]


@pytest.fixture
def plugins(node: Node, tmp_path: Path) -> InProcess:
    """Ours, called in process on the node."""
    return InProcess(node, tmp_path)


@pytest.fixture
def pod(node: Node) -> Container:
    """A container with an interface of somebody else's."""
    pod = node.container("pod")
    pair(pod)
    return pod


@pytest.fixture
def theirs(node: Node, reference_bin: Path) -> Call:
    """The reference's bandwidth, or another of its plugins."""

    def call(verb: str, conf: dict[str, Any], container: Container, ifname: str = "eth0", *, plugin: str = "bandwidth") -> Any:
        asked = conf | {"cniVersion": "1.0.0"}
        outcome = node.cni(reference_bin / plugin, verb, asked, container=container, ifname=ifname, path=reference_bin)
        assert outcome.code == 0, str(outcome)
        return outcome.json if outcome.stdout else None

    return call


@pytest.mark.parametrize("limits", [BOTH, RECEIVE, SEND], ids=["both", "receive", "send"])
def test_ours_and_the_reference_s_limits_are_the_same(
    plugins: InProcess, pod: Container, *, node: Node, theirs: Call, limits: dict[str, Any]
) -> None:
    def state() -> list[Any]:
        found = [(link, [(one["kind"], one.get("options")) for one in qdiscs(node, link)]) for link in ("pod-eth0", *ifbs(node))]
        return [found, redirected(node, "pod-eth0")]

    result = theirs("ADD", conf(pod, **limits), pod)
    reference = state()
    theirs("DEL", conf(pod, **limits), pod)
    for side in ("root", "ingress"):
        node.run(["tc", "qdisc", "delete", "dev", "pod-eth0", side], check=False)
    ours = plugins.good("bandwidth", "ADD", conf(pod, **limits) | {"cniVersion": "1.0.0"}, container=pod)
    assert state() == reference
    for answer in (result, ours):
        for one in answer["interfaces"]:
            one.pop("mac", None)
    assert ours == result


@pytest.mark.parametrize("limits", [BOTH, SEND], ids=["both", "send"])
@pytest.mark.parametrize("netns", ["there", "vanished"])
def test_what_the_reference_made_is_checked_and_taken_away(
    plugins: InProcess, pod: Container, *, node: Node, theirs: Call, limits: dict[str, Any], netns: str
) -> None:
    before = node.ledger()
    made = conf(pod, **limits)
    result = theirs("ADD", made, pod)
    plugins.good("bandwidth", "CHECK", made | {"prevResult": result}, container=pod)
    environ = {"CNI_NETNS": pod.path, "CNI_CONTAINERID": pod.id, "CNI_IFNAME": "eth0"}
    if netns == "vanished":
        pod.delete()
    plugins.good("bandwidth", "DEL", made | {"prevResult": None}, env=environ)
    assert ifbs(node) == []
    if netns == "there":
        assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


def test_check_sees_what_somebody_did_to_the_reference_s_limits(plugins: InProcess, pod: Container, node: Node, theirs: Call) -> None:
    result = theirs("ADD", conf(pod, **BOTH), pod)
    node.run(["tc", "qdisc", "delete", "dev", IFB, "root"])
    error = plugins("bandwidth", "CHECK", conf(pod, **BOTH) | {"prevResult": result}, container=pod).error
    assert (error["code"], IFB in error["msg"]) == (103, True)


@pytest.mark.parametrize("rate", [1_000_000, 10_000_000])
def test_burst_that_wraps_around_in_the_reference_is_no_drift_there_and_none_here(
    plugins: InProcess, pod: Container, node: Node, *, theirs: Call, rate: int
) -> None:
    limits: dict[str, Any] = {"ingressRate": rate, "ingressBurst": 0xFFFFFFFF}
    result = theirs("ADD", conf(pod, **limits), pod)
    plugins.good("bandwidth", "CHECK", conf(pod, **limits) | {"prevResult": result}, container=pod)
    (wrapped,) = qdiscs(node, "pod-eth0")
    node.run(["tc", "qdisc", "delete", "dev", "pod-eth0", "root"])
    plugins.good("bandwidth", "ADD", conf(pod, **limits), container=pod)
    (ours,) = qdiscs(node, "pod-eth0")
    assert ours["options"]["burst"] > wrapped["options"]["burst"]


def test_what_ours_made_the_reference_checks_and_takes_away(plugins: InProcess, pod: Container, node: Node, theirs: Call) -> None:
    made = conf(pod, **BOTH) | {"cniVersion": "1.0.0"}
    result = plugins.good("bandwidth", "ADD", made, container=pod)
    theirs("CHECK", made | {"prevResult": result}, pod)
    theirs("DEL", made | {"prevResult": result}, pod)
    assert ifbs(node) == []
    plugins.good("bandwidth", "DEL", made, container=pod)
    assert qdiscs(node, "pod-eth0") == []


def test_ifb_of_the_reference_stays_while_it_serves_another_interface(plugins: InProcess, pod: Container, node: Node, theirs: Call) -> None:
    pair(pod, "eth1", number=10)
    theirs("ADD", conf(pod, **SEND), pod)
    plugins.good("bandwidth", "ADD", conf(pod, "eth1", **SEND), container=pod, ifname="eth1")
    (own,) = redirected(node, "pod-eth1")
    assert ifbs(node) == sorted([IFB, own])
    node.run(["rm", "-r", "/run/cni-plugins/records"])
    plugins.good("bandwidth", "DEL", conf(pod, "eth1", **SEND), container=pod, ifname="eth1")
    plugins.good("bandwidth", "DEL", conf(pod, "eth1", **SEND), container=pod, ifname="eth1")
    assert ifbs(node) == redirected(node, "pod-eth0") == [IFB]
    plugins.good("bandwidth", "DEL", conf(pod, **SEND), container=pod)
    assert ifbs(node) == []


def test_ifb_that_a_failed_add_of_the_reference_left_goes_with_del(plugins: InProcess, pod: Container, node: Node, theirs: Call) -> None:
    node.run(["tc", "qdisc", "add", "dev", "pod-eth0", "ingress"])
    with pytest.raises(AssertionError):
        theirs("ADD", conf(pod, **SEND), pod)
    assert ifbs(node) == [IFB]
    plugins.good("bandwidth", "DEL", conf(pod, **SEND), container=pod)
    assert ifbs(node) == []


@pytest.mark.parametrize("plugin", ["bridge", "ptp"])
def test_behind_the_reference_s_plugins(plugins: InProcess, node: Node, *, theirs: Call, plugin: str) -> None:
    pod = node.container("bare")
    first = network(plugin, isGateway=True if plugin == "bridge" else None)
    before = theirs("ADD", first, pod, plugin=plugin)
    behind = network("bandwidth", version="1.0.0", prevResult=before, **BOTH)
    result = plugins.good("bandwidth", "ADD", behind, container=pod)
    plugins.good("bandwidth", "CHECK", behind | {"prevResult": result}, container=pod)
    pod.run(["ping", "-n", "-c1", "-w30", before["ips"][0]["gateway"]])
    plugins.good("bandwidth", "DEL", behind | {"prevResult": result}, container=pod)
    theirs("DEL", first | {"prevResult": result}, pod, plugin=plugin)
    assert ifbs(node) == []


def test_name_is_the_one_that_the_reference_computes() -> None:
    assert bandwidth.ifb_name("cni-plugin-bandwidth-test", "dummy") == "bwpa8eda89404b7"
