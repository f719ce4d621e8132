"""What a pod's network must survive: records that have grown old, settings that make no sense, look-ups that fail."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cni_plugins.plan.kinds import masquerade
from cni_plugins.protocol.errors import KernelRefused
from tests.netns.plugins.networks import RECORDS, full_bridge, leases, network, records
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node

OWN = "/proc/thread-self/ns/net"
LOOPBACK = network("loopback")


def test_a_record_whose_namespace_came_to_be_the_node_s_own_leaves_the_node_s_loopback_up(
    plugins: InProcess, pod: Container, node: Node
) -> None:
    plugins.good("loopback", "ADD", LOOPBACK, container=pod)
    (name,) = records()
    record: dict[str, Any] = json.loads((RECORDS / name).read_text())
    record["items"][0]["netns"] = OWN
    (RECORDS / name).write_text(json.dumps(record))
    plugins.good("loopback", "DEL", LOOPBACK, container=pod, env={"CNI_NETNS": ""})
    assert "UP" in node.run(["ip", "link", "show", "lo"]).stdout.partition(">")[0]


def test_a_log_file_whose_name_is_no_path_costs_no_pod_its_network(plugins: InProcess, pod: Container) -> None:
    plugins.good("bridge", "ADD", network(logFile="/tmp/a\0b"), container=pod)
    plugins.good("bridge", "DEL", network(), container=pod)


def test_static_addresses_that_are_wrong_now_keep_no_pod_from_being_deleted(plugins: InProcess, pod: Container) -> None:
    ipam = {"type": "static", "addresses": [{"address": "10.1.0.9/24"}]}
    plugins.good("bridge", "ADD", network(ipam=ipam), container=pod)
    for record in records():
        (RECORDS / record).unlink()
    plugins.good("bridge", "DEL", network(ipam={**ipam, "addresses": [{"address": "wrong"}]}), container=pod)


def test_a_look_up_that_fails_keeps_the_lease_but_not_the_link(
    plugins: InProcess, pod: Container, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins.good("bridge", "ADD", full_bridge(), container=pod)
    for record in records():
        (RECORDS / record).unlink()

    def broken(*_: object) -> list[dict[str, Any]]:
        raise KernelRefused("iptables does not work")

    with monkeypatch.context() as patch:
        patch.setattr(masquerade.MasqueradeKind, "find", broken)
        assert "iptables does not work" in plugins("bridge", "DEL", full_bridge(), container=pod).error["msg"]
        assert "veth" not in node.run(["ip", "-o", "link"]).stdout
        assert len(leases()) == 2
    plugins.good("bridge", "DEL", full_bridge(), container=pod)
    assert not leases()


def test_loopback_that_is_added_twice_is_never_down_in_between(plugins: InProcess, pod: Container) -> None:
    plugins.good("loopback", "ADD", LOOPBACK, container=pod)
    pod.run(["ip", "-6", "route", "add", "fd99::/64", "dev", "lo"])
    plugins.good("loopback", "ADD", LOOPBACK, container=pod)
    assert "fd99::/64" in pod.run(["ip", "-6", "route", "show", "dev", "lo"]).stdout
    plugins.good("loopback", "DEL", LOOPBACK, container=pod)
    assert ",UP" not in pod.run(["ip", "link", "show", "lo"]).stdout.partition(">")[0]


def test_a_bridge_with_spanning_tree_takes_pods_before_its_ports_forward(plugins: InProcess, pod: Container, node: Node) -> None:
    node.run(["ip", "link", "add", "cni0", "type", "bridge", "stp_state", "1"])
    plugins.good("bridge", "ADD", network(isGateway=True), container=pod)
    plugins.good("bridge", "DEL", network(isGateway=True), container=pod)
