"""Leases in a real Kubernetes API server, where flanneld may be one of the nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Protocol

import pytest

from cni_plugins.protocol.errors import Conflict, InvalidConfig, TryAgain
from tests.lab.control_plane import ControlPlane
from tests.lab.leases.flanneld import SUBNET_FILE, Flanneld
from tests.lab.machine import Machine, wait_for
from tests.netns.leases.conftest import Managers, attributes
from vxlan.leases.kubernetes import KubernetesStore
from vxlan.leases.network import NetworkConfig
from vxlan.leases.peers import Peer
from vxlan.leases.schema import Attributes, Subnets, Vtep
from vxlan.leases.store import Claim, CursorLost, Put, Removed, Snapshot, StoreUnavailable
from vxlan.leases.subnet_env import SubnetEnv

SECONDS = 60
PREFIX = "flannel.alpha.coreos.com/"
MINE = {
    PREFIX + "kube-subnet-manager": "true",
    PREFIX + "backend-type": "vxlan",
    PREFIX + "backend-data": '{"VNI":100,"VtepMAC":"02:00:00:00:00:0b"}',
    PREFIX + "public-ip": "192.168.77.11",
}
DUAL = {"EnableIPv6": True, "IPv6Network": "fd05::/48"}


class ApiServer(ControlPlane):
    """An API server with its etcd, and nobody who controls anything: what happens to nodes, the tests do."""

    def _start_controllers(self) -> None:
        pass

    def add_node(self, name: str, *cidrs: str, annotations: dict[str, str] | None = None) -> None:
        """Make a node object."""
        spec = {"podCIDR": cidrs[0], "podCIDRs": cidrs} if cidrs else {}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "annotations": annotations or {}}, "spec": spec}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(node))

    def crash(self) -> None:
        """End the API server at once."""
        self.machine.run("sh", "-c", "kill -KILL $(cat /run/daemons/kube-apiserver)")
        self.machine.stop("kube-apiserver")

    def annotations(self, name: str) -> dict[str, str]:
        """The overlay's annotations of a node."""
        found: dict[str, str] = self.get("node", name)["metadata"].get("annotations", {})
        return {key: value for key, value in found.items() if key.startswith(PREFIX)}


@pytest.fixture(scope="module")
def shared(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One API server for the tests of this module."""
    with Machine("control", tmp_path_factory.mktemp("lab") / "control") as machine:
        machine.ip("address add 192.168.77.1/24 dev lo")
        yield ApiServer(machine, "192.168.77.1")


@pytest.fixture
def api(shared: ApiServer) -> Iterator[ApiServer]:
    """An API server without nodes, and the test on its machine."""
    with shared.machine.node.inside():
        yield shared
    shared.kubectl("delete", "nodes", "--all")


def network(**more: Any) -> NetworkConfig:
    """What net-conf.json says."""
    config = {"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "VNI": 100}, **more}
    return NetworkConfig.parse(json.dumps(config), source="net-conf.json", cut=False)


class StoreMaker(Protocol):
    """Makes stores: for the node `name` of a network with `more` configuration."""

    def __call__(self, name: str, **more: Any) -> KubernetesStore: ...


@pytest.fixture
def store(api: ApiServer) -> Iterator[StoreMaker]:
    """Makes stores that end with the test."""
    made: list[KubernetesStore] = []

    def make(name: str, **more: Any) -> KubernetesStore:
        made.append(KubernetesStore(name, network(**more), kubeconfig=str(api.kubeconfig)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_lease_is_the_nodes_pod_cidr_and_its_annotations_are_flannels(api: ApiServer, store: StoreMaker) -> None:
    api.add_node("one", "10.5.1.0/24")
    lease = store("one").acquire(Claim(attributes(11)))
    assert str(lease.subnets) == "10.5.1.0/24"
    assert lease.attributes == attributes(11)
    assert api.annotations("one") == MINE


def test_what_is_right_already_is_not_written_again(api: ApiServer, store: StoreMaker) -> None:
    api.add_node("one", "10.5.1.0/24")
    store("one").acquire(Claim(attributes(11)))
    before = api.get("node", "one")["metadata"]["resourceVersion"]
    store("one").acquire(Claim(attributes(11)))
    assert api.get("node", "one")["metadata"]["resourceVersion"] == before


def test_an_administrators_address_overrides_ours(api: ApiServer, managers: Managers, store: StoreMaker) -> None:
    api.add_node("one", "10.5.1.0/24", annotations={PREFIX + "public-ip-overwrite": "203.0.113.9"})
    manager = managers(11, store("one"))
    view = manager.wait(lambda view: view.peers is not None, seconds=SECONDS)
    assert api.annotations("one")[PREFIX + "public-ip"] == "203.0.113.9"
    assert view.lease
    assert view.lease.attributes
    assert view.lease.attributes.public_ip == IPv4Address("203.0.113.9")
    assert view.problems == ()


def test_dual_stack_is_published_and_taken_back(api: ApiServer, store: StoreMaker) -> None:
    api.add_node("one", "10.5.1.0/24", "fd05:0:0:1::/64")
    both = attributes(11, public_ipv6=IPv6Address("fd77::b"), vtep_v6=Vtep(100, "02:00:00:00:00:6b"))
    lease = store("one", **DUAL).acquire(Claim(both))
    assert str(lease.subnets) == "10.5.1.0/24 and fd05:0:0:1::/64"
    six = {PREFIX + "backend-v6-data": '{"VNI":100,"VtepMAC":"02:00:00:00:00:6b"}', PREFIX + "public-ipv6": "fd77::b"}
    assert api.annotations("one") == MINE | six
    assert str(store("one").acquire(Claim(attributes(11))).subnets) == "10.5.1.0/24"
    assert api.annotations("one") == MINE


def test_a_node_without_a_subnet_waits_for_one(api: ApiServer, managers: Managers, store: StoreMaker) -> None:
    api.add_node("one")
    with pytest.raises(TryAgain, match="node one has no IPv4 podCIDR: does the controller manager run with --allocate-node-cidrs"):
        store("one").acquire(Claim(attributes(11)))
    manager = managers(11, store("one"))
    manager.wait(lambda view: view.problems, seconds=SECONDS)
    api.add_node("one", "10.5.1.0/24")
    manager.wait(lambda view: view.peers is not None and not view.problems, seconds=SECONDS)


def test_what_cannot_work_is_named(api: ApiServer, tmp_path: Path, store: StoreMaker) -> None:
    api.add_node("one", "10.99.1.0/24")
    with pytest.raises(InvalidConfig, match=r"node one: spec\.podCIDR: 10\.99\.1\.0/24 is not in the overlay's network"):
        store("one").acquire(Claim(attributes(11)))
    with pytest.raises(StoreUnavailable, match="Kubernetes has no node two"):
        store("two").acquire(Claim(attributes(11)))
    with pytest.raises(InvalidConfig, match="nowhere"):
        KubernetesStore("one", network(), kubeconfig=str(tmp_path / "nowhere"))
    with pytest.raises(Conflict, match=r"spec\.podCIDR"):
        store("one").reserve(Subnets.from_key("10.5.1.0-24"), IPv4Address("192.168.77.11"))


def test_the_nodes_network_becomes_available_when_the_overlay_works(api: ApiServer, managers: Managers, store: StoreMaker) -> None:
    def condition() -> Any:
        conditions = api.get("node", "one").get("status", {}).get("conditions", [])
        return next((one["status"] for one in conditions if one["type"] == "NetworkUnavailable"), None)

    api.add_node("one", "10.5.1.0/24")
    manager = managers(11, store("one"))
    manager.wait(lambda view: view.peers is not None, seconds=SECONDS)
    assert condition() is None
    manager.announce()
    wait_for(lambda: condition() == "False", "the node's network is not available", seconds=SECONDS)
    api.kubectl("delete", "node", "one")
    api.add_node("one", "10.5.2.0/24")
    manager.wait(lambda view: view.lease and str(view.lease.subnets) == "10.5.2.0/24", seconds=SECONDS)
    wait_for(lambda: condition() == "False", "the new node object's network is not available", seconds=SECONDS)


def test_nodes_come_change_and_go(api: ApiServer, managers: Managers, store: StoreMaker) -> None:
    api.add_node("one", "10.5.1.0/24")
    api.add_node("bystander", "10.5.9.0/24")
    manager = managers(11, store("one"))
    manager.wait(lambda view: view.peers == (), seconds=SECONDS)
    api.add_node("two", "10.5.2.0/24")
    second = managers(12, store("two"))
    manager.wait(lambda view: view.peers == (Peer("10.5.2.0/24", "192.168.77.12", "02:00:00:00:00:0c", "two"),), seconds=SECONDS)
    second.close(release=True)
    manager.wait(lambda view: view.peers == (), seconds=SECONDS)
    assert api.annotations("two") == {}
    api.add_node("three", "10.5.3.0/24", annotations={**MINE, PREFIX + "public-ip": "192.168.77.13"})
    manager.wait(lambda view: view.peers and view.peers[0].node == "192.168.77.13", seconds=SECONDS)
    api.kubectl("annotate", "--overwrite", "node", "three", PREFIX + "backend-data={nonsense")
    view = manager.wait(lambda view: view.peers == (), seconds=SECONDS)
    assert view.problems == ("the lease three is left out: the annotation flannel.alpha.coreos.com/backend-data is not JSON",)
    api.kubectl("delete", "node", "three")
    manager.wait(lambda view: not view.problems, seconds=SECONDS)


def test_annotations_that_somebody_removes_are_put_back(api: ApiServer, managers: Managers, store: StoreMaker) -> None:
    api.add_node("one", "10.5.1.0/24")
    managers(11, store("one")).wait(lambda view: view.peers is not None, seconds=SECONDS)
    api.kubectl("annotate", "node", "one", PREFIX + "public-ip-")
    wait_for(lambda: api.annotations("one") == MINE, "the annotations are not put back", seconds=SECONDS)


def test_a_watch_goes_on_where_the_last_one_ended(api: ApiServer, store: StoreMaker) -> None:
    api.add_node("one", "10.5.1.0/24", annotations=MINE)
    watch = store("one").watch(None, lambda reason: None)
    snapshot = next(watch)
    assert isinstance(snapshot, Snapshot)
    assert [lease.key for lease in snapshot.leases] == ["one"]
    watch.close()  # type: ignore[attr-defined]
    api.add_node("two", "10.5.2.0/24", annotations={**MINE, PREFIX + "public-ip": "192.168.77.12"})
    api.kubectl("delete", "node", "two")
    again = store("one").watch(snapshot.cursor, lambda reason: None)
    put, gone = next(again), next(again)
    again.close()  # type: ignore[attr-defined]
    assert isinstance(put, Put)
    assert put.lease.key == "two"
    assert isinstance(gone, Removed)
    assert gone.key == "two"


def test_a_cursor_that_the_server_has_forgotten_is_lost(api: ApiServer, store: StoreMaker) -> None:
    api.crash()  # it remembers what happened in its own life only
    api._start_api()
    with pytest.raises(CursorLost, match="has forgotten what happened since 1"):
        next(store("one").watch("1", lambda reason: None))


def test_a_watch_that_ends_in_good_order_is_no_outage(api: ApiServer, store: StoreMaker) -> None:
    watching = store("one")
    cursor = next(watching.watch(None, lambda reason: None)).cursor
    # The server ends a watch after so many seconds as it is asked for.
    list_and_watch = watching._client.watch
    watching._client.watch = lambda kind, **more: list_and_watch(kind, server_timeout=1, **more)  # type: ignore[method-assign, assignment]
    reports: list[str] = []
    assert list(watching.watch(cursor, reports.append)) == []
    assert reports == [""]


def test_peers_stay_while_the_api_server_is_away(api: ApiServer, managers: Managers, store: StoreMaker) -> None:
    api.add_node("one", "10.5.1.0/24")
    api.add_node("two", "10.5.2.0/24", annotations={**MINE, PREFIX + "public-ip": "192.168.77.12"})
    manager = managers(11, store("one"))
    before = manager.wait(lambda view: view.peers, seconds=SECONDS)
    api.crash()
    away = manager.wait(lambda view: view.away_since, seconds=SECONDS)
    assert (away.lease, away.peers) == (before.lease, before.peers)
    assert "the API server does not answer" in away.problems[0]
    api._start_api()
    back = manager.wait(lambda view: view.away_since is None, seconds=SECONDS)
    assert (back.lease, back.peers, back.problems) == (before.lease, before.peers, ())


@pytest.mark.parametrize("more", [{}, DUAL, {"Backend": {"Type": "host-gw"}}, {**DUAL, "Backend": {"Type": "host-gw"}}], ids=str)
def test_flanneld_and_we_read_each_other_and_write_the_same(
    api: ApiServer, managers: Managers, *, store: StoreMaker, tmp_path: Path, more: dict[str, Any]
) -> None:
    api.add_node("flannel", "10.5.2.0/24", "fd05:0:0:2::/64")
    api.add_node("one", "10.5.1.0/24", "fd05:0:0:1::/64")
    conf = tmp_path / "net-conf.json"
    conf.write_text(json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "VNI": 100}, **more}))
    options = ("-kube-subnet-mgr", "-kubeconfig-file", str(api.kubeconfig), "-net-config-path", str(conf))
    flanneld = Flanneld(api.machine.node, *options)
    try:
        flanneld.wait()
        theirs = api.annotations("flannel")
        read = Attributes.from_annotations(theirs)
        assert read
        assert read.to_annotations({}) == theirs
        config = network(**more)
        env = SubnetEnv.from_bytes(Path(SUBNET_FILE).read_bytes())
        subnets = Subnets.from_key("10.5.2.0-24&fd05:0:0:2::-64" if config.v6 else "10.5.2.0-24")
        assert SubnetEnv.of(config, subnets, mtu=env.mtu, ipmasq=False).to_bytes() == Path(SUBNET_FILE).read_bytes()
        vxlan = config.backend.Type == "vxlan"
        mine = Attributes(
            IPv4Address("192.168.77.11"),
            IPv6Address("fd77::11") if config.v6 else None,
            config.backend.Type,
            Vtep(100, "02:00:00:00:00:0b") if vxlan else None,
            Vtep(100, "02:00:00:00:00:6b") if vxlan and config.v6 else None,
        )
        manager = managers(11, store("one", **more), describe=lambda network: mine)
        view = manager.wait(lambda view: view.peers, seconds=SECONDS)
        assert [peer.node for peer in view.peers or ()] == (["192.168.77.12", "fd77::12"] if config.v6 else ["192.168.77.12"])
        wait_for(lambda: "10.5.1.0/24" in api.machine.node.run(["ip", "route"]).stdout, "flanneld does not see our node", seconds=SECONDS)
    finally:
        flanneld.stop()
