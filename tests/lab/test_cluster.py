"""What a cluster's users get: pods of a real two-node Kubernetes, networked through kubelet and containerd by the built executables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from conformance import ledger
from tests.lab import peers
from tests.lab.cluster import Cluster, Pod, gateway
from tests.lab.machine import LabError

MAY_CHANGE = (
    r".* route (local|anycast|broadcast|multicast) .* proto kernel .*",  # the kernel's own echo of an address, seconds after it
    r"node file /var/lib/cni/networks/[^/]+/last_reserved_ip\.\d+",  # where the next search begins
    r"node (iptables|nftables) .*KUBE-.*",  # kubelet's own
    r"node process .*",  # those of containerd come and go
)
PODS = 20
RESTARTED_PODS = 6


@pytest.fixture(scope="module")
def cluster(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that runs the plugins under test. Starting it may be tried twice; what is asserted of it never is."""
    peers.build("kubernetes")
    with ExitStack() as running:
        try:
            cluster = running.enter_context(Cluster(plugins, tmp_path_factory.mktemp("cluster") / "lab"))
        except LabError as first:
            print(f"starting the cluster failed once: {first}")
            cluster = running.enter_context(Cluster(plugins, tmp_path_factory.mktemp("cluster") / "lab"))
        yield cluster


def assert_connected(cluster: Cluster, pods: dict[str, Pod]) -> None:
    """Every pod reaches every other one, on its own node and on the other, and its gateway."""
    assert len({pod.address for pod in pods.values()}) == len(pods)
    for pod in pods.values():
        others = [other.address for other in pods.values() if other != pod]
        assert cluster.unreachable(pod, [gateway(int(pod.node[-1])), *others]) == [], pod


def assert_nothing_left(before: dict[str, ledger.Snapshot], after: dict[str, ledger.Snapshot]) -> None:
    """Every worker is as it was."""
    changes = [f"{name}: {line}" for name in before for line in ledger.diff(before[name], after[name], ignore=MAY_CHANGE)]
    assert not changes, "left behind:\n" + "\n".join(changes)


def test_pods_reach_each_other_and_their_gateway_and_leave_nothing(cluster: Cluster) -> None:
    cluster.create_pods("primer", 2)
    cluster.delete_pods("primer")
    before = cluster.ledgers()
    pods = cluster.create_pods("many", PODS)
    assert sorted(pod.node for pod in pods.values()) == ["node1"] * (PODS // 2) + ["node2"] * (PODS // 2)
    assert_connected(cluster, pods)
    cluster.delete_pods("many")
    assert_nothing_left(before, cluster.ledgers())


def test_restart_of_kubelet_and_containerd_changes_nothing_for_pods(cluster: Cluster) -> None:
    cluster.create_pods("opening", 2)
    cluster.delete_pods("opening")
    before = cluster.ledgers()
    steady = cluster.create_pods("steady", RESTARTED_PODS)
    cluster.restart_workers()
    assert cluster.pods("steady") == steady
    later = cluster.create_pods("later", 2)
    assert_connected(cluster, steady | later)
    cluster.delete_pods("steady")
    cluster.delete_pods("later")
    assert_nothing_left(before, cluster.ledgers())
