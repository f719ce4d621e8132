"""CHECK names every setting that is not as ADD left it, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from conformance import ledger
from tests.netns.plugins.tuning.tuned import ALL, conf, interface, sysctl
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node

HARM = {
    "ip link set eth0 address c2:11:22:33:44:66": ["mac c2:11:22:33:44:66, not c2:11:22:33:44:55"],
    "ip link set eth0 mtu 1300": ["mtu 1300, not 1400"],
    "ip link set eth0 txqueuelen 1": ["txQLen 1, not 500"],
    "ip link set eth0 promisc off": ["promisc False, not True"],
    "ip link set eth0 allmulticast off": ["allmulti False, not True"],
    "echo 0 > /proc/sys/net/ipv4/conf/eth0/arp_filter": ["net.ipv4.conf.IFNAME.arp_filter is 0, not 1"],
    "echo 20000 20001 > /proc/sys/net/ipv4/ip_local_port_range": ["net/ipv4/ip_local_port_range is 20000\t20001"],
    "ip link delete eth0": ["no interface eth0", "net.ipv4.conf.IFNAME.arp_filter is gone"],
    "ip link set eth0 mtu 1300; echo 0 > /proc/sys/net/ipv4/conf/eth0/arp_filter": ["mtu 1300", "arp_filter is 0"],
}


@pytest.mark.parametrize("harm", HARM)
def test_what_was_changed_since_is_named(plugins: InProcess, pod: Container, node: Node, harm: str) -> None:
    conf_then = tuned(plugins, pod, **ALL)
    pod.run(["sh", "-ec", harm])
    before = node.ledger()
    error = plugins("tuning", "CHECK", conf_then, container=pod).error
    assert error["code"] == 103
    assert all(text in error["msg"] for text in HARM[harm]), error
    assert ledger.diff(before, node.ledger()) == []


def test_what_was_not_asked_for_is_nobody_s_drift(plugins: InProcess, pod: Container) -> None:
    conf_then = tuned(plugins, pod, allmulti=True)
    pod.run(["ip", "link", "set", "eth0", "promisc", "on", "mtu", "1300", "txqueuelen", "7"])
    plugins.good("tuning", "CHECK", conf_then, container=pod)


def test_mode_that_was_to_be_off(plugins: InProcess, pod: Container) -> None:
    conf_then = tuned(plugins, pod, promisc=False)
    pod.run(["ip", "link", "set", "eth0", "promisc", "on"])
    assert "promisc True, not False" in plugins("tuning", "CHECK", conf_then, container=pod).error["msg"]


@pytest.mark.parametrize(("key", "value"), [("net.ipv4.ping_group_range", "5  6"), ("net.ipv4.tcp_fastopen", "0x3")])
def test_notation_of_the_kernel_is_no_drift(plugins: InProcess, pod: Container, key: str, value: str) -> None:
    conf_then = tuned(plugins, pod, sysctl={key: value})
    plugins.good("tuning", "CHECK", conf_then, container=pod)
    sysctl(pod, "net/ipv4/ping_group_range", "1 0")
    sysctl(pod, "net/ipv4/tcp_fastopen", "1")
    assert key in plugins("tuning", "CHECK", conf_then, container=pod).error["msg"]


def test_address_of_another_notation_is_no_drift(plugins: InProcess, pod: Container) -> None:
    plugins.good("tuning", "CHECK", tuned(plugins, pod, mac="C2-11-22-33-44-55"), container=pod)


def tuned(plugins: InProcess, pod: Container, **keys: Any) -> dict[str, Any]:
    """ADD with these keys; the configuration for a CHECK, which must succeed now."""
    then = conf(interface(pod), **keys)
    then["prevResult"] = plugins.good("tuning", "ADD", then, container=pod)
    plugins.good("tuning", "CHECK", then, container=pod)
    return then
