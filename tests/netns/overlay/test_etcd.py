"""Overlays with their leases in a real etcd: nodes that join, outages, and real flanneld beside ours."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.netns.leases.etcd_server import Etcd
from tests.netns.overlay.keeping import Lines, Place, until
from tests.netns.overlay.wire import Wire
from tests.support.flanneld import Flanneld
from tests.support.underlay import Underlay

ENDPOINT = "http://192.168.77.1:2379"
TABLE = {"name": "pods", "store": "etcd", "subnetFile": "/run/flannel/subnet.env", "etcd": {"endpoints": [ENDPOINT]}}
NETWORK: dict[str, Any] = {"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "VNI": 100}}
READY = "/run/flannel/subnet.env has"


class Store:
    """etcd on the switch, which all nodes reach."""

    def __init__(self, underlay: Underlay, directory: Path) -> None:
        self._hub = underlay.hub
        with self._hub.inside():
            self.etcd = Etcd(underlay.hub, directory, options=["--listen-client-urls", f"{ENDPOINT},http://127.0.0.1:2381"])
        self.configure(**NETWORK)

    def configure(self, **network: Any) -> None:
        """Write the network's configuration."""
        with self._hub.inside():
            self.etcd.configure(**network)

    def put(self, key: str, value: str) -> None:
        """Write a lease, whatever it says."""
        with self._hub.inside():
            self.etcd.put(f"/coreos.com/network/subnets/{key}", value)

    def leases(self) -> dict[str, Any]:
        """Every lease: its key and its value."""
        with self._hub.inside():
            return {key: json.loads(entry["value"]) for key, entry in self.etcd.entries().items()}

    def stop(self) -> None:
        """As when it crashes."""
        self.etcd.stop()

    def start(self) -> None:
        """As it was."""
        with self._hub.inside():
            self.etcd.start()


@pytest.fixture
def store(underlay: Underlay, tmp_path: Path) -> Store:
    """etcd with a network."""
    return Store(underlay, tmp_path)


def vtep(place: Place) -> str:
    """The address of a node's VXLAN device."""
    for line in place.sh("cat /run/flannel/subnet.env").splitlines():
        if line.startswith("FLANNEL_SUBNET="):
            return line.partition("=")[2].replace(".1/24", ".0")
    raise AssertionError("the subnet file names no subnet")


def all_reach_each_other(places: list[Place]) -> None:
    """Wait until every node has every other one as its peer, and see that full packets get through."""
    targets = {place.number: vtep(place) for place in places}
    for place in places:
        for number, target in targets.items():
            if number != place.number:
                until(partial(place.reaches, target), f"{place.node.name} does not reach {target}")


def test_nodes_that_start_at_once_get_a_subnet_each_and_reach_each_other(store: Store, places: list[Place], lines: Lines) -> None:
    for place in places:
        place.start(TABLE)
    for _ in places:
        lines.wait_for(READY)
    assert len(store.leases()) == 3
    all_reach_each_other(places)
    with Wire(places[1].node, port=8472) as wire:
        assert places[0].reaches(vtep(places[1]))
        assert wire.vnis() == {100}


def test_while_etcd_is_away_what_breaks_is_mended_and_an_agent_may_start(store: Store, places: list[Place], lines: Lines) -> None:
    first, second = places[:2]
    for place in (first, second):
        place.start(TABLE)
        lines.wait_for(READY)
    all_reach_each_other([first, second])
    store.stop()
    for _ in (first, second):
        lines.wait_for("pods: etcd does not answer")
    first.sh("ip link delete vxlan.100")
    lines.wait_for("repaired: VXLAN device vxlan.100 is gone")
    assert first.reaches(vtep(second))
    before = store_of(first)
    first.stop()
    first.sh("ip link delete vxlan.100")
    first.start(TABLE)
    lines.wait_for("brought about: VXLAN device vxlan.100 is gone.*3 entries put in")
    first.sh("ip link delete vxlan.100")
    lines.wait_for("repaired: VXLAN device vxlan.100 is gone.*3 entries put in")
    assert first.reaches(vtep(second))
    until(lambda: "etcd does not answer" in str(store_of(first)["about"]["problems"]), "nobody is told that etcd is away")
    store.start()
    places[2].start(TABLE)
    lines.wait_for_all("joined: peer 192.168.77.13", READY)
    until(lambda: first.reaches(vtep(places[2])), "the one that came meanwhile is not reached")
    assert store_of(first)["halves"] == before["halves"]


def store_of(place: Place) -> Any:
    """What the agent has written for others."""
    return json.loads(place.sh("cat /run/cni-plugins/overlay-state/pods.json"))


def test_a_node_whose_address_changes_publishes_the_new_one_and_keeps_its_subnet(store: Store, places: list[Place], lines: Lines) -> None:
    first, second = places[:2]
    for place in (first, second):
        place.start(TABLE)
        lines.wait_for(READY)
    own = vtep(first)
    first.sh("ip address del 192.168.77.11/24 dev eth0; ip address add 192.168.77.21/24 dev eth0")
    lines.wait_for("joined: peer 192.168.77.21")
    all_reach_each_other([first, second])
    assert vtep(first) == own
    assert {value["PublicIP"] for value in store.leases().values()} == {"192.168.77.21", "192.168.77.12"}


def test_a_lease_that_makes_no_sense_is_named_and_keeps_no_other_from_being_a_peer(store: Store, places: list[Place], lines: Lines) -> None:
    first, second = places[:2]
    store.put("10.5.250.0-24", "nonsense")
    for place in (first, second):
        place.start(TABLE)
        lines.wait_for_all(READY, "the lease 10.5.250.0-24 is left out: a lease's value is not JSON")
    all_reach_each_other([first, second])


def test_a_vni_that_is_changed_in_etcd_is_in_force_when_the_agents_start_again(store: Store, places: list[Place], lines: Lines) -> None:
    first, second = places[:2]
    for place in (first, second):
        place.start(TABLE)
        lines.wait_for(READY)
    own = vtep(first)
    store.configure(**{**NETWORK, "Backend": {"Type": "vxlan", "VNI": 7}})
    for place in (first, second):
        place.stop()
        place.start(TABLE)
        lines.wait_for("vxlan.100 is of an earlier configuration.*vxlan.7 is made anew")
    all_reach_each_other([first, second])
    assert vtep(first) == own


BACKENDS: dict[str, dict[str, Any]] = {
    "vxlan": {"Type": "vxlan", "VNI": 100},
    "direct routing": {"Type": "vxlan", "VNI": 100, "DirectRouting": True},
    "host-gw": {"Type": "host-gw"},
}


@pytest.mark.parametrize("name", BACKENDS)
def test_real_flanneld_and_ours_are_peers_on_one_overlay(
    store: Store, places: list[Place], lines: Lines, *, tmp_path: Path, name: str
) -> None:
    backend = BACKENDS[name]
    store.configure(Network="10.5.0.0/16", Backend=backend)
    ours = places[0]
    Flanneld(places[1].node, ENDPOINT, log=tmp_path / "2.log")
    ours.start(TABLE)
    lines.wait_for(READY)
    Flanneld(places[2].node, ENDPOINT, log=tmp_path / "3.log")
    for place in places:
        place.sh(f"ip link add pods type bridge; ip address add {vtep(place)[:-1]}1/24 dev pods; ip link set pods up")
        place.sh("echo 1 > /proc/sys/net/ipv4/ip_forward")
    size = 1450 if name == "vxlan" else 1500
    targets = {place.number: vtep(place)[:-1] + "1" for place in places}
    for place in places:
        for number, target in targets.items():
            if number != place.number:  # who joined last may not be known everywhere yet
                until(partial(place.reaches, target, size=size), f"{place.node.name} does not reach {target}")
    values = store.leases().values()
    assert {value["BackendType"] for value in values} == {backend["Type"]}
    assert {value["PublicIP"] for value in values} == {place.address for place in places}
