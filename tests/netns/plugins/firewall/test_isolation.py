"""`ingressPolicy` keeps pods apart, as the reference does, and costs nothing once the last pod has gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cni_plugins.kernel import calls
from cni_plugins.kernel.nfnetlink import Nfnetlink
from cni_plugins.kernel.rtnl import NetlinkError
from conformance import ledger
from tests.netns.plugins.firewall.conftest import STATIC, V4, V6, Pods, is_dropped, passes
from tests.support.netns import Container, Outside
from tests.support.node import Node
from tests.support.shared import SHARED


def filter_bridges(node: Node, on: bool) -> None:
    """Whether frames on a bridge meet the rules for forwarded packets (br_netfilter)."""
    node.run(["sysctl", "-qw", *(f"net.bridge.bridge-nf-call-{program}={int(on)}" for program in ("iptables", "ip6tables"))])


@pytest.mark.parametrize("by", ["ours", "reference"])
@pytest.mark.parametrize("policy", ["open", "same-bridge", "isolated"])
def test_who_reaches_whom(node: Node, pods: Pods, *, outside: Outside, policy: str, by: str, reference_bin: Path) -> None:
    plugin = reference_bin / "firewall" if by == "reference" else None
    filter_bridges(node, True)
    one, two, far, free = (node.container(name) for name in ("one", "two", "far", "free"))
    mine = pods.add(one, ingressPolicy=policy, by=plugin)
    near = pods.add(two, ingressPolicy=policy, by=plugin)
    away = pods.add(far, 2, ingressPolicy=policy, by=plugin)
    unlimited = pods.add(free, 3, by=plugin)
    for family in (V4, V6):
        assert (passes if policy != "isolated" else is_dropped)(one, two, near[family])
        assert (passes if policy == "open" else is_dropped)(one, far, away[family])
        assert (passes if policy == "open" else is_dropped)(far, one, mine[family])
        assert passes(one, free, unlimited[family])
        assert passes(free, one, mine[family])
        assert passes(one, outside, outside.addresses[family].partition("/")[0])
        assert passes(outside, one, mine[family])


def test_closed_bridge_is_closed_without_br_netfilter_too(node: Node, pods: Pods, pod: Container, other: Container) -> None:
    filter_bridges(node, False)
    pods.add(pod, ingressPolicy="isolated")
    theirs = pods.add(other, ingressPolicy="isolated")
    third = node.container("third")
    free = pods.add(third)
    for family in (V4, V6):
        assert is_dropped(pod, other, theirs[family])
        assert passes(pod, third, free[family]), "a pod without a policy shares the bridge: it is no isolated port"


def test_bridge_stays_apart_until_its_last_pod_has_gone(node: Node, pods: Pods, pod: Container, other: Container) -> None:
    far = node.container("far")
    mine = pods.add(pod, ingressPolicy="isolated")
    pods.add(other, ingressPolicy="isolated")
    pods.add(far, 2, ingressPolicy="same-bridge")
    pods.delete(other, ingressPolicy="isolated")
    assert is_dropped(far, pod, mine[V4])
    pods.delete(pod, ingressPolicy="isolated")
    assert passes(far, pod, mine[V4])


def test_one_bridge_with_both_policies_is_closed_as_long_as_one_pod_asks_for_it(
    node: Node, pods: Pods, pod: Container, other: Container
) -> None:
    filter_bridges(node, True)
    third = node.container("third")
    mine = pods.add(pod, ingressPolicy="same-bridge")
    pods.add(other, ingressPolicy="isolated")
    pods.add(third, ingressPolicy="same-bridge")
    assert is_dropped(third, pod, mine[V4])
    pods.delete(other)
    assert passes(third, pod, mine[V4])


@pytest.mark.parametrize("policy", ["same-bridge", "isolated"])
def test_del_beside_other_pods_begins_nothing_that_the_kernel_has_to_take_back(
    node: Node, pods: Pods, *, pod: Container, other: Container, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods.add(pod, ingressPolicy=policy)
    pods.add(other, ingressPolicy=policy)
    run, transact, statuses = calls.nft_run, Nfnetlink.transact, []

    def noted(*args: Any) -> int:
        statuses.append(run(*args))
        return statuses[-1]

    def noted_too(*args: Any) -> list[NetlinkError]:
        refused = transact(*args)
        statuses.append(len(refused))
        return refused

    monkeypatch.setattr(calls, "nft_run", noted)
    monkeypatch.setattr(Nfnetlink, "transact", noted_too)
    pods.delete(other, ingressPolicy=policy)
    pods.delete(pod, ingressPolicy=policy)
    assert len(statuses) > 3
    assert set(statuses) == {0}


@pytest.mark.parametrize("policy", ["same-bridge", "isolated"])
def test_nothing_is_left_of_a_policy(node: Node, pods: Pods, pod: Container, policy: str) -> None:
    pods.attach(pod)
    before = node.ledger()
    pods.add(pod, ingressPolicy=policy)
    pods.delete(pod, ingressPolicy=policy)
    assert ledger.diff(before, node.ledger(), ignore=(*SHARED, STATIC)) == []
    assert "br1" not in node.run(["nft", "list", "ruleset"]).stdout, "not even an empty chain"


def test_admin_chain_does_not_open_what_a_policy_closes(node: Node, pods: Pods, pod: Container, other: Container) -> None:
    pods.add(pod, ingressPolicy="same-bridge")
    theirs = pods.add(other, 2, ingressPolicy="same-bridge")
    node.run(["iptables-nft", "-A", "CNI-ADMIN", "-j", "ACCEPT"])
    assert is_dropped(pod, other, theirs[V4])


def test_point_to_point_links_are_kept_apart_from_each_other(node: Node, pods: Pods, pod: Container, other: Container) -> None:
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    for container in (pod, other):
        conf = {"cniVersion": "1.1.0", "name": "net1", "type": "ptp", "ipam": ipam}
        pods.results[container.id, 1] = pods.plugins.good("ptp", "ADD", conf, container=container)
    theirs = pods.add(other, ingressPolicy="same-bridge")
    assert passes(pod, other, theirs[V4])
    pods.add(pod, ingressPolicy="same-bridge")
    assert is_dropped(pod, other, theirs[V4])


@pytest.mark.parametrize("name", ["br.1-x_y", "br@1#ü", "7up"])
def test_bridge_may_have_any_name_that_a_link_can_have(node: Node, pods: Pods, pod: Container, name: str) -> None:
    pods.attach(pod, bridge=name)
    before = node.ledger()
    pods.add(pod, ingressPolicy="isolated")
    assert not pods.drift(pod, ingressPolicy="isolated")
    node.run(["rm", "-r", "/run/cni-plugins/records"])
    pods.delete(pod)
    assert ledger.diff(before, node.ledger(), ignore=(*SHARED, STATIC, r"node file /run/cni-plugins/records/.*")) == []
