"""DEL leaves nothing, whatever has happened to the container, the configuration or the node since ADD."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance import ledger
from tests.netns.plugins.networks import RECORDS, full_bridge, host_local, leases, network, records
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.shared import SHARED

NETWORKS: dict[str, dict[str, Any]] = {
    "bridge": full_bridge(),
    "bridge L2": network(ipam=None),
    "ptp": network("ptp", ipMasq=True),
    "host-local": network("host-local"),
}


@pytest.fixture(params=list(NETWORKS))
def conf(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A network of each kind."""
    return NETWORKS[request.param]


def nothing_left(before: ledger.Snapshot, node: Node) -> None:
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


def test_del_leaves_nothing_and_may_be_repeated(plugins: InProcess, pod: Container, node: Node, conf: dict[str, Any]) -> None:
    before = node.ledger()
    result = plugins(conf["type"], "ADD", conf, container=pod).result
    assert ledger.diff(before, node.ledger(), ignore=SHARED)
    for _ in range(2):
        assert plugins(conf["type"], "DEL", conf | {"prevResult": result}, container=pod).result is None
        nothing_left(before, node)


def test_del_works_where_nothing_ever_was(plugins: InProcess, pod: Container, node: Node, conf: dict[str, Any]) -> None:
    before = node.ledger()
    assert plugins(conf["type"], "DEL", conf, container=pod).result is None
    nothing_left(before, node)
    assert not Path("/var/lib/cni/networks/net").exists(), "a DEL made the directory of a network that was never used"


@pytest.mark.parametrize("netns", ["", "/run/netns/never-there", "/run/netns/pod/beneath", "/etc/hostname"])
def test_del_works_without_a_usable_netns(plugins: InProcess, *, pod: Container, node: Node, conf: dict[str, Any], netns: str) -> None:
    before = node.ledger()
    plugins.good(conf["type"], "ADD", conf, container=pod)
    plugins.good(conf["type"], "DEL", conf, container=pod, env={"CNI_NETNS": netns})
    nothing_left(before, node)


def test_del_works_when_the_netns_has_vanished(plugins: InProcess, pod: Container, node: Node, conf: dict[str, Any]) -> None:
    plugins.good(conf["type"], "ADD", conf, container=pod)
    environ = {"CNI_NETNS": pod.path, "CNI_CONTAINERID": pod.id, "CNI_IFNAME": "eth0"}
    pod.delete()
    before = node.ledger()
    assert plugins(conf["type"], "DEL", conf, env=environ).result is None
    left = ledger.diff(ledger.Snapshot(), node.ledger(), ignore=SHARED)
    assert not [line for line in left if pod.id in line], f"of {len(before)} entries these are left"
    assert not leases()
    assert not records()


@pytest.mark.parametrize(
    "change",
    [
        {"ipMasq": False},
        {"macspoofchk": False},
        {"bridge": "cni7"},
        {"ipam": {"type": "static", "addresses": [{"address": "10.9.0.2/24"}]}},
        {"ipam": host_local("10.9.0.0/24")},
        {"ipam": host_local("10.9.0.0/24", dataDir="/run/elsewhere")},
        {"ipam": {}},
        {"mtu": 1280, "hairpinMode": False, "isDefaultGateway": False},
        {"cniVersion": "0.3.1"},
        {"prevResult": {"cniVersion": "1.1.0", "ips": "nonsense"}},
    ],
    ids=str,
)
def test_del_clears_up_what_add_made_though_the_configuration_changed(
    plugins: InProcess, pod: Container, node: Node, change: dict[str, Any]
) -> None:
    before = node.ledger()
    plugins.good("bridge", "ADD", full_bridge(), container=pod)
    plugins.good("bridge", "DEL", full_bridge() | change, container=pod)
    nothing_left(before, node)


def test_del_after_a_reboot_gives_the_addresses_back(plugins: InProcess, pod: Container, node: Node) -> None:
    for plugin, conf in (("bridge", full_bridge()), ("ptp", network("ptp", name="other", ipMasq=True))):
        plugins.good(plugin, "ADD", conf, container=pod, ifname=plugin)
        kept = leases(conf["name"])
        node.run(["sh", "-c", "nft flush ruleset; ip -br link show type veth | while read name rest; do ip link delete ${name%@*}; done"])
        shutil.rmtree(RECORDS.parent)
        assert leases(conf["name"]) == kept != set()
        plugins.good(plugin, "DEL", conf, container=pod, ifname=plugin, env={"CNI_NETNS": ""})
        assert not leases(conf["name"])


def _lose_records(node: Node) -> None:
    shutil.rmtree(RECORDS)


def _damage_records(node: Node) -> None:
    for file in RECORDS.iterdir():
        file.write_bytes(b'{"format": 1, "items": [{"kind": "veth"')


def _unknown_format(node: Node) -> None:
    for file in RECORDS.iterdir():
        file.write_text('{"format": 99, "attachment": ["net", "x", "y", "z"], "done": true, "items": []}')


@pytest.mark.parametrize("harm", [_lose_records, _damage_records, _unknown_format])
def test_del_finds_everything_by_its_marks_when_the_record_is_lost(
    plugins: InProcess, pod: Container, node: Node, harm: Callable[[Node], None]
) -> None:
    before = node.ledger()
    result = plugins("bridge", "ADD", full_bridge(), container=pod).result
    harm(node)
    plugins.good("bridge", "DEL", full_bridge(prevResult=result), container=pod)
    nothing_left(before, node)


def test_del_finds_its_masquerading_when_record_netns_and_result_are_lost(plugins: InProcess, pod: Container, node: Node) -> None:
    before = node.ledger()
    plugins.good("bridge", "ADD", full_bridge(), container=pod)
    shutil.rmtree(RECORDS)
    pod.delete()
    plugins.good("bridge", "DEL", full_bridge(), container=pod)
    lines = [line for line in ledger.diff(before, node.ledger(), ignore=SHARED) if not line.startswith("-")]
    assert lines == []


def test_del_touches_nobody_else(plugins: InProcess, pod: Container, other: Container, node: Node) -> None:
    plugins.good("bridge", "ADD", full_bridge(), container=other)
    before = node.ledger()
    plugins.good("bridge", "ADD", full_bridge(), container=pod)
    plugins.good("bridge", "ADD", full_bridge(), container=pod, ifname="eth1")
    plugins.good("bridge", "DEL", full_bridge(), container=pod)
    assert pod.run(["ip", "link", "show", "eth1"]).returncode == 0
    plugins.good("bridge", "DEL", full_bridge(), container=pod, ifname="eth1")
    nothing_left(before, node)


def test_del_of_another_network_leaves_the_interface_of_that_name(plugins: InProcess, pod: Container, node: Node) -> None:
    plugins.good("bridge", "ADD", full_bridge(), container=pod)
    before = node.ledger()
    plugins.good("bridge", "DEL", full_bridge(name="another"), container=pod)
    nothing_left(before, node)


def test_link_that_carries_no_mark_of_ours_is_not_deleted(plugins: InProcess, pod: Container, node: Node) -> None:
    result = plugins("bridge", "ADD", full_bridge(), container=pod).result
    name = result["interfaces"][1]["name"]
    node.run(["ip", "link", "set", name, "alias", "somebody else's"])
    plugins.good("bridge", "DEL", full_bridge(), container=pod)
    assert node.run(["ip", "link", "show", name]).returncode == 0


def test_loopback_is_down_again_unless_it_was_up_before(plugins: InProcess, pod: Container, other: Container) -> None:
    other.run(["ip", "link", "set", "lo", "up"])
    for container, flags in ((pod, "DOWN"), (other, "UNKNOWN")):
        plugins.good("loopback", "ADD", network("loopback"), container=container)
        assert container.run(["ip", "-br", "link", "show", "lo"]).stdout.split()[1] == "UNKNOWN"
        plugins.good("loopback", "DEL", network("loopback"), container=container)
        assert container.run(["ip", "-br", "link", "show", "lo"]).stdout.split()[1] == flags
