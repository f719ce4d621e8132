"""What ADD gives a container, and says of it, beyond what end-to-end tests show."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conformance import ledger
from tests.netns.plugins.networks import full_bridge, host_local, leases, network
from tests.support.inprocess import InProcess
from tests.support.netns import Container, Netns
from tests.support.node import Node
from tests.support.shared import SHARED


def link(place: Netns | Node, name: str) -> dict[str, Any]:
    """A link as ip(8) describes it."""
    return dict(json.loads(place.run(["ip", "-json", "-details", "link", "show", name]).stdout)[0])


def addresses(place: Netns | Node, name: str) -> set[str]:
    """The addresses of a link, those that the kernel gives by itself left out."""
    found = json.loads(place.run(["ip", "-json", "address", "show", name]).stdout)[0]["addr_info"]
    return {f"{one['local']}/{one['prefixlen']}" for one in found if not one["local"].startswith("fe80")}


def reaches(pod: Netns, address: str, *, within: int = 30) -> bool:
    """Whether the first echo request is answered, within so many seconds: a busy machine may take its time."""
    return pod.run(["ping", "-c1", f"-W{within}", address], check=False).returncode == 0


def test_dual_stack_pod_reaches_the_gateway_and_another_pod_at_once(plugins: InProcess, pod: Container, other: Container) -> None:
    results = [plugins("bridge", "ADD", full_bridge(), container=one).result for one in (pod, other)]
    assert [interface["name"] for interface in results[0]["interfaces"]][::2] == ["cni0", "eth0"]
    assert results[0]["interfaces"][2]["sandbox"] == pod.path
    assert [ip["interface"] for ip in results[0]["ips"]] == [2, 2]
    assert {route["dst"] for route in results[0]["routes"]} == {"0.0.0.0/0", "::/0"}
    assert addresses(pod, "eth0") == {"10.1.0.2/24", "fd00:1::2/64"}
    for address in ("10.1.0.1", "fd00:1::1", "10.1.0.3", "fd00:1::3"):
        assert reaches(pod, address), address


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
@pytest.mark.parametrize("plugin", ["bridge", "ptp", "host-local", "static", "loopback"])
def test_result_has_the_shape_of_its_version(plugins: InProcess, pod: Container, plugin: str, version: str) -> None:
    static: dict[str, Any] = (
        {"ipam": {"type": "static", "addresses": [{"address": "10.1.0.9/24", "gateway": "10.1.0.1"}]}} if plugin == "static" else {}
    )
    conf = network(plugin, version=version, **static)
    result = plugins(plugin, "ADD", conf, container=pod).result
    assert result["cniVersion"] == version
    if version < "0.3":
        assert set(result) <= {"cniVersion", "ip4", "ip6", "dns"}
        assert result["ip4"]["ip"].startswith(("10.1.0.", "127.0.0.1/8"))
        return
    assert result["ips"][0].get("version") == (None if version >= "1" else "4")
    assert ("dns" in result) == (version < "1")
    assert ("interfaces" in result) == (plugin not in ("host-local", "static"))


def test_without_version_it_is_0_1_0(plugins: InProcess, pod: Container) -> None:
    for absent in ({"cniVersion": ""}, {"cniVersion": None}):
        conf = {**network("host-local", ipam=host_local("10.1.0.0/24")), **absent}
        assert plugins("host-local", "ADD", conf, container=pod).result["cniVersion"] == "0.1.0"
        plugins.good("host-local", "DEL", conf, container=pod)


MACS = [f"02:00:00:00:00:0{n}" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("runtime", "args_cni", "cni_args", "expected"),
    [
        (MACS[0], MACS[1], MACS[2], MACS[0]),
        ("", MACS[1], MACS[2], MACS[1]),
        ("", "", MACS[2], MACS[2]),
    ],
    ids=["runtimeConfig", "args.cni", "CNI_ARGS"],
)
def test_mac_address_comes_from_the_runtime_then_args_then_cni_args(
    plugins: InProcess, pod: Container, *, runtime: str, args_cni: str, cni_args: str, expected: str
) -> None:
    conf = network(runtimeConfig={"mac": runtime}, args={"cni": {"mac": args_cni}})
    result = plugins("bridge", "ADD", conf, container=pod, args=f"IgnoreUnknown=1;MAC={cni_args}").result
    assert result["interfaces"][2]["mac"] == link(pod, "eth0")["address"] == expected


def test_mac_address_is_the_same_each_time(plugins: InProcess, pod: Container) -> None:
    found = set()
    for _ in range(2):
        found.add(plugins("bridge", "ADD", network(), container=pod).result["interfaces"][2]["mac"])
        plugins.good("bridge", "DEL", network(), container=pod)
    assert len(found) == 1


def test_argument_for_the_bridge_does_not_break_its_delegate(plugins: InProcess, pod: Container) -> None:
    result = plugins("bridge", "ADD", network(), container=pod, args=f"MAC={MACS[0]};IP=10.1.0.77").result
    assert result["interfaces"][2]["mac"] == MACS[0]
    assert result["ips"][0]["address"] == "10.1.0.77/24"


def test_dns_of_the_configuration_comes_before_that_of_the_lease(plugins: InProcess, pod: Container, node: Node) -> None:
    node.run(["sh", "-c", "echo nameserver 192.0.2.53 >/run/resolv.conf"])
    ipam = host_local("10.1.0.0/24", resolvConf="/run/resolv.conf")
    assert plugins("bridge", "ADD", network(ipam=ipam), container=pod).result["dns"] == {"nameservers": ["192.0.2.53"]}
    own = {"nameservers": ["192.0.2.99"], "search": ["example.org"]}
    result = plugins("bridge", "ADD", network(ipam=ipam, dns=own), container=pod, ifname="eth1").result
    assert result["dns"] == own


def test_promiscuous_mode_and_hairpin_mode(plugins: InProcess, pod: Container, other: Container, node: Node) -> None:
    result = plugins("bridge", "ADD", network(promiscMode=True), container=pod).result
    assert link(node, "cni0")["promiscuity"] == 1
    assert not link(node, result["interfaces"][1]["name"])["linkinfo"]["info_slave_data"]["hairpin"]
    result = plugins("bridge", "ADD", network(name="net2", bridge="br2", hairpinMode=True, ipam=None), container=other).result
    assert link(node, result["interfaces"][1]["name"])["linkinfo"]["info_slave_data"]["hairpin"]


@pytest.mark.parametrize("enabled", [False, True])
def test_duplicate_address_detection_only_where_it_is_enabled(plugins: InProcess, pod: Container, *, enabled: bool) -> None:
    plugins.good("bridge", "ADD", network(enabledad=enabled), container=pod)
    assert pod.run(["cat", "/proc/sys/net/ipv6/conf/eth0/accept_dad"]).stdout.strip() == str(int(enabled))
    found = json.loads(pod.run(["ip", "-json", "-6", "address", "show", "eth0"]).stdout)[0]["addr_info"]
    assert not [one for one in found if one["local"] == "fd00:1::2" and one.get("tentative")]


def test_duplicate_address_is_refused_where_detection_is_enabled(plugins: InProcess, pod: Container, other: Container, node: Node) -> None:
    def static(container: Container) -> Any:
        ipam = {"type": "static", "addresses": [{"address": "fd00:1::7/64"}]}
        return plugins("bridge", "ADD", network(enabledad=True, ipam=ipam), container=container)

    assert static(pod).code == 0
    before = node.ledger()
    error = static(other).error
    assert "fd00:1::7" in error["msg"]
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


def test_layer_2_only(plugins: InProcess, pod: Container, node: Node) -> None:
    result = plugins("bridge", "ADD", network(ipam=None, isGateway=True, ipMasq=True), container=pod).result
    assert "ips" not in result
    assert link(pod, "eth0")["operstate"] == "UP"
    assert addresses(pod, "eth0") == set()
    assert addresses(node, "cni0") == set()


def test_container_interface_stays_down_when_it_is_disabled(plugins: InProcess, pod: Container) -> None:
    conf = network(ipam=None, disableContainerInterface=True)
    result = plugins("bridge", "ADD", conf, container=pod).result
    assert "UP" not in link(pod, "eth0")["flags"]
    assert plugins("bridge", "CHECK", conf | {"prevResult": result}, container=pod).result is None


def test_gateway_address_of_somebody_else_is_refused_unless_forced(plugins: InProcess, pod: Container, node: Node) -> None:
    node.run(["ip", "link", "add", "cni0", "type", "bridge"])
    node.run(["ip", "address", "add", "10.1.0.254/24", "dev", "cni0"])
    conf = network(isGateway=True, ipam=host_local("10.1.0.0/24"))
    before = node.ledger()
    error = plugins("bridge", "ADD", conf, container=pod).error
    assert "10.1.0.254/24" in error["msg"]
    assert "forceAddress" in error["details"]
    assert ledger.diff(before, node.ledger(), ignore=SHARED[1:3]) == []
    plugins.good("bridge", "ADD", conf | {"forceAddress": True}, container=pod)
    assert addresses(node, "cni0") == {"10.1.0.1/24"}


def test_default_route_once_for_each_family_and_never_in_place_of_a_given_one(plugins: InProcess, pod: Container) -> None:
    ranges = {"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}], [{"subnet": "fd00:1::/64"}]]}
    plugins.good("bridge", "ADD", network(isDefaultGateway=True, ipam={"type": "host-local", **ranges}), container=pod)
    assert len(json.loads(pod.run(["ip", "-json", "route", "show", "default"]).stdout)) == 1
    assert len(json.loads(pod.run(["ip", "-json", "-6", "route", "show", "default"]).stdout)) == 1


def test_isolated_pods_reach_the_gateway_but_not_each_other(plugins: InProcess, pod: Container, other: Container, node: Node) -> None:
    third = node.container("third")
    for container, isolated in ((pod, True), (other, True), (third, False)):
        plugins.good("bridge", "ADD", full_bridge(portIsolation=isolated), container=container)
    assert reaches(pod, "10.1.0.1")
    assert reaches(pod, "10.1.0.4")
    assert not reaches(pod, "10.1.0.3", within=1)


def test_frames_with_another_source_address_are_dropped(plugins: InProcess, pod: Container) -> None:
    plugins.good("bridge", "ADD", full_bridge(), container=pod)
    assert reaches(pod, "10.1.0.1")
    pod.run(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:99"])
    assert not reaches(pod, "10.1.0.1", within=1)


def test_bridge_keeps_its_address_as_ports_come_and_go(plugins: InProcess, pod: Container, other: Container, node: Node) -> None:
    first = plugins("bridge", "ADD", network(), container=pod).result["interfaces"][0]["mac"]
    plugins.good("bridge", "ADD", network(), container=other)
    plugins.good("bridge", "DEL", network(), container=pod)
    assert link(node, "cni0")["address"] == first
    assert node.run(["cat", "/proc/sys/net/ipv6/conf/cni0/accept_ra"]).stdout.strip() == "0"


def test_routes_with_all_their_attributes(plugins: InProcess, pod: Container) -> None:
    routes = [
        {"dst": "192.0.2.0/24", "gw": "10.1.0.254", "mtu": 1300, "advmss": 1200, "priority": 77},
        {"dst": "198.51.100.0/24", "table": 100},
        {"dst": "203.0.113.0/24", "scope": 0},
        {"dst": "2001:db8::/32", "gw": "fd00:1::99"},
    ]
    conf = network(ipam=host_local(routes=routes))
    result = plugins("bridge", "ADD", conf, container=pod).result
    assert result["routes"] == routes
    listed = pod.run(["sh", "-c", "ip route show table all; ip -6 route show table all"]).stdout
    for text in (
        "192.0.2.0/24 via 10.1.0.254 dev eth0 metric 77 mtu 1300 advmss 1200",
        "198.51.100.0/24 via 10.1.0.1 dev eth0 table 100",
        "203.0.113.0/24",
        "2001:db8::/32 via fd00:1::99",
    ):
        assert text in listed, listed
    assert plugins("bridge", "CHECK", conf | {"prevResult": result}, container=pod).result is None


def test_pod_behind_masquerade_reaches_a_host_that_does_not_know_its_network(plugins: InProcess, pod: Container, node: Node) -> None:
    host = node.outside()
    everywhere = host_local(routes=[{"dst": "0.0.0.0/0"}, {"dst": "::/0"}])
    for conf in (full_bridge(), network("ptp", name="p", ipMasq=True, ipam=everywhere)):
        plugins.good(conf["type"], "ADD", conf, container=pod)
        for address in host.addresses:
            assert reaches(pod, address), (conf["type"], address)
        plugins.good(conf["type"], "DEL", conf, container=pod)


def test_second_add_is_an_error_and_touches_nothing(plugins: InProcess, pod: Container, node: Node) -> None:
    for conf in (full_bridge(), network("ptp", name="p", ipMasq=True, ipam=host_local("10.2.0.0/24")), network("host-local", name="h")):
        plugins.good(conf["type"], "ADD", conf, container=pod, ifname=conf["name"])
        before = node.ledger()
        error = plugins(conf["type"], "ADD", conf, container=pod, ifname=conf["name"]).error
        assert pod.id in error["msg"]
        assert ledger.diff(before, node.ledger()) == []


def test_interface_of_that_name_is_not_touched(plugins: InProcess, pod: Container, node: Node) -> None:
    pod.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth9"])
    before = node.ledger()
    for conf in (full_bridge(), network("ptp", ipMasq=True)):
        error = plugins(conf["type"], "ADD", conf, container=pod).error
        assert "'eth0' already exists" in error["msg"]
        assert ledger.diff(before, node.ledger(), ignore=SHARED[1:3]) == []


def test_two_interfaces_of_one_container_on_one_network(plugins: InProcess, pod: Container) -> None:
    for ifname in ("eth0", "net1"):
        plugins.good("bridge", "ADD", full_bridge(), container=pod, ifname=ifname)
    assert len(leases()) == 4
    assert addresses(pod, "net1") == {"10.1.0.3/24", "fd00:1::3/64"}


@pytest.mark.parametrize("plugin", ["bridge", "ptp", "loopback"])
@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
def test_own_network_namespace_is_refused(plugins: InProcess, *, pod: Container, node: Node, plugin: str, verb: str) -> None:
    before = node.ledger()
    conf = network(plugin, prevResult={"cniVersion": "1.1.0"})
    error = plugins(plugin, verb, conf, container=pod, env={"CNI_NETNS": "/proc/thread-self/ns/net"}).error
    assert error["code"] == 4
    assert "CNI_NETNS" in error["msg"]
    assert ledger.diff(before, node.ledger()) == []


def test_own_network_namespace_is_accepted_when_that_is_asked_for(plugins: InProcess, pod: Container) -> None:
    environ = {"CNI_NETNS": "/proc/thread-self/ns/net", "CNI_NETNS_OVERRIDE": "true"}
    plugins.good("loopback", "ADD", network("loopback"), container=pod, env=environ)


def test_unpublished_result_is_undone(plugins: InProcess, pod: Container, node: Node) -> None:
    def closed(data: bytes) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    plugins.good("bridge", "ADD", full_bridge(), container=pod)
    plugins.good("bridge", "DEL", full_bridge(), container=pod)
    before = node.ledger()
    assert plugins("bridge", "ADD", full_bridge(), container=pod, deliver=closed).code == 1
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


def test_add_after_a_killed_one_begins_afresh(plugins: InProcess, pod: Container, node: Node) -> None:
    plugins.good("bridge", "ADD", full_bridge(), container=pod)
    node.run(["sh", "-c", 'sed -i \'s/"done":true/"done":false/\' /run/cni-plugins/records/*'])
    plugins.good("bridge", "ADD", full_bridge(), container=pod)
    assert len(leases()) == 2
    assert reaches(pod, "10.1.0.1")


def test_loopback_hands_on_the_result_of_the_plugin_before_it(plugins: InProcess, pod: Container) -> None:
    prev = {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24"}], "interfaces": [{"name": "eth0", "sandbox": pod.path}]}
    result = plugins("loopback", "ADD", network("loopback", version="1.0.0", prevResult=prev), container=pod).result
    assert result == prev
    assert reaches(pod, "127.0.0.1")
    assert reaches(pod, "::1")


def test_mtu_holds_for_both_ends(plugins: InProcess, pod: Container, node: Node) -> None:
    for conf in (network(mtu=1400), network("ptp", name="p", mtu=1400, ipam=host_local("10.2.0.0/24"))):
        result = plugins(conf["type"], "ADD", conf, container=pod, ifname=conf["type"]).result
        host = next(one["name"] for one in result["interfaces"] if one["name"].startswith("veth"))
        assert link(node, host)["mtu"] == link(pod, conf["type"])["mtu"] == 1400
