"""Which networks may be set up at once: those of which it is known that they share nothing."""

from __future__ import annotations

from typing import Any

import pytest

from multus_lite import networks, sharing
from multus_lite.conf import MultusConf
from multus_lite.networks import Network


def network(number: int, *plugins: dict[str, Any], name: str = "", master: bool = False) -> Network:
    data = {"name": name or f"network{number}", "plugins": list(plugins)}
    source = networks.assemble(networks.read(data, where="here"), None, device="", runtime={})
    return Network(source, title=source.name, ifname=f"net{number}", master=master)


def groups(*plugins: dict[str, Any], **keys: Any) -> list[int]:
    """How many of the networks that these plugins make are set up at once, and how many then."""
    several = [network(number, plugin) for number, plugin in enumerate(plugins, 1)]
    return [len(group) for group in sharing.independent(several, MultusConf(**keys))]


BRIDGE = {"type": "bridge", "bridge": "br1"}


@pytest.mark.parametrize(
    "other",
    [
        {"type": "bridge", "bridge": "br2"},
        {"type": "bridge"},
        {"type": "macvlan", "master": "eth1"},
        {"type": "unknown"},
        {"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.2.0.0/24"}]], "routes": [{"dst": "192.0.2.0/24"}]}},
        {"type": "ptp", "ipam": {"type": "dhcp"}},
    ],
    ids=repr,
)
def test_networks_of_which_nothing_in_common_is_known_are_set_up_at_once(other: dict[str, Any]) -> None:
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]], "routes": [{"dst": "198.51.100.0/24"}]}
    assert groups({**BRIDGE, "ipam": ipam}, other) == [2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BRIDGE, BRIDGE),
        (BRIDGE, {"type": "macvlan", "MASTER": "br1"}),
        (BRIDGE, {"type": "wrapper", "delegate": {"type": "bridge", "bridge": "br1"}}),
        (BRIDGE, {"type": "macvlan"}),
        (BRIDGE, {"type": "macvlan", "master": ""}),
        ({"type": "bridge"}, {"type": "wrapper", "delegate": {"type": "bridge"}}),
        ({"type": "bridge"}, {"type": "ipvlan", "master": "cni0"}),
        ({"type": "host-device", "pciBusID": "0000:00:1f.6"}, {"type": "sriov", "deviceID": "0000:00:1f.6"}),
        ({"type": "unknown"}, {"type": "unknown"}),
        ({"type": "ptp", "ipam": {"type": "dhcp"}}, {**BRIDGE, "ipam": {"type": "dhcp"}}),
        ({"type": "ptp", "ipam": {"routes": [{"dst": "0.0.0.0/0"}]}}, {**BRIDGE, "isDefaultGateway": True}),
        ({"type": "ptp", "ipam": {"type": "dhcp"}}, {**BRIDGE, "isDefaultGateway": True}),
        ({"type": "ptp", "ipam": {"subnet": "10.1.0.0/24"}}, {**BRIDGE, "ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}]]}}),
        ({"type": "ptp", "sysctl": {"net.core.somaxconn": "5"}}, {**BRIDGE, "sysctl": {"net.core.somaxconn": "6"}}),
    ],
    ids=repr,
)
def test_networks_that_share_something_are_set_up_in_turn(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert groups(one, other) == [1, 1]
    assert groups(other, one) == [1, 1]


def test_interface_that_another_stands_on_is_there_before_it() -> None:
    assert groups({"type": "ptp"}, {"type": "vlan", "master": "net1", "linkInContainer": True}) == [1, 1]


def test_sysctl_of_the_interface_is_shared_by_nobody() -> None:
    tuning = {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}
    assert groups({"type": "ptp", **tuning}, {**BRIDGE, **tuning}) == [2]


def test_plugins_in_the_same_list_share_nothing_with_each_other() -> None:
    one, other = network(1, BRIDGE, {"type": "tuning"}), network(2, {"type": "ptp"}, {"type": "tuning"})
    assert sharing.independent([one, other], MultusConf()) == [[one, other]]


def test_networks_of_one_name_have_one_pool_of_addresses() -> None:
    one, other = network(1, BRIDGE, name="same"), network(2, {"type": "ptp"}, name="same")
    assert sharing.independent([one, other], MultusConf()) == [[one], [other]]


def test_order_is_kept_and_the_default_network_alone_wherever_it_stands() -> None:
    several = [network(number, {"type": "ptp"}, master=number == 2) for number in range(5)]
    assert sharing.independent(several, MultusConf()) == [several[:2], several[2:3], several[3:]]


def test_container_with_very_many_networks_gets_some_at_a_time() -> None:
    assert groups(*[{"type": "ptp"}] * 40) == [16, 16, 8]


def test_networks_are_set_up_in_turn_where_the_configuration_says_so() -> None:
    assert groups({"type": "ptp"}, {"type": "ptp"}, inTurn=True) == [1, 1]
