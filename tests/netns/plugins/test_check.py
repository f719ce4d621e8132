"""CHECK names everything that is not as ADD left it, and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance import ledger
from tests.netns.plugins.networks import LEASES, full_bridge, host_local, leases, network
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node

_LINK_LOCAL = r"\S+ (address|route) fe80:.*"
"""What the kernel gives a link a moment after it came up."""


class Checked:
    """A pod on a network, and what CHECK says of it."""

    def __init__(self, plugins: InProcess, pod: Container, conf: dict[str, Any]) -> None:
        self.plugins, self.pod, self.node = plugins, pod, plugins.node
        self.result = plugins(conf["type"], "ADD", conf, container=pod).result
        self.conf = conf | {"prevResult": self.result}
        assert plugins(conf["type"], "CHECK", self.conf, container=pod).result is None
        self.host = next(one["name"] for one in self.result["interfaces"] if one["name"].startswith("veth"))

    def drift(self) -> str:
        """What CHECK complains of; it must, and leave everything as it is."""
        before = self.node.ledger()
        error = self.plugins(self.conf["type"], "CHECK", self.conf, container=self.pod).error
        assert ledger.diff(before, self.node.ledger(), ignore=(_LINK_LOCAL,)) == []
        assert error["code"] == 103, error
        return str(error["msg"])

    def on_node(self, command: str) -> None:
        """Run a command on the node; {host} stands for the host end's name."""
        self.node.run(["sh", "-ec", command.replace("{host}", self.host)])

    def in_pod(self, command: str) -> None:
        """Run a command in the pod."""
        self.pod.run(["sh", "-ec", command])


BRIDGE = full_bridge(mtu=1400, portIsolation=True)
PTP = network("ptp", ipMasq=True, mtu=1400)


@pytest.mark.parametrize("conf", [BRIDGE, PTP], ids=["bridge", "ptp"])
@pytest.mark.parametrize(
    ("harm", "names"),
    [
        ("ip link delete eth0", ["eth0"]),
        ("ip link set eth0 down", ["eth0 is down"]),
        ("ip address delete 10.1.0.2/24 dev eth0", ["10.1.0.2/24"]),
        ("ip -6 address delete fd00:1::2/64 dev eth0", ["fd00:1::2/64"]),
        ("ip link set eth0 mtu 1300", ["eth0", "1300", "1400"]),
        (
            "ip link set eth0 down; ip link set eth0 addrgenmode none address 02:00:00:00:00:99; ip link set eth0 up",
            ["eth0", "02:00:00:00:00:99"],
        ),
        ("ip link set eth0 down; ip link set eth0 name net7; ip link set net7 up", ["eth0"]),
    ],
)
def test_drift_in_the_container(plugins: InProcess, *, pod: Container, conf: dict[str, Any], harm: str, names: list[str]) -> None:
    checked = Checked(plugins, pod, conf)
    checked.in_pod(harm)
    said = checked.drift()
    assert not [name for name in names if name not in said], said


@pytest.mark.parametrize(
    ("harm", "names"),
    [
        ("ip route delete default", ["eth0", "default via 10.1.0.1"]),
        ("ip -6 route delete default", ["eth0", "default via fd00:1::1"]),
    ],
)
def test_lost_route(plugins: InProcess, pod: Container, harm: str, names: list[str]) -> None:
    checked = Checked(plugins, pod, BRIDGE)
    checked.in_pod(harm)
    said = checked.drift()
    assert not [name for name in names if name not in said], said


@pytest.mark.parametrize(
    ("harm", "names"),
    [
        ("ip link delete cni0", ["bridge cni0 is gone"]),
        ("ip link set cni0 down", ["bridge cni0 is down"]),
        ("ip link set cni0 address 02:00:00:00:00:77", ["cni0", "02:00:00:00:00:77"]),
        ("ip link set cni0 promisc on", ["cni0", "promiscuous"]),
        ("ip address delete 10.1.0.1/24 dev cni0", ["cni0", "10.1.0.1/24"]),
        ("ip -6 address delete fd00:1::1/64 dev cni0", ["cni0", "fd00:1::1/64"]),
        ("ip link set {host} nomaster", ["not a port of bridge cni0"]),
        ("ip link add br9 type bridge; ip link set {host} master br9", ["br9", "cni0"]),
        ("ip link set {host} down", ["is down"]),
        ("ip link set {host} mtu 1300", ["1300", "1400"]),
        ("ip link set {host} down; ip link set {host} address 02:00:00:00:00:88; ip link set {host} up", ["02:00:00:00:00:88"]),
        ("bridge link set dev {host} hairpin off", ["hairpinMode"]),
        ("bridge link set dev {host} isolated off", ["portIsolation"]),
        ("nft flush set bridge cni_plugins allowed", ["macspoofchk"]),
        ("nft delete table inet cni_plugins", ["10.1.0.2", "fd00:1::2", "masqueraded"]),
        ("nft delete element inet cni_plugins masquerade4 '{ 10.1.0.2 }'", ["10.1.0.2", "masqueraded"]),
        ("nft delete table bridge cni_plugins", ["macspoofchk"]),
        ("echo 0 >/proc/sys/net/ipv4/ip_forward", ["net/ipv4/ip_forward"]),
        ("echo 0 >/proc/sys/net/ipv6/conf/all/forwarding", ["net/ipv6/conf/all/forwarding"]),
        ("rm /var/lib/cni/networks/net/10.1.0.2", ["10.1.0.2", "leased"]),
        ("rm /var/lib/cni/networks/net/[1f]*", ["10.1.0.2", "fd00:1::2", "leased"]),
        ("printf 'other\\r\\neth0' >/var/lib/cni/networks/net/10.1.0.2", ["10.1.0.2", "leased"]),
    ],
)
def test_drift_on_the_node(plugins: InProcess, pod: Container, harm: str, names: list[str]) -> None:
    checked = Checked(plugins, pod, BRIDGE)
    checked.on_node(harm)
    said = checked.drift()
    assert not [name for name in names if name not in said], said


@pytest.mark.parametrize(
    ("harm", "names"),
    [
        ("ip address delete 10.1.0.1/32 dev {host}", ["10.1.0.1"]),
        ("ip route delete 10.1.0.2", ["10.1.0.2"]),
        ("ip -6 route delete fd00:1::2", ["fd00:1::2"]),
        ("ip link set {host} down", ["down"]),
        ("ip link set {host} mtu 1300", ["1300"]),
        ("nft delete table inet cni_plugins", ["masqueraded"]),
        ("echo 0 >/proc/sys/net/ipv4/ip_forward", ["ip_forward"]),
        ("rm /var/lib/cni/networks/net/10.1.0.2", ["leased"]),
    ],
)
def test_drift_of_a_point_to_point_link(plugins: InProcess, pod: Container, harm: str, names: list[str]) -> None:
    checked = Checked(plugins, pod, PTP)
    checked.on_node(harm)
    said = checked.drift()
    assert not [name for name in names if name not in said], said


def test_all_drifts_are_named_at_once(plugins: InProcess, pod: Container) -> None:
    checked = Checked(plugins, pod, BRIDGE)
    checked.on_node(
        "nft flush ruleset; ip link set cni0 down; bridge link set dev {host} hairpin off; rm /var/lib/cni/networks/net/10.1.0.2"
    )
    checked.in_pod("ip link set eth0 mtu 1300; ip address delete 10.1.0.2/24 dev eth0")
    said = checked.drift()
    wanted = ["leased", "cni0 is down", "hairpinMode", "1300", "lacks the address 10.1.0.2/24", "macspoofchk", "masqueraded"]
    assert not [one for one in wanted if one not in said], said


def test_what_others_added_is_no_drift(plugins: InProcess, pod: Container) -> None:
    checked = Checked(plugins, pod, BRIDGE)
    checked.in_pod("ip address add 10.77.0.1/32 dev eth0; ip route add 10.78.0.0/24 via 10.1.0.1; ip link set lo up")
    checked.on_node("ip address add 10.79.0.1/24 dev cni0 || true; nft add table inet firewall; ip link add x type veth peer name y")
    assert plugins("bridge", "CHECK", checked.conf, container=pod).result is None


def test_bridge_without_addresses_can_be_checked(plugins: InProcess, pod: Container) -> None:
    checked = Checked(plugins, pod, network(ipam=None, portIsolation=True))
    checked.in_pod("ip link set eth0 down")
    assert "eth0 is down" in checked.drift()


def test_loopback_that_is_down(plugins: InProcess, pod: Container) -> None:
    conf = network("loopback")
    conf["prevResult"] = plugins("loopback", "ADD", conf, container=pod).result
    plugins.good("loopback", "CHECK", conf, container=pod)
    pod.run(["ip", "link", "set", "lo", "down"])
    assert "lo is down" in plugins("loopback", "CHECK", conf, container=pod).error["msg"]


def test_static_address_that_is_gone(plugins: InProcess, pod: Container) -> None:
    static = {"type": "static", "addresses": [{"address": "10.1.0.9/24"}]}
    checked = Checked(plugins, pod, network(ipam=static))
    checked.in_pod("ip address delete 10.1.0.9/24 dev eth0")
    assert "10.1.0.9" in checked.drift()


def test_check_needs_prev_result(plugins: InProcess, pod: Container) -> None:
    plugins.good("bridge", "ADD", network(), container=pod)
    error = plugins("bridge", "CHECK", network(), container=pod).error
    assert error["code"] == 7
    assert "prevResult" in error["msg"]


@pytest.mark.parametrize("lost", ["netns", "record"])
def test_check_with_the_container_or_the_record_gone(plugins: InProcess, pod: Container, node: Node, lost: str) -> None:
    checked = Checked(plugins, pod, BRIDGE)
    if lost == "netns":
        environ = {"CNI_NETNS": pod.path, "CNI_CONTAINERID": pod.id, "CNI_IFNAME": "eth0"}
        pod.delete()
        error = plugins("bridge", "CHECK", checked.conf, env=environ).error
        assert error["code"] == 3
        assert pod.path in error["msg"]
    else:
        node.run(["rm", "-r", "/run/cni-plugins/records"])
        assert plugins("bridge", "CHECK", checked.conf, container=pod).result is None


def test_lease_of_a_foreign_plugin_is_checked_by_that_plugin(plugins: InProcess, pod: Container, tmp_path: Path) -> None:
    script = tmp_path / "ipam"
    answer = json.dumps({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.7/24", "gateway": "10.1.0.1"}]})
    script.write_text(
        f'#!/bin/sh\n[ $CNI_COMMAND != CHECK ] || {{ echo \'{{"code":12,"msg":"lease expired"}}\'; exit 1; }}\necho \'{answer}\'\n'
    )
    script.chmod(0o755)
    conf = network(ipam={"type": "ipam"})
    result = plugins("bridge", "ADD", conf, container=pod, path=[tmp_path]).result
    error = plugins("bridge", "CHECK", conf | {"prevResult": result}, container=pod, path=[tmp_path]).error
    assert "lease expired" in error["msg"]


def test_lease_that_was_lost_is_named_by_host_local_itself(plugins: InProcess, pod: Container) -> None:
    conf = network("host-local", ipam=host_local("10.1.0.0/24"))
    conf["prevResult"] = plugins("host-local", "ADD", conf, container=pod).result
    plugins.good("host-local", "CHECK", conf, container=pod)
    (LEASES / "net/10.1.0.2").unlink()
    assert not leases()
    assert "10.1.0.2" in plugins("host-local", "CHECK", conf, container=pod).error["msg"]
