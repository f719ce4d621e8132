"""CHECK names every limit that is not as ADD made it, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from conformance import ledger
from tests.netns.plugins.bandwidth.shaped import BOTH, IFB, RECEIVE, SEND, conf, pair
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node

_BUCKET = "root handle 1: tbf burst 100000 limit 125000 rate"
_ELSEWHERE = "tc filter add dev pod-eth0 ingress protocol all prio 1 u32 match u32 0 0 action mirred egress"
HARM = {
    "tc qdisc delete dev pod-eth0 root": ["pod-eth0 is not limited any more to 8000000 bit/s"],
    "tc qdisc delete dev {ifb} root": ["{ifb} is not limited any more to 16000000 bit/s"],
    f"tc qdisc replace dev pod-eth0 {_BUCKET} 9mbit": ["pod-eth0 is limited to 9000000 bit/s", "not to 8000000 bit/s"],
    "tc qdisc replace dev pod-eth0 root handle 1: tbf rate 8mbit burst 50000 limit 125000": ["burst of 50000 bytes, not"],
    "tc qdisc replace dev pod-eth0 root handle 1: tbf rate 8mbit burst 100000 limit 225000": ["pod-eth0 is limited"],
    f"tc qdisc replace dev {{ifb}} {_BUCKET} 17mbit": ["{ifb} is limited to 17000000 bit/s"],
    "tc qdisc replace dev pod-eth0 root handle 1: htb": ["pod-eth0 is not limited any more"],
    "tc qdisc delete dev pod-eth0 ingress": ["pod-eth0 receives is not redirected to {ifb}"],
    "tc filter delete dev pod-eth0 ingress": ["pod-eth0 receives is not redirected to {ifb}"],
    f"tc filter delete dev pod-eth0 ingress; {_ELSEWHERE} redirect dev other": ["not redirected to {ifb}"],
    f"tc filter delete dev pod-eth0 ingress; {_ELSEWHERE} mirror dev {{ifb}}": ["not redirected to {ifb}"],
    "ip link delete {ifb}": ["the ifb that limits what eth0 sends is gone"],
    "ip link set {ifb} down": ["{ifb} is down"],
    "ip link delete pod-eth0": ["eth0"],
    "tc qdisc delete dev pod-eth0 root; tc qdisc delete dev {ifb} root; ip link set {ifb} down; tc qdisc delete dev pod-eth0 ingress": [
        "pod-eth0 is not limited",
        "{ifb} is not limited",
        "{ifb} is down",
        "not redirected",
    ],
}


@pytest.fixture
def shaped(plugins: InProcess, pod: Container, node: Node) -> dict[str, Any]:
    """A pod that is limited, on a node with another ifb: the configuration for CHECK."""
    node.run(["ip", "link", "add", "other", "type", "ifb"])
    pair(pod)
    made = conf(pod, **BOTH)
    return made | {"prevResult": plugins.good("bandwidth", "ADD", made, container=pod)}


@pytest.mark.parametrize("harm", HARM)
def test_what_was_changed_or_removed_since_is_named(
    plugins: InProcess, pod: Container, *, node: Node, shaped: dict[str, Any], harm: str
) -> None:
    plugins.good("bandwidth", "CHECK", shaped, container=pod)
    node.run(["sh", "-ec", harm.format(ifb=IFB)])
    before = node.ledger()
    error = plugins("bandwidth", "CHECK", shaped, container=pod).error
    assert error["code"] == 103
    assert [text for text in HARM[harm] if text.format(ifb=IFB) not in error["msg"]] == [], error
    assert ledger.diff(before, node.ledger()) == []


@pytest.mark.parametrize(("conf_then", "conf_now"), [(RECEIVE, SEND), (SEND, RECEIVE)], ids=["receive", "send"])
def test_limit_of_the_other_direction_is_none(
    plugins: InProcess, pod: Container, *, conf_then: dict[str, Any], conf_now: dict[str, Any]
) -> None:
    pair(pod)
    result = plugins.good("bandwidth", "ADD", conf(pod, **conf_then), container=pod)
    plugins.good("bandwidth", "CHECK", conf(pod, **conf_then) | {"prevResult": result}, container=pod)
    assert plugins("bandwidth", "CHECK", conf(pod, **conf_now) | {"prevResult": result}, container=pod).error["code"] == 103


def test_what_others_limit_is_no_drift(plugins: InProcess, pod: Container, node: Node, shaped: dict[str, Any]) -> None:
    node.run(["tc", "qdisc", "add", "dev", "other", "root", "tbf", "rate", "1mbit", "burst", "5000", "limit", "5000"])
    pod.run(["tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "1mbit", "burst", "5000", "limit", "5000"])
    plugins.good("bandwidth", "CHECK", shaped, container=pod)


def test_unlimited_pod_has_nothing_to_check(plugins: InProcess, pod: Container) -> None:
    pair(pod)
    plugins.good("bandwidth", "CHECK", conf(pod), container=pod)


def test_lost_record_is_no_drift(plugins: InProcess, pod: Container, node: Node, shaped: dict[str, Any]) -> None:
    node.run(["rm", "-r", "/run/cni-plugins/records"])
    plugins.good("bandwidth", "CHECK", shaped, container=pod)
