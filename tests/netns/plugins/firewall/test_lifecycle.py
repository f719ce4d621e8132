"""What the firewall plugin made goes with its attachment, whatever was lost meanwhile, and nobody else's does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.plan import records
from cni_plugins.plan.kinds.firewall import KIND as FIREWALL
from cni_plugins.plan.kinds.isolation import KIND as ISOLATION
from cni_plugins.plan.world import Handles, World
from cni_plugins.protocol.request import Request
from conformance import ledger
from tests.netns.plugins.firewall.conftest import STATIC, V4, Pods, drop_forwarded, passes
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.shared import SHARED

POLICY: dict[str, Any] = {"ingressPolicy": "isolated"}
GONE = (*SHARED, STATIC)


def left(before: ledger.Snapshot, node: Node) -> list[str]:
    """What is there besides what all pods share."""
    return [line for line in ledger.diff(before, node.ledger(), ignore=GONE) if line.startswith("+")]


def test_result_is_that_of_the_plugins_before(pods: Pods, pod: Container) -> None:
    result = pods.attach(pod)
    assert pods.call("ADD", pod).result == result


@pytest.mark.parametrize("lost", ["nothing", "prevResult", "netns", "record", "all"])
def test_del_leaves_nothing(node: Node, pods: Pods, *, pod: Container, other: Container, lost: str) -> None:
    pods.add(other, **POLICY)
    pods.attach(pod)
    before = node.ledger()
    pods.add(pod, **POLICY)
    keys: dict[str, Any] = {}
    if lost in ("prevResult", "all"):
        keys["prevResult"] = None
    if lost in ("record", "all"):
        shutil.rmtree("/run/cni-plugins/records")
    if lost in ("netns", "all"):
        env = node.cni_env("DEL", container=pod)
        pod.delete()
        outcome = pods.plugins("firewall", "DEL", pods.conf() | {"prevResult": pods.results[pod.id, 1]} | keys, env=env)
        assert outcome.code == 0, outcome
    else:
        pods.delete(pod, **keys)
    assert left(before, node) == []
    if lost not in ("record", "all"):
        assert not pods.drift(other, **POLICY)


@pytest.mark.parametrize("damage", [{"ingressPolicy": 5}, {"backend": "smoke"}, {"iptablesAdminChainName": "a b"}, {"firewalldZone": []}])
def test_no_other_key_keeps_del_from_removing(node: Node, pods: Pods, pod: Container, damage: dict[str, Any]) -> None:
    pods.attach(pod)
    before = node.ledger()
    pods.add(pod, **POLICY)
    assert pods.call("ADD", pod, **damage).error["code"] == 7
    pods.delete(pod, **damage)
    assert left(before, node) == []


@pytest.mark.parametrize("lost", ["nothing", "records"])
def test_gc_removes_the_stale_and_keeps_the_listed(node: Node, pods: Pods, *, pod: Container, other: Container, lost: str) -> None:
    pods.attach(pod)
    pods.add(other, **POLICY)
    pods.add(node.container("far"), 2, **POLICY)
    before = node.ledger()
    pods.add(pod, **POLICY)
    if lost == "records":
        for record in Path("/run/cni-plugins/records").glob("*.firewall"):
            record.unlink()
    listed = {"cni.dev/valid-attachments": [{"containerID": other.id, "ifname": "eth0"}]}
    assert pods.plugins("firewall", "GC", pods.conf() | listed).code == 0
    assert left(before, node) == []
    assert not pods.drift(other, **POLICY)


@pytest.mark.parametrize("keys", [{}, {"backend": "iptables"}, POLICY, {"ingressPolicy": "same-bridge"}])
def test_status_says_that_it_is_ready_and_changes_nothing(node: Node, pods: Pods, keys: dict[str, Any]) -> None:
    before = node.ledger()
    assert pods.plugins("firewall", "STATUS", pods.conf(**keys)).code == 0
    assert ledger.diff(before, node.ledger()) == []


def test_status_and_add_say_that_iptables_is_missing_where_it_was_asked_for(
    pods: Pods, pod: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods.attach(pod)
    monkeypatch.setattr("cni_plugins.kernel.iptables._DIRECTORIES", ())
    assert pods.call("ADD", pod, backend="iptables").error["msg"].startswith("backend: 'iptables'")
    pods.add(pod)
    assert not pods.drift(pod)


def test_live_pod_s_address_is_not_taken_from_it_and_a_dead_one_s_is(node: Node, pods: Pods, pod: Container, other: Container) -> None:
    pods.add(pod)
    pods.attach(other, 2)
    claimed: dict[str, Any] = {"prevResult": {"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.2/24"}]}}
    error = pods.call("ADD", other, 2, **claimed).error
    assert error["code"] == 102
    assert pod.id in error["msg"]
    assert not pods.drift(pod)
    node.run(["ip", "link", "delete", pods.results[pod.id, 1]["interfaces"][1]["name"]])
    assert pods.call("ADD", other, 2, **claimed).code == 0


def test_del_of_a_pod_that_lost_its_address_leaves_the_next_one_s(node: Node, pods: Pods, pod: Container, other: Container) -> None:
    pods.add(pod)
    pods.attach(other, 2)
    node.run(["ip", "link", "delete", pods.results[pod.id, 1]["interfaces"][1]["name"]])
    claimed: dict[str, Any] = {"prevResult": {"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.2/24"}]}}
    assert pods.call("ADD", other, 2, **claimed).code == 0
    pods.delete(pod)
    assert not pods.drift(other, 2, **claimed)


def test_add_of_a_live_attachment_again_is_no_trouble(node: Node, pods: Pods, pod: Container) -> None:
    pods.add(pod, **POLICY)
    before = node.ledger()
    pods.add(pod, **POLICY)
    of_another_call = r"node file /run/cni-plugins/records/[0-9a-f]+\.firewall"  # through an agent, a record names the call that made it
    assert ledger.diff(before, node.ledger(), ignore=[of_another_call]) == []


SECOND_IPAM = {"type": "host-local", "ranges": [[{"subnet": "10.5.0.0/24"}]]}
SECOND = {"cniVersion": "1.1.0", "name": "net5", "type": "bridge", "bridge": "br5", "ipam": SECOND_IPAM}


def test_second_interface_of_a_container_keeps_its_own(node: Node, pods: Pods, pod: Container) -> None:
    pods.add(pod)
    result = pods.plugins.good("bridge", "ADD", SECOND, container=pod, ifname="net1")
    conf = pods.conf(5) | {"prevResult": result}
    pods.plugins.good("firewall", "ADD", conf, container=pod, ifname="net1")
    pods.delete(pod)
    pods.plugins.good("firewall", "CHECK", conf, container=pod, ifname="net1")


@pytest.mark.parametrize("damage", ["nft flush ruleset", "nft delete table inet cni_plugins", "iptables-nft -F; ip6tables-nft -F"])
def test_what_a_flush_took_is_put_back_from_the_records_alone(
    node: Node, pods: Pods, *, pod: Container, other: Container, damage: str
) -> None:
    drop_forwarded(node)
    pods.add(pod, **POLICY, iptablesAdminChainName="MINE")
    theirs = pods.add(other, 2)
    assert not lost(pods)
    node.run(["sh", "-c", damage])
    drop_forwarded(node)
    assert lost(pods)
    restore(pods)
    assert not lost(pods)
    assert passes(pod, other, theirs[V4])
    assert not pods.drift(pod, **POLICY, iptablesAdminChainName="MINE")
    assert not pods.drift(other, 2)
    before = node.ledger()
    restore(pods)
    assert ledger.diff(before, node.ledger()) == []


def world(pods: Pods) -> World:
    """What the agent hands to kinds."""
    return World(Handles(), Request("firewall", {}, b""), pods.conf(), None)


def lost(pods: Pods) -> bool:
    """Whether a kind says that something was taken away."""
    one = world(pods)
    try:
        return FIREWALL.lost(one) or ISOLATION.lost(one)
    finally:
        one.handles.close()


def restore(pods: Pods) -> None:
    """Put everything back that records speak of, as the agent does."""
    one = world(pods)
    found = [record for number in (1, 2) for record in records.of_network("/run/cni-plugins", "firewall", f"net{number}")]
    for kind in (FIREWALL, ISOLATION):
        kind.restore(one, [(record.att, item) for record in found for item in record.items if item["kind"] == kind.name])
    one.handles.close()


def test_address_without_an_interface_and_none_at_all(pods: Pods, pod: Container) -> None:
    """As with macvlan without IPAM: nothing to let through, and no failure."""
    empty = {"prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": pod.path}]}}
    conf = pods.conf() | empty
    assert pods.plugins.good("firewall", "ADD", conf, container=pod) == empty["prevResult"]
    pods.plugins.good("firewall", "CHECK", conf, container=pod)
    error = pods.plugins("firewall", "ADD", conf | POLICY, container=pod).error
    assert (error["code"], error["msg"].partition(":")[0]) == (7, "ingressPolicy")
    pods.plugins.good("firewall", "DEL", conf, container=pod)


@pytest.mark.parametrize("name", ['a"b', "br*", "br\\n", "a b", "a/b", "waytoolonganame-", ""])
def test_interface_names_that_no_link_can_have_are_refused_and_never_commands(node: Node, pods: Pods, pod: Container, name: str) -> None:
    before = node.ledger()
    prev = {"cniVersion": "1.1.0", "interfaces": [{"name": name}], "ips": [{"address": "10.1.0.2/24"}]}
    error = pods.plugins("firewall", "ADD", pods.conf(**POLICY) | {"prevResult": prev}, container=pod).error
    assert error["code"] == 7
    assert ledger.diff(before, node.ledger(), ignore=[r"node file /run/cni-plugins(/lock)?"]) == []
