"""Our plugins and the reference's on one node: in one chain, as each other's IPAM, sharing leases, replacing one another."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.calls import Caller
from tests.e2e.cnitool import Cnitool
from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import GATEWAYS, PATIENCE, addresses, bridge, forward_ipv6, host_local, ping, prime, ptp, seen_source, static
from tests.support.node import Node

MASQUERADE: dict[str, dict[str, Any]] = {
    "none": {},
    "iptables": {"ipMasq": True, "ipMasqBackend": "iptables"},
    "nftables": {"ipMasq": True, "ipMasqBackend": "nftables"},
}
KINDS: dict[str, Callable[..., dict[str, Any]]] = {"bridge": bridge, "ptp": ptp}
REPLACEMENTS = ("reference-then-ours", "ours-then-reference")
CHAINED: dict[str, dict[str, Any]] = {
    "portmap": {"type": "portmap", "capabilities": {"portMappings": True}},
    "firewall": {"type": "firewall"},
    "bandwidth": {"type": "bandwidth", "ingressRate": 10**9, "ingressBurst": 10**8, "egressRate": 10**9, "egressBurst": 10**8},
    "tuning": {"type": "tuning", "capabilities": {"mac": True}, "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}},
}
ASKED = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}], "mac": "c2:11:22:33:44:55"}
Sides = tuple[Path, Path]


@pytest.fixture(params=REPLACEMENTS)
def sides(request: pytest.FixtureRequest, plugins: Path, reference_bin: Path) -> Sides:
    """Both plugin directories, in both orders."""
    return (reference_bin, plugins) if request.param == "reference-then-ours" else (plugins, reference_bin)


def mixed(directory: Path, **choice: Path) -> Path:
    """Fill `directory` with links: each plugin, its name written with underscores, from the directory that was chosen for it."""
    for name, source in choice.items():
        plugin = name.replace("_", "-")
        (directory / plugin).symlink_to(source / plugin)
    return directory


@pytest.mark.parametrize("chain", [*([name] for name in CHAINED), list(CHAINED)], ids="+".join)
def test_reference_plugins_chain_after_our_bridge(
    node: Node, plugins: Path, *, reference_bin: Path, chain: list[str], nothing_left: NothingLeft
) -> None:
    chained = [CHAINED[name] for name in chain]
    net = Cnitool(node, [plugins, reference_bin], name="pods", plugins=[bridge(ipMasq=True), *chained], version="1.0.0")
    one, two = node.container("one"), node.container("two")
    net.add(one, capabilities=ASKED)
    net.delete(one, capabilities=ASKED)
    with nothing_left(node):
        result = net.add(one, capabilities=ASKED)
        other = net.add(two)
        ping(one, *GATEWAYS, *addresses(other))
        net.check(one, capabilities=ASKED)
        net.delete(one, capabilities=ASKED)
        net.delete(two)
    assert [i["name"] for i in result["interfaces"] if i.get("sandbox")] == ["eth0"]


def test_port_mapping_by_the_reference_reaches_a_pod_on_our_bridge(node: Node, plugins: Path, reference_bin: Path) -> None:
    net = Cnitool(node, [plugins, reference_bin], name="pods", plugins=[bridge(ipMasq=True), CHAINED["portmap"]])
    pod, outside = node.container(), node.outside()
    net.add(pod, capabilities=ASKED)
    with pod.inside():
        server = socket.create_server(("0.0.0.0", 80))
    with server, outside.inside(), socket.create_connection((outside.node_addresses[0], 8080), timeout=PATIENCE):
        pass
    net.delete(pod, capabilities=ASKED)


@pytest.mark.parametrize("ipam", ["host-local", "static"])
@pytest.mark.parametrize("ours", ["bridge", "ptp", "ipam"])
def test_interface_plugins_and_ipam_plugins_of_both_work_together(
    node: Node, plugins: Path, *, reference_bin: Path, tmp_path: Path, ours: str, ipam: str, nothing_left: NothingLeft
) -> None:
    addressing = host_local() if ipam == "host-local" else static("10.61.0.9/24", "fd61::9/64")
    lower, upper = (plugins, reference_bin) if ours == "ipam" else (reference_bin, plugins)
    path = mixed(tmp_path, bridge=upper, ptp=upper, host_local=lower, static=lower)
    net = Cnitool(node, [path], name="pods", plugins=[ptp(addressing) if ours == "ptp" else bridge(addressing)])
    pod = node.container()
    prime(net, pod)
    with nothing_left(node):
        result = net.add(pod)
        ping(pod, GATEWAYS[0])
        ping(node, addresses(result)[0])
        net.check(pod)
        net.delete(pod)


@pytest.mark.parametrize("masquerade", MASQUERADE)
@pytest.mark.parametrize("kind", KINDS)
def test_attachment_is_checked_and_deleted_by_the_other_implementation(
    node: Node, sides: Sides, *, plugins: Path, kind: str, masquerade: str, nothing_left: NothingLeft
) -> None:
    first, second = nets(node, sides, KINDS[kind](**MASQUERADE[masquerade]))
    pod, outside = node.container(), node.outside()
    prime(second, pod)
    prime(first, pod)
    with nothing_left(node):
        result = first.add(pod)
        if masquerade != "none":
            ping(pod, outside.addresses[0])
        ping(node, addresses(result)[0])
        second.check(pod)
        second.delete(pod)
        if sides[0] == plugins:
            collect_our_garbage(node, plugins, kind)


@pytest.mark.parametrize("masquerade", MASQUERADE)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lost", ["netns", "prevResult"])
def test_other_implementation_deletes_even_when_something_got_lost(
    node: Node, sides: Sides, *, plugins: Path, kind: str, masquerade: str, lost: str, nothing_left: NothingLeft
) -> None:
    conf = {"cniVersion": "1.0.0", "name": "pods", **KINDS[kind](**MASQUERADE[masquerade])}
    pod = node.container("primer")
    for side in sides:
        for verb in ("ADD", "DEL"):
            assert node.cni(side / kind, verb, conf, container=pod, path=side).code == 0
    pod.delete()
    with nothing_left(node):
        pod = node.container()
        result = node.cni(sides[0] / kind, "ADD", conf, container=pod, path=sides[0]).result
        if lost == "netns":
            pod.delete()
            conf["prevResult"] = result
        outcome = node.cni(sides[1] / kind, "DEL", conf, container=pod, path=sides[1])
        assert outcome.code == 0, outcome
        if sides[0] == plugins:
            collect_our_garbage(node, plugins, kind)
        if lost != "netns":
            pod.delete()


def test_both_implementations_share_one_pool_at_the_same_time(node: Node, sides: Sides, plugins: Path, nothing_left: NothingLeft) -> None:
    first, second = nets(node, sides, bridge(ipMasq=True))
    pods = [node.container(f"pod{number}") for number in range(12)]
    prime(first, pods[0])
    prime(second, pods[0])
    with nothing_left(node), ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda pair: pair[0].add(pair[1]), zip([first, second] * 6, pods, strict=True)))
        given = [address for result in results for address in addresses(result)]
        assert len(set(given)) == 2 * len(pods)
        ping(pods[0], *given[2:4], *given[-2:])
        list(pool.map(lambda pair: pair[0].delete(pair[1]), zip([second, first] * 6, pods, strict=True)))
        collect_our_garbage(node, plugins)


def test_each_refuses_the_address_that_the_other_gave(node: Node, sides: Sides) -> None:
    pool = {"type": "host-local", "ranges": [[{"subnet": "10.61.0.0/24", "rangeStart": "10.61.0.5", "rangeEnd": "10.61.0.6"}]]}
    first, second = nets(node, sides, bridge(pool))
    one, two, three, four = (node.container(name) for name in ("one", "two", "three", "four"))
    assert {*addresses(first.add(one)), *addresses(second.add(two))} == {"10.61.0.5", "10.61.0.6"}
    for net in (first, second):
        with pytest.raises(AssertionError, match="pods"):
            net.add(three)
    second.delete(one)
    assert addresses(first.add(four)) == ["10.61.0.5"]


def test_address_freed_by_the_reference_serves_our_next_pod(
    node: Node, plugins: Path, reference_bin: Path, nothing_left: NothingLeft
) -> None:
    pool = {"type": "host-local", "ranges": [[{"subnet": "10.61.0.0/24", "rangeStart": "10.61.0.5", "rangeEnd": "10.61.0.5"}]]}
    ours, theirs = nets(node, (plugins, reference_bin), bridge(pool | {"routes": [{"dst": "0.0.0.0/0"}]}, ipMasq=True))
    old, new, outside = node.container("old"), node.container("new"), node.outside(subnets=["192.0.2"])
    prime(ours, old)
    prime(theirs, old)
    with nothing_left(node):
        ours.add(old)
        theirs.delete(old)
        ours.add(new)
        assert seen_source(new, outside, outside.addresses[0]) == outside.node_addresses[0]
        ours.check(new)
        ours.delete(new)
        collect_our_garbage(node, plugins)


def collect_our_garbage(node: Node, plugins: Path, kind: str = "bridge") -> None:
    """Remove what the reference leaves of an attachment of ours: it can't know of our records and of our nftables table."""
    outcome = Caller(node, plugins, KINDS[kind]() | {"cni.dev/valid-attachments": []}).run("GC", None)
    assert outcome.code == 0, outcome


def nets(node: Node, sides: Sides, plugin: dict[str, Any]) -> tuple[Cnitool, Cnitool]:
    """The same network, run by the one implementation and by the other."""
    forward_ipv6(node)
    first, second = (Cnitool(node, [side], name="pods", plugins=[plugin]) for side in sides)
    return first, second
