"""ADD limits what a pod receives and sends, and tells of it as the reference does; or leaves everything as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conformance import ledger
from tests.netns.plugins.bandwidth import shaped
from tests.netns.plugins.bandwidth.shaped import (
    BOTH,
    IFB,
    PASSED,
    RECEIVE,
    SEND,
    SENT,
    conf,
    dropped,
    flood,
    ifbs,
    limit,
    pair,
    previous,
    qdiscs,
    redirected,
)
from tests.netns.plugins.networks import network, records
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.shared import SHARED


def test_both_directions_are_limited_and_the_ifb_is_in_the_result(plugins: InProcess, pod: Container, node: Node) -> None:
    host = pair(pod)
    result = plugins.good("bandwidth", "ADD", conf(pod, **BOTH), container=pod)
    assert limit(node, host) == (8_000_000, 100_000)
    (ifb,) = ifbs(node)
    assert limit(node, ifb) == (16_000_000, 100_000)
    assert redirected(node, host) == [ifb]
    link = json.loads(node.run(["ip", "-json", "link", "show", "dev", ifb]).stdout)[0]
    assert (link["mtu"], "UP" in link["flags"], pod.id in link["ifalias"]) == (1400, True, True)
    expected = previous(pod)
    expected["interfaces"].append({"name": ifb, "mac": link["address"]})
    assert result == expected
    assert ifb == IFB


@pytest.mark.parametrize("side", ["ingress", "egress"])
def test_more_than_the_limit_does_not_get_through(plugins: InProcess, pod: Container, node: Node, *, side: str) -> None:
    host = pair(pod)
    plugins.good("bandwidth", "ADD", conf(pod, **shaped.slow(side)), container=pod)
    pod.run(["ping", "-n", "-c1", "-w30", "10.9.0.1"])
    flood(node, "10.9.0.2")
    flood(pod, "10.9.0.1")
    limited, free = (host, ifbs(node)) if side == "ingress" else (IFB, [])
    assert SENT - PASSED < dropped(node, limited) <= SENT
    assert free == []
    other = qdiscs(node, host) if side == "egress" else []
    assert [one["kind"] for one in other] == ["ingress"] * (side == "egress")


def test_what_is_within_the_limit_gets_through_undiminished(plugins: InProcess, pod: Container, node: Node) -> None:
    host = pair(pod)
    plugins.good("bandwidth", "ADD", conf(pod, **BOTH), container=pod)
    for source, target in ((node, "10.9.0.2"), (pod, "10.9.0.1")):
        source.run(["ping", "-n", "-c20", "-i0.002", "-w30", "-s", "1000", target])
    assert (dropped(node, host), dropped(node, IFB)) == (0, 0)
    assert all(one["packets"] for link in (host, IFB) for one in qdiscs(node, link) if one["kind"] == "tbf")


@pytest.mark.parametrize("keys", [{}, dict.fromkeys(BOTH, 0), {"runtimeConfig": {}}, {"runtimeConfig": {"bandwidth": None}}], ids=str)
def test_without_limits_nothing_is_made_and_the_result_before_is_passed_on(
    plugins: InProcess, pod: Container, node: Node, keys: dict[str, Any]
) -> None:
    pair(pod)
    before = node.ledger()
    assert plugins.good("bandwidth", "ADD", conf(pod, **keys), container=pod) == previous(pod)
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []
    assert not records()


@pytest.mark.parametrize(
    ("keys", "limits"),
    [
        ({"runtimeConfig": {"bandwidth": BOTH}}, [8_000_000, 16_000_000]),
        ({"RuntimeConfig": {"bandWidth": {"INGRESSRATE": 8_000_000, "ingressburst": 800_000}}}, [8_000_000]),
        (
            RECEIVE | {"runtimeConfig": {"bandwidth": {"ingressRate": 80, "ingressBurst": 80, "egressRate": 80, "egressBurst": 80}}},
            [8_000_000],
        ),
        (RECEIVE | {"runtimeConfig": {"bandwidth": {"ingressRate": 80}}}, [8_000_000]),
        ({"ingressRate": 0, "runtimeConfig": {"bandwidth": BOTH}}, []),
        (SEND | {"ingressRate": 0, "ingressBurst": 0}, [16_000_000]),
    ],
    ids=["runtime", "case", "both", "both-one-wrong", "zero", "one-side"],
)
def test_limits_come_from_where_the_reference_takes_them(
    plugins: InProcess, pod: Container, *, node: Node, keys: dict[str, Any], limits: list[int]
) -> None:
    host = pair(pod)
    plugins.good("bandwidth", "ADD", conf(pod, **keys), container=pod)
    links = [link for link in (host, *ifbs(node)) if any(one["kind"] == "tbf" for one in qdiscs(node, link))]
    assert [limit(node, link)[0] for link in links] == limits


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"ingressRate": 8000}, "ingressBurst"),
        ({"egressBurst": 8000}, "egressRate"),
        (RECEIVE | {"egressRate": 8000, "egressBurst": 0}, "egressBurst"),
        ({"egressRate": 8000, "egressBurst": 8 * 0xFFFFFFFF}, "egressBurst"),
        ({"ingressRate": 7, "ingressBurst": 8000}, "ingressRate"),
        ({"ingressRate": 8000, "ingressBurst": 7}, "ingressBurst"),
        ({"ingressRate": -8, "ingressBurst": 8}, "ingressRate"),
        ({"ingressRate": 1 << 64, "ingressBurst": 8}, "ingressRate"),
        ({"ingressRate": "8M", "ingressBurst": 8}, "ingressRate"),
        ({"ingressRate": 8e6, "ingressBurst": 8}, "ingressRate"),
        ({"runtimeConfig": {"bandwidth": {"egressRate": 8000}}}, "runtimeConfig.bandwidth.egressBurst"),
        ({"runtimeConfig": {"bandwidth": {"egressRate": True}}}, "runtimeConfig.bandwidth.egressRate"),
        ({"runtimeConfig": {"bandwidth": 8000}}, "runtimeConfig.bandwidth"),
        (RECEIVE | {"qdisc": "cake"}, "qdisc"),
    ],
    ids=str,
)
def test_wrong_limit_is_named_and_changes_nothing(
    plugins: InProcess, pod: Container, *, node: Node, keys: dict[str, Any], field: str
) -> None:
    pair(pod)
    before = node.ledger()
    error = plugins("bandwidth", "ADD", conf(pod, **keys), container=pod).error
    assert (error["code"], error["msg"].partition(":")[0]) == (7, field)
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


@pytest.mark.parametrize(
    ("bits", "rate", "burst"),
    [
        ({"ingressRate": 8, "ingressBurst": 8}, 8, 1),
        ({"ingressRate": 80_000_000_000, "ingressBurst": 8_000_000_000}, 80_000_000_000, 1_000_000_000),
        ({"ingressRate": 1_000_000, "ingressBurst": 0xFFFFFFFF}, 1_000_000, 34_359_738),
    ],
    ids=["least", "beyond-32-bits", "burst-of-kubernetes"],
)
def test_extreme_limits_are_what_the_kernel_can_do_of_them(
    plugins: InProcess, pod: Container, *, node: Node, bits: dict[str, Any], rate: int, burst: int
) -> None:
    host = pair(pod)
    plugins.good("bandwidth", "ADD", conf(pod, **bits), container=pod)
    shown = limit(node, host)
    assert shown[0] == rate
    assert shown[1] == pytest.approx(burst, rel=0.01)
    plugins.good("bandwidth", "CHECK", conf(pod, **bits), container=pod)


@pytest.mark.parametrize("plugin", ["bridge", "ptp"])
def test_behind_our_own_plugins(plugins: InProcess, pod: Container, node: Node, plugin: str) -> None:
    first = network(plugin, isGateway=True if plugin == "bridge" else None)
    before = plugins.good(plugin, "ADD", first, container=pod)
    behind = network("bandwidth", prevResult=before, **BOTH)
    result = plugins.good("bandwidth", "ADD", behind, container=pod)
    host = next(one["name"] for one in before["interfaces"] if one["name"].startswith("veth"))
    assert result["interfaces"][:-1] == before["interfaces"]
    assert redirected(node, host) == [result["interfaces"][-1]["name"]]
    plugins.good("bandwidth", "CHECK", behind | {"prevResult": result}, container=pod)
    plugins.good(plugin, "CHECK", first | {"prevResult": result}, container=pod)
    pod.run(["ping", "-n", "-c1", "-w30", before["ips"][0]["gateway"]])


@pytest.mark.parametrize(
    ("harm", "code", "says"),
    [
        ("ip -n pod link delete eth0", 4, "eth0"),
        ("ip -n pod link delete eth0; ip -n pod link add eth0 type bridge", 4, "bridge"),
        ("ip -n pod link delete eth0; ip -n pod link add eth0 type veth peer name eth1", 4, "not on the node"),
        ("ip link set pod-eth0 down; ip link set pod-eth0 name other", 7, "prevResult.interfaces: other"),
        ("tc qdisc add dev pod-eth0 root handle 1: htb", 102, "htb 1:"),
        ("tc qdisc add dev pod-eth0 ingress", 102, "ingress ffff:"),
    ],
)
def test_interface_that_cannot_be_shaped_is_refused_before_anything_changes(
    plugins: InProcess, pod: Container, *, node: Node, harm: str, code: int, says: str
) -> None:
    pair(pod)
    node.run(["sh", "-ec", harm])
    before = node.ledger()
    error = plugins("bandwidth", "ADD", conf(pod, **BOTH), container=pod).error
    assert error["code"] == code
    assert says in error["msg"]
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


@pytest.mark.parametrize("keys", [{}, BOTH], ids=["unlimited", "limited"])
def test_call_outside_of_a_chain_is_refused(plugins: InProcess, pod: Container, keys: dict[str, Any]) -> None:
    pair(pod)
    error = plugins("bandwidth", "ADD", conf(pod, **keys) | {"prevResult": None}, container=pod).error
    assert (error["code"], error["msg"].partition(":")[0]) == (7, "prevResult")


def test_second_interface_on_the_same_network_gets_an_ifb_of_its_own(plugins: InProcess, pod: Container, node: Node) -> None:
    for number, ifname in enumerate(("eth0", "eth1", "eth2"), 9):
        pair(pod, ifname, number=number)
        plugins.good("bandwidth", "ADD", conf(pod, ifname, **BOTH), container=pod, ifname=ifname)
    assert len(ifbs(node)) == 3
    targets = [redirected(node, f"pod-{ifname}") for ifname in ("eth0", "eth1", "eth2")]
    assert sorted(name for target in targets for name in target) == ifbs(node)
    plugins.good("bandwidth", "DEL", conf(pod, **BOTH), container=pod)
    assert sorted(name for target in targets[1:] for name in target) == ifbs(node)
    pod.run(["ping", "-n", "-c1", "-w30", "10.10.0.1"])


def test_second_add_of_a_shaped_interface_is_an_error_and_touches_nothing(plugins: InProcess, pod: Container, node: Node) -> None:
    pair(pod)
    plugins.good("bandwidth", "ADD", conf(pod, **BOTH), container=pod)
    before = node.ledger()
    assert plugins("bandwidth", "ADD", conf(pod, **BOTH), container=pod).error["code"] == 102
    assert ledger.diff(before, node.ledger()) == []


def test_links_that_have_both_names_already_are_not_touched(plugins: InProcess, pod: Container, node: Node) -> None:
    pair(pod)
    plugins.good("bandwidth", "ADD", conf(pod, **SEND), container=pod)
    own = "bwp" + json.loads(node.run(["ip", "-json", "link", "show", "dev", IFB]).stdout)[0]["address"].replace(":", "")
    plugins.good("bandwidth", "DEL", conf(pod, **SEND), container=pod)
    for name in (IFB, own):
        node.run(["ip", "link", "add", name, "type", "bridge"])
    before = node.ledger()
    error = plugins("bandwidth", "ADD", conf(pod, **SEND), container=pod).error
    assert error["code"] == 102
    assert IFB in error["msg"]
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


@pytest.mark.parametrize("limits", [RECEIVE, SEND], ids=["receive", "send"])
def test_limit_that_somebody_took_away_is_made_again(plugins: InProcess, pod: Container, *, node: Node, limits: dict[str, Any]) -> None:
    host = pair(pod)
    plugins.good("bandwidth", "ADD", conf(pod, **limits), container=pod)
    node.run(["sh", "-c", f"tc qdisc delete dev {host} root; tc qdisc delete dev {host} ingress; ip link delete {IFB}"], check=False)
    plugins.good("bandwidth", "ADD", conf(pod, **limits), container=pod)
    plugins.good("bandwidth", "CHECK", conf(pod, **limits), container=pod)
