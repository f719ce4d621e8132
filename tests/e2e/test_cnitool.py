"""What a user of a runtime gets: networks set up by the real cnitool, in every version that it speaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cnitool import Cnitool, CnitoolError
from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import (
    GATEWAYS,
    addresses,
    bridge,
    forward_ipv6,
    host_local,
    ping,
    prime,
    ptp,
    route_to_pods,
    seen_source,
    static,
)
from tests.support.node import Node

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
MASQUERADE: dict[str, dict[str, Any]] = {
    "default": {"ipMasq": True},
    "iptables": {"ipMasq": True, "ipMasqBackend": "iptables"},
    "nftables": {"ipMasq": True, "ipMasqBackend": "nftables"},
}
PLUGINS: dict[str, Callable[..., dict[str, Any]]] = {"bridge": bridge, "ptp": ptp}


@pytest.mark.parametrize("version", VERSIONS)
def test_pod_is_networked_in_every_version_of_the_specification(node: Node, plugins: Path, version: str, nothing_left: NothingLeft) -> None:
    net = Cnitool(node, [plugins], name="pods", plugins=[bridge(ipMasq=True, hairpinMode=True)], version=version)
    one, two = node.container("one"), node.container("two")
    prime(net, one)
    with nothing_left(node):
        result = net.add(one)
        assert result["cniVersion"] == version
        assert [i["name"] for i in result["interfaces"]][0::2] == ["cbr0", "eth0"]
        assert [ip["interface"] for ip in result["ips"]] == [2, 2]
        assert all(("version" in ip) == (version < "1.0.0") for ip in result["ips"])
        other = net.add(two)
        ping(one, *GATEWAYS, *addresses(other))
        ping(node, *addresses(result))
        if version >= "0.4.0":
            net.check(one)
            net.check(two)
        net.delete(one)
        ping(two, *GATEWAYS)
        net.delete(two)
        net.delete(two)


@pytest.mark.parametrize("masquerade", MASQUERADE)
@pytest.mark.parametrize("kind", PLUGINS)
def test_outside_hosts_see_masqueraded_pods_as_the_node(
    node: Node, plugins: Path, *, kind: str, masquerade: str, nothing_left: NothingLeft
) -> None:
    net = Cnitool(node, [plugins], name="pods", plugins=[PLUGINS[kind](**MASQUERADE[masquerade])])
    pod, neighbour, outside = node.container("pod"), node.container("neighbour"), node.outside()
    forward_ipv6(node)
    prime(net, pod)
    with nothing_left(node):
        result, other = net.add(pod), net.add(neighbour)
        for address, seen in zip(outside.addresses, outside.node_addresses, strict=True):
            assert seen_source(pod, outside, address) == seen
        for address, own in zip(addresses(other), addresses(result), strict=True):
            assert seen_source(pod, neighbour, address) == own
        net.check(pod)
        net.delete(pod)
        net.delete(neighbour)


@pytest.mark.parametrize("kind", PLUGINS)
def test_outside_hosts_see_the_pods_own_address_without_masquerade(node: Node, plugins: Path, kind: str) -> None:
    net = Cnitool(node, [plugins], name="pods", plugins=[PLUGINS[kind]()])
    pod, outside = node.container("pod"), node.outside()
    forward_ipv6(node)
    route_to_pods(outside)
    own = addresses(net.add(pod))
    assert [seen_source(pod, outside, address) for address in outside.addresses] == own
    net.delete(pod)


@pytest.mark.parametrize("version", VERSIONS)
def test_point_to_point_pods_reach_the_node_and_each_other(node: Node, plugins: Path, version: str, nothing_left: NothingLeft) -> None:
    net = Cnitool(node, [plugins], name="pods", plugins=[ptp()], version=version)
    one, two = node.container("one"), node.container("two")
    forward_ipv6(node)
    prime(net, one)
    with nothing_left(node):
        first, second = net.add(one), net.add(two)
        ping(one, *GATEWAYS, *addresses(second))
        ping(node, *addresses(first))
        if version >= "0.4.0":
            net.check(one)
        net.delete(one)
        net.delete(two)


def test_static_addresses_are_those_that_were_asked_for(node: Node, plugins: Path, nothing_left: NothingLeft) -> None:
    asked = ["10.61.0.77/24", "fd61::77/64"]
    net = Cnitool(node, [plugins], name="pods", plugins=[bridge(static(*asked))])
    pod = node.container()
    prime(net, pod)
    with nothing_left(node):
        result = net.add(pod)
        assert [ip["address"] for ip in result["ips"]] == asked
        ping(pod, *GATEWAYS)
        ping(node, *addresses(result))
        net.check(pod)
        net.delete(pod)


@pytest.mark.parametrize("version", VERSIONS)
def test_loopback_comes_up_in_the_pod(node: Node, plugins: Path, version: str) -> None:
    net = Cnitool(node, [plugins], name="lo", plugins=[{"type": "loopback"}], version=version)
    pod = node.container()
    result = net.add(pod, ifname="lo")
    assert addresses(result) == ["127.0.0.1", "::1"]
    ping(pod, "127.0.0.1", "::1")
    if version >= "0.4.0":
        net.check(pod, ifname="lo")
    net.delete(pod, ifname="lo")


def test_check_names_a_lost_address(node: Node, plugins: Path) -> None:
    net = Cnitool(node, [plugins], name="pods", plugins=[bridge()])
    pod = node.container()
    address = net.add(pod)["ips"][0]["address"]
    pod.run(["ip", "address", "del", address, "dev", "eth0"])
    with pytest.raises(CnitoolError, match=address.partition("/")[0]):
        net.check(pod)
    net.delete(pod)


def test_status_is_good_until_the_pool_is_exhausted(node: Node, plugins: Path) -> None:
    pool = {"type": "host-local", "ranges": [[{"subnet": "10.61.0.0/24", "rangeStart": "10.61.0.5", "rangeEnd": "10.61.0.5"}]]}
    net = Cnitool(node, [plugins], name="pods", plugins=[bridge(pool)])
    pod = node.container()
    net.status(pod)
    net.add(pod)
    with pytest.raises(CnitoolError):
        net.status(pod)
    net.delete(pod)
    net.status(pod)


def test_garbage_collection_frees_what_the_runtime_lost(node: Node, plugins: Path, nothing_left: NothingLeft) -> None:
    net = Cnitool(node, [plugins], name="pods", plugins=[bridge(ipMasq=True)])
    keeper = node.container("keeper")
    prime(net, keeper)
    with nothing_left(node):
        lost = node.container("lost")
        net.add(lost)
        lost.delete()
        net.collect_garbage(keeper)


def test_two_networks_in_one_pod_do_not_disturb_each_other(node: Node, plugins: Path, nothing_left: NothingLeft) -> None:
    first = Cnitool(node, [plugins], name="first", plugins=[bridge(ipMasq=True)])
    other = bridge(host_local("10.62.0.0/24"), ipMasq=True) | {"bridge": "cbr1"}
    del other["ipam"]["routes"]
    second = Cnitool(node, [plugins], name="second", plugins=[other])
    pod = node.container()
    prime(first, pod)
    prime(second, pod)
    with nothing_left(node):
        first.add(pod)
        second.add(pod, ifname="net1")
        first.check(pod)
        second.check(pod, ifname="net1")
        ping(pod, *GATEWAYS, "10.62.0.1")
        second.delete(pod, ifname="net1")
        ping(pod, *GATEWAYS)
        first.delete(pod)
