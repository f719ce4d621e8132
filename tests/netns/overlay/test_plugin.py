"""Pods on an overlay that the agent keeps: the vxlan plugin finds all that it needs in what the agent has written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.overlay.keeping import Lines, Listed, Place, subnet
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.outcome import Outcome

CONF = {"cniVersion": "1.1.0", "name": "net5", "type": "vxlan", "store": "static"}


class Pods:
    """The plugin on a node."""

    def __init__(self, place: Place, directory: Path) -> None:
        self.place = place
        directory.mkdir()
        self.plugins = InProcess(place.node, directory)
        self.results: dict[str, Any] = {}

    def call(self, verb: str, pod: Container | None = None, **keys: Any) -> Outcome:
        """One call."""
        return self.plugins("vxlan", verb, {**CONF, **keys}, container=pod)

    def add(self, name: str, **keys: Any) -> tuple[Container, str]:
        """A pod and its address."""
        pod = self.place.node.container(name)
        self.results[name] = self.call("ADD", pod, **keys).result
        return pod, self.results[name]["ips"][0]["address"].partition("/")[0]


@pytest.fixture
def pods(pair: list[Place], tmp_path: Path) -> Iterator[list[Pods]]:
    """The plugin on two nodes of a kept overlay; the test is on the first."""
    pair[0].node.enter()
    yield [Pods(place, tmp_path / f"pods{place.number}") for place in pair]
    pair[0].node.leave()


def ping(pod: Container, target: str, size: int) -> int:
    """The status of a ping with packets of so many bytes, which may not be cut."""
    return pod.run(["ping", "-c1", "-i0.2", "-w10", "-M", "do", "-s", str(size - 28), target], check=False).returncode


def test_pods_of_a_kept_overlay_reach_each_other_at_full_mtu(pods: list[Pods]) -> None:
    (here, own), (there, other) = (side.add("pod") for side in pods)
    assert own.startswith("10.5.1.")
    assert other.startswith("10.5.2.")
    assert ping(here, other, 1450) == ping(there, own, 1450) == 0
    assert pods[0].call("CHECK", here, prevResult=pods[0].results["pod"]).code == 0


def test_check_names_what_is_missing_also_when_the_agent_is_gone(pods: list[Pods]) -> None:
    pod, _ = pods[0].add("pod")
    pods[0].place.stop()
    pods[0].place.sh(f"ip route del {subnet(2)}")
    error = pods[0].call("CHECK", pod, prevResult=pods[0].results["pod"]).error
    assert "peer 192.168.77.12 with 10.5.2.0/24: no route" in error["msg"]


def test_an_add_mends_the_overlay_while_the_agent_is_gone(pods: list[Pods]) -> None:
    pods[0].place.stop()
    pods[0].place.sh("ip link delete vxlan.100")
    here, _ = pods[0].add("pod")
    _, other = pods[1].add("pod")
    assert ping(here, other, 1450) == 0


def test_the_last_del_leaves_the_overlay_and_takes_the_bridge(pods: list[Pods], lines: Lines) -> None:
    pod, _ = pods[0].add("pod")
    assert [link["ifname"] for link in pods[0].place.ip("link", "show", "type", "bridge")] == ["vxbr100"]
    assert pods[0].call("DEL", pod).code == 0
    assert pods[0].place.ip("link", "show", "type", "bridge") == []
    assert pods[0].place.reaches("10.5.2.0")
    assert "10.5.1.0/24" in pods[0].place.sh("nft list table inet cni_plugins")


def test_a_gc_takes_no_agent_for_a_container_that_is_gone(pods: list[Pods]) -> None:
    pods[0].add("pod")
    nobody: dict[str, Any] = {"cni.dev/valid-attachments": []}
    assert pods[0].call("GC", None, **nobody).code == 0
    assert pods[0].place.reaches("10.5.2.0")
    assert "10.5.1.0/24" in pods[0].place.sh("nft list table inet cni_plugins")


def test_without_the_agent_status_and_add_say_so(pods: list[Pods], places: list[Place], tmp_path: Path) -> None:
    alone = Pods(places[2], tmp_path / "pods3")
    assert alone.call("STATUS").error["code"] == 50
    error = alone.call("ADD", places[2].node.container("pod")).error
    assert error["code"] == 11
    assert "the agent does not know the overlay 'net5'" in error["msg"]
    assert "run cni-agent with an [[overlay]] of that name and store = 'static'" in error["details"]


def test_another_store_than_the_agents_is_named(pods: list[Pods]) -> None:
    error = pods[0].call("ADD", pods[0].place.node.container("pod"), store="etcd").error
    assert error["msg"] == "store: the agent has the leases of 'net5' in 'static', and not in 'etcd'"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"vni": 7}, "vni: cannot be set together with store"),
        ({"subnet": "10.5.1.0/24"}, "subnet: cannot be set together with store"),
        ({"store": "zookeeper"}, "store: 'zookeeper' is not known"),
    ],
)
def test_what_the_agent_says_cannot_be_said_twice(pods: list[Pods], keys: dict[str, Any], expected: str) -> None:
    assert expected in pods[0].call("ADD", pods[0].place.node.container("pod"), **keys).error["msg"]


def test_a_state_file_that_was_cut_off_is_named(pods: list[Pods], listed: Listed) -> None:
    path = Path("/run/cni-plugins/overlay-state/net5.json")
    pods[0].place.stop()
    path.write_text(json.dumps({"name": "net5"}))
    error = pods[0].call("ADD", pods[0].place.node.container("pod")).error
    assert error["code"] == 6
    assert f"{path}: this is not what the agent writes" in error["msg"]
