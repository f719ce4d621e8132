"""What a pod's bridge port lets through: the keys `vlan`, `vlanTrunk` and `preserveDefaultVlan` of the bridge plugin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cnitool import Cnitool
from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import ping, prime
from tests.support.netns import Container
from tests.support.node import Node

SUBNET = "10.61.0"
Ports = dict[int, list[str]]
NATIVE = ["Egress Untagged", "PVID"]
UNTAGGED = ["Egress Untagged"]
TAGGED: list[str] = []
CASES: dict[str, tuple[dict[str, Any], Ports]] = {
    "vlan": ({"vlan": 100}, {100: NATIVE}),
    "vlan-and-default": ({"vlan": 100, "preserveDefaultVlan": True}, {1: UNTAGGED, 100: NATIVE}),
    "trunk-of-a-range": ({"vlanTrunk": [{"minID": 10, "maxID": 12}]}, {1: NATIVE, 10: TAGGED, 11: TAGGED, 12: TAGGED}),
    "trunk-and-default": ({"vlanTrunk": [{"id": 20}], "preserveDefaultVlan": True}, {1: NATIVE, 20: TAGGED}),
    "trunk-of-both": ({"vlanTrunk": [{"id": 20}, {"minID": 10, "maxID": 11}]}, {1: NATIVE, 10: TAGGED, 11: TAGGED, 20: TAGGED}),
    "vlan-and-trunk": ({"vlan": 5, "vlanTrunk": [{"id": 20}]}, {5: NATIVE, 20: TAGGED}),
    "vlan-and-trunk-and-default": (
        {"vlan": 5, "vlanTrunk": [{"id": 20}], "preserveDefaultVlan": True},
        {1: UNTAGGED, 5: NATIVE, 20: TAGGED},
    ),
    "none": ({}, {1: NATIVE}),
}


def network(node: Node, plugins: Path, name: str, **keys: Any) -> Cnitool:
    """Return a network on the bridge cbr0 with a pool of its own in the one subnet, so that only VLANs keep pods apart."""
    first = 10 + 20 * sum(map(ord, name)) % 200
    pool = {"subnet": f"{SUBNET}.0/24", "rangeStart": f"{SUBNET}.{first}", "rangeEnd": f"{SUBNET}.{first + 9}"}
    plugin = {"type": "bridge", "bridge": "cbr0", "ipam": {"type": "host-local", "ranges": [[pool]]}, **keys}
    return Cnitool(node, [plugins], name=name, plugins=[plugin])


def port_vlans(node: Node, link: str) -> Ports:
    """Return the VLANs of a bridge's port and what the bridge does with each, as `bridge vlan` tells it."""
    shown = json.loads(node.run(["bridge", "-json", "vlan", "show", "dev", link]).stdout)
    vlans = {entry["vlan"]: sorted(entry.get("flags", [])) for port in shown for entry in port["vlans"]}
    ends = {entry["vlan"]: entry.get("vlanEnd", entry["vlan"]) for port in shown for entry in port["vlans"]}
    return {vlan: flags for first, flags in vlans.items() for vlan in range(first, ends[first] + 1)}


def address(result: dict[str, Any]) -> str:
    """Return a result's only address."""
    return str(result["ips"][0]["address"].partition("/")[0])


def answers(source: Container, target: str) -> bool:
    """Return whether one of two echo requests is answered within two seconds."""
    return source.run(["ping", "-n", "-c2", "-i0.2", "-w2", target], check=False).returncode == 0


@pytest.mark.parametrize("case", CASES)
def test_port_carries_the_vlans_that_were_asked_for(node: Node, plugins: Path, case: str, nothing_left: NothingLeft) -> None:
    keys, expected = CASES[case]
    net = network(node, plugins, "pods", **keys)
    pod = node.container()
    prime(net, pod)
    with nothing_left(node):
        result = net.add(pod)
        assert port_vlans(node, result["interfaces"][1]["name"]) == expected
        net.check(pod)
        net.delete(pod)


def test_pods_of_one_vlan_reach_each_other_and_no_other(node: Node, plugins: Path) -> None:
    red, blue = network(node, plugins, "red", vlan=100), network(node, plugins, "blue", vlan=200)
    one, two, stranger = (node.container(name) for name in ("one", "two", "stranger"))
    red.add(one)
    near, far = address(red.add(two)), address(blue.add(stranger))
    ping(one, near)
    assert not answers(one, far)
    for net, pod in ((red, one), (red, two), (blue, stranger)):
        net.delete(pod)


def test_pod_on_a_trunk_reaches_a_vlan_by_tagged_frames(node: Node, plugins: Path) -> None:
    trunk, access = network(node, plugins, "trunk", vlanTrunk=[{"id": 10}]), network(node, plugins, "access", vlan=10)
    router, pod = node.container("router"), node.container("pod")
    trunk.add(router)
    target = address(access.add(pod))
    router.run(["ip", "address", "flush", "dev", "eth0"])
    for line in ("link add link eth0 name tagged type vlan id 10", f"address add {SUBNET}.250/24 dev tagged", "link set tagged up"):
        router.run(["ip", *line.split()])
    ping(router, target)
    trunk.delete(router)
    access.delete(pod)


def test_gateway_of_a_vlan_is_in_that_vlan(node: Node, plugins: Path, nothing_left: NothingLeft) -> None:
    net = network(node, plugins, "pods", vlan=100, isGateway=True)
    pod = node.container()
    prime(net, pod)
    with nothing_left(node):
        net.add(pod)
        ping(pod, f"{SUBNET}.1")
        assert f"{SUBNET}.1/24" in node.run(["ip", "address", "show", "dev", "cbr0.100"]).stdout
        net.check(pod)
        net.delete(pod)


def test_a_gateway_that_a_killed_call_left_half_made_is_finished_by_the_next(node: Node, plugins: Path) -> None:
    net = network(node, plugins, "pods", vlan=100, isGateway=True)
    node.run(["ip", "link", "add", "cbr0", "type", "bridge", "vlan_filtering", "1"])
    node.run(["ip", "link", "add", "cbr0.100", "type", "veth", "peer", "name", "vethhalf"])
    pod = node.container()
    gateway = net.add(pod)["ips"][0]["gateway"]
    assert port_vlans(node, "vethhalf") == {100: NATIVE}
    ping(pod, gateway)
    net.delete(pod)
