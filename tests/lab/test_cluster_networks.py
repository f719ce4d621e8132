"""What our users run: pods with two networks, Flannel's and a second overlay, in a real two-node Kubernetes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from conformance import ledger
from tests.lab import peers
from tests.lab.cluster import Pod
from tests.lab.machine import LabError
from tests.lab.overlay_cluster import BIN, NET_D, OverlayCluster
from tests.lab.tutorial import Reader, assert_files_are_those_of_the_lab
from tests.lab.two_networks import BOTH, BRIDGES

MAY_CHANGE = (
    r".* route (local|anycast|broadcast|multicast) .* proto kernel .*",  # the kernel's own echo of an address, seconds after it
    r"node file /var/lib/cni/networks/[^/]+/last_reserved_ip\.\d+",  # where the next search begins
    r"node (iptables|nftables) .*(KUBE|FLANNEL)-.*",  # kubelet's and flanneld's own
    r"(?s:node process .*)",  # those of containerd come and go
)
ANOTHER_BOOT = (r"node address fe80::.*", r".*node link cni\d.*", r".*node file /run/cni-plugins/overlay-state/.*")  # made anew
PER_NODE = 2


@pytest.fixture
def cluster(plugins: Path, tmp_path: Path) -> Iterator[OverlayCluster]:
    """A cluster with two overlays, at first with real Multus. Starting it may be tried twice; what is asserted of it never is."""
    for group in ("kubernetes", "flannel", "multus"):
        peers.build(group)
    with ExitStack() as running:
        try:
            cluster = running.enter_context(OverlayCluster(plugins, tmp_path / "lab"))
        except LabError as first:
            print(f"starting the cluster failed once: {first}")
            cluster = running.enter_context(OverlayCluster(plugins, tmp_path / "lab-again"))
        yield cluster


def assert_connected(cluster: OverlayCluster, pods: dict[str, Pod]) -> None:
    """Every pod reaches every other one, on its own node and on the other, in both networks, and each network has its own tunnels."""
    assert len({pod.node for pod in pods.values()}) == 2
    before = sent(cluster)
    for pod in pods.values():
        assert pod.further["net1"].startswith("10.50."), pod
        others = [other for other in pods.values() if other != pod]
        assert cluster.unreachable(pod, [address for other in others for address in (other.address, other.further["net1"])]) == [], pod
    crossing = len(pods) // 2
    assert all(after - earlier >= crossing for earlier, after in zip(before, sent(cluster), strict=True))


def sent(cluster: OverlayCluster) -> list[int]:
    """How many packets the devices of VNI 1 and VNI 2 on each node have sent."""
    script = "cat /sys/class/net/flannel.1/statistics/tx_packets /sys/class/net/*.2/statistics/tx_packets"
    return [int(count) for worker in cluster.workers.values() for count in worker.machine.run("sh", "-c", script).stdout.split()]


def assert_nothing_left(before: dict[str, ledger.Snapshot], after: dict[str, ledger.Snapshot], *, rebooted: bool = False) -> None:
    """Every worker is as it was."""
    ignore = (*MAY_CHANGE, *(ANOTHER_BOOT if rebooted else ()))
    changes = [f"{name}: {line}" for name in before for line in ledger.diff(before[name], after[name], ignore=ignore)]
    assert not changes, "left behind:\n" + "\n".join(changes)


def primed(cluster: OverlayCluster) -> dict[str, ledger.Snapshot]:
    """What is on each worker when the first pods have come and gone: bridges stay."""
    cluster.create_pods("primer", 2, annotations=BOTH)
    cluster.delete_pods("primer")
    return cluster.ledgers()


def configured(cluster: OverlayCluster) -> dict[str, tuple[dict[str, bytes], list[str]]]:
    """Each worker's network configurations and executables."""
    found = {}
    for name, worker in cluster.workers.items():
        with worker.machine.node.inside():
            found[name] = {path.name: path.read_bytes() for path in NET_D.iterdir()}, sorted(path.name for path in BIN.iterdir())
    return found


def test_real_multus_calls_our_plugins_and_is_replaced_by_ours_under_running_pods(cluster: OverlayCluster) -> None:
    before = primed(cluster)
    old = cluster.create_pods("old", 2 * PER_NODE, annotations=BOTH)
    assert_connected(cluster, old)
    for worker in cluster.workers.values():
        cluster.install(worker)
    new = cluster.create_pods("new", 2, annotations=BOTH)
    assert cluster.pods("old") == old
    assert_connected(cluster, old | new)
    cluster.delete_pods("old")
    assert_connected(cluster, new)
    cluster.delete_pods("new")
    assert_nothing_left(before, cluster.ledgers())


def test_the_tutorial_followed_to_the_letter_gives_both_networks_also_after_power_was_lost_and_its_last_step_undoes_all(
    cluster: OverlayCluster,
) -> None:
    assert_files_are_those_of_the_lab()
    cluster.use_flannel_alone()
    flannel_alone = configured(cluster)
    cluster.leave_second_overlay_to_agent()
    cluster.load_installer()
    reader = Reader(cluster)
    for step in range(1, 7):
        reader.follow(step)
    before = primed(cluster)
    pods = cluster.create_pods("web", 2, annotations=BOTH)
    reader.names |= {"10.244.2.2": pods["web-1"].address, "10.50.88.2": pods["web-1"].further["net1"]}
    reader.follow(7, stop=-1)
    with cluster.waiting_pod("wrong", annotations={"k8s.v1.cni.cncf.io/networks": "flannel3"}):
        reader.follow(7, skip=-1)
    assert_connected(cluster, pods)
    assert_apart(cluster)
    cluster.reboot_workers()
    assert_connected(cluster, cluster.pods_after("web", pods))
    reader.follow(8)
    reader.follow(9, stop=1)
    assert_nothing_left(before, cluster.ledgers(), rebooted=True)
    reader.follow(9, skip=1)
    assert configured(cluster) == flannel_alone
    plain = cluster.create_pods("plain", 2)
    assert [cluster.unreachable(pod, [other.address for other in plain.values()]) for pod in plain.values()] == [[], []]
    cluster.delete_pods("plain")


def assert_apart(cluster: OverlayCluster) -> None:
    """Each network has a bridge and a VNI of its own."""
    for worker in cluster.workers.values():
        shown = worker.machine.run("ip", "-details", "link", "show", "type", "vxlan").stdout
        assert all(f"vxlan id {vni} " in shown for vni in (1, 2))
        for bridge, subnets in zip(BRIDGES, ("10.244.", "10.50."), strict=True):
            assert worker.machine.run("ip", "-brief", "address", "show", bridge).stdout.split()[2].startswith(subnets)
