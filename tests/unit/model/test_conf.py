"""Rules between the keys of each plugin, and what its configuration says when it is right."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.conf import BridgeConf
from cni_plugins.ipam.conf import HostLocalConf, HostLocalReleaseConf, StaticAddress, StaticConf
from cni_plugins.model import frozen
from cni_plugins.model.base import Model
from cni_plugins.model.netconf import NetConf
from cni_plugins.protocol.errors import InvalidConfig
from cni_plugins.protocol.ip import parse_cidr


def problems(cls: type[Model], keys: dict[str, Any]) -> list[str]:
    """What is wrong with a configuration, nothing if it is right."""
    try:
        frozen.validate(cls, {"name": "pods", "cniVersion": "1.0.0", **keys})
    except InvalidConfig as error:
        return error.msg.split("; ")
    return []


def bridge(**keys: Any) -> BridgeConf:
    """A bridge configuration that is right."""
    return frozen.validate(BridgeConf, {"name": "pods", **keys})


def host_local(**ipam: Any) -> HostLocalConf:
    """A host-local configuration that is right."""
    return frozen.validate(HostLocalConf, {"name": "pods", "cniVersion": "1.0.0", "ipam": ipam})


def wrong_ranges(*ranges: Any, **ipam: Any) -> list[str]:
    """What host-local says of range sets."""
    return problems(HostLocalConf, {"ipam": {"ranges": list(ranges), **ipam}})


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"hairpinMode": True, "promiscMode": True}, "promiscMode: cannot be set together with hairpinMode: choose one"),
        (
            {"disableContainerInterface": True, "ipam": {"type": "static"}},
            "disableContainerInterface: cannot be set together with ipam: an interface that stays down has no addresses",
        ),
        (
            {"ipMasq": True, "ipMasqBackend": "pf"},
            "ipMasqBackend: 'pf' is not known: use 'nftables' or 'iptables', or leave it out",
        ),
        ({"vlanTrunk": [{"minID": 5}]}, "vlanTrunk[0].maxID: is missing: a range needs minID and maxID"),
        ({"vlanTrunk": [{"maxID": 5}]}, "vlanTrunk[0].minID: is missing: a range needs minID and maxID"),
        ({"vlanTrunk": [{"id": 1}, {"minID": 9, "maxID": 5}]}, "vlanTrunk[1].maxID: 5 is less than minID, which is 9"),
        ({"vlanTrunk": [{"id": 0}]}, "vlanTrunk[0].id: 0 is too small: at least 1"),
        ({"vlanTrunk": [{"minID": 1, "maxID": 4095}]}, "vlanTrunk[0].maxID: 4095 is too large: at most 4094"),
        (
            {"runtimeConfig": {"mac": "01:00:5e:00:00:01"}},
            "runtimeConfig.mac: '01:00:5e:00:00:01' is a multicast address, which no interface can have",
        ),
    ],
)
def test_a_bridge_configuration_that_contradicts_itself_is_refused(keys: dict[str, Any], problem: str) -> None:
    assert problems(BridgeConf, keys) == [problem]


@pytest.mark.parametrize(
    "keys",
    [
        {"disableContainerInterface": True},
        {"disableContainerInterface": True, "ipam": {}},
        {"disableContainerInterface": True, "ipam": {"type": ""}},
        {"ipMasqBackend": "pf"},
        {"ipMasq": True, "ipMasqBackend": None},
        {"ipMasq": True, "ipMasqBackend": "iptables"},
        {"hairpinMode": True, "promiscMode": False},
        {"vlanTrunk": [{}]},
    ],
)
def test_what_works_with_the_reference_bridge_is_accepted(keys: dict[str, Any]) -> None:
    assert problems(BridgeConf, keys) == []


def test_the_default_gateway_is_a_gateway() -> None:
    assert bridge(isDefaultGateway=True).gateway is True
    assert bridge(isGateway=True).gateway is True
    assert bridge().gateway is False


def test_a_trunk_carries_each_vlan_once_in_order() -> None:
    assert bridge(vlanTrunk=[{"id": 7}, {"minID": 5, "maxID": 8, "id": 2}, {"id": 100}]).vlans == (2, 5, 6, 7, 8, 100)


def test_the_runtimes_mac_goes_before_that_of_args() -> None:
    args = {"cni": {"mac": "02:00:00:00:00:0A"}}
    assert bridge(args=args, runtimeConfig={"mac": "02:00:00:00:00:0B"}).mac == "02:00:00:00:00:0b"
    assert bridge(args=args, runtimeConfig={"mac": ""}).mac == "02:00:00:00:00:0a"
    assert bridge().mac == ""


def test_no_list_of_attachments_is_not_an_empty_list() -> None:
    one = {"containerID": "c1", "ifname": "eth0"}
    assert bridge().attachments is None
    assert bridge(**{"cni.dev/valid-attachments": None}).attachments is None
    assert bridge(**{"cni.dev/valid-attachments": []}).attachments == ()
    assert [a.containerID for a in bridge(**{"cni.dev/attachments": [one]}).attachments or ()] == ["c1"]
    assert bridge(**{"cni.dev/valid-attachments": [], "cni.dev/attachments": [one]}).attachments == ()


def test_dns_settings_are_passed_on_without_what_is_empty() -> None:
    conf = frozen.validate(NetConf, {"name": "pods", "dns": {"nameservers": ["10.1.0.1"], "search": [], "domain": ""}})
    assert conf.dns.to_json() == {"nameservers": ["10.1.0.1"]}


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        ({"subnet": "10.0.0.0/31"}, "subnet: 10.0.0.0/31 is too small to allocate from, the longest prefix is /30"),
        ({"subnet": "fd00::/127"}, "subnet: fd00::/127 is too small to allocate from, the longest prefix is /126"),
        ({"subnet": "10.0.0.1/24"}, "subnet: 10.0.0.1/24 has host bits set, the network is 10.0.0.0/24"),
        ({"subnet": "10.0.0.0/24", "rangeStart": "10.0.1.1"}, "rangeStart: 10.0.1.1 is not in subnet 10.0.0.0/24"),
        ({"subnet": "10.0.0.0/24", "rangeEnd": "fd00::1"}, "rangeEnd: fd00::1 is not in subnet 10.0.0.0/24"),
        (
            {"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "rangeEnd": "10.0.0.8"},
            "rangeStart: 10.0.0.9 is behind rangeEnd 10.0.0.8",
        ),
        ({}, "subnet: is missing"),
    ],
)
def test_a_range_that_cannot_be_is_refused_wherever_it_stands(member: dict[str, str], problem: str) -> None:
    fine = [{"subnet": "172.16.0.0/16"}]
    assert wrong_ranges(fine, [{"subnet": "172.17.0.0/16"}, member]) == [f"ipam.ranges[1][1].{problem}"]
    runtime = {"runtimeConfig": {"ipRanges": [[member]]}, "ipam": {"ranges": [fine]}}
    assert problems(HostLocalConf, runtime) == [f"runtimeConfig.ipRanges[0][0].{problem}"]
    if member:
        assert wrong_ranges(fine, **member) == [f"ipam.{problem}"]


def test_ranges_that_share_an_address_are_refused_within_a_set_and_between_sets() -> None:
    small, large, other = {"subnet": "10.0.0.0/25"}, {"subnet": "10.0.0.0/24"}, {"subnet": "10.9.0.0/24"}
    assert wrong_ranges([small, other, large]) == ["ipam.ranges[0]: 10.0.0.1-10.0.0.126 and 10.0.0.1-10.0.0.254, in one range set, overlap"]
    assert wrong_ranges([small], [other], [large]) == ["ipam.ranges[2]: overlaps with ipam.ranges[0]"]
    assert wrong_ranges([large], subnet="10.0.0.0/25") == ["ipam.ranges[0]: overlaps with ipam.subnet"]


def test_ranges_of_one_subnet_may_stand_side_by_side() -> None:
    halves = [
        {"subnet": "10.0.0.0/24", "rangeEnd": "10.0.0.99"},
        {"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.100"},
    ]
    assert wrong_ranges(halves) == []
    assert wrong_ranges(halves[:1], halves[1:]) == []


def test_a_range_set_has_one_family_and_is_not_empty() -> None:
    assert wrong_ranges([{"subnet": "10.0.0.0/24"}, {"subnet": "fd00::/64"}]) == [
        "ipam.ranges[0]: 10.0.0.0/24 and fd00::/64, in one range set, are of different families"
    ]
    assert wrong_ranges([]) == ["ipam.ranges[0]: a range set is empty"]


@pytest.mark.parametrize("ipam", [{}, {"ranges": []}, {"rangeStart": "10.0.0.1"}])
def test_nothing_to_give_out_addresses_from_is_an_error(ipam: dict[str, Any]) -> None:
    assert problems(HostLocalConf, {"ipam": ipam}) == ["ipam.ranges: is missing: there is nothing to give out addresses from"]


@pytest.mark.parametrize(("version", "refused"), [("", True), ("0.1.0", True), ("0.2.0", True), ("0.3.0", False), ("1.1.0", False)])
def test_old_versions_have_room_for_one_address_of_a_family(version: str, refused: bool) -> None:
    ranges = [[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.1.0.0/24"}]]
    assert bool(problems(HostLocalConf, {"cniVersion": version, "ipam": {"ranges": ranges}})) is refused
    both = [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]]
    assert not problems(HostLocalConf, {"cniVersion": version, "ipam": {"ranges": both}})
    conf = frozen.validate(StaticConf, {"name": "pods", "cniVersion": version, "ipam": {"addresses": [{"address": "10.0.0.1/24"}]}})
    more = (StaticAddress(address=parse_cidr("10.0.0.2/24")),)
    if refused:
        with pytest.raises(InvalidConfig, match="several addresses of one family, which cniVersion"):
            conf.addresses(more)
    else:
        assert len(conf.addresses(more)) == 2


def test_the_runtimes_ranges_come_first_then_the_older_single_one() -> None:
    conf = frozen.validate(
        HostLocalConf,
        {
            "name": "pods",
            "cniVersion": "1.0.0",
            "runtimeConfig": {"ipRanges": [[{"subnet": "10.1.0.0/24"}]], "ips": ["10.1.0.7/24"]},
            "args": {"cni": {"ips": ["10.2.0.7", "fd00::7"]}},
            "ipam": {"subnet": "10.2.0.0/24", "rangeStart": "10.2.0.5", "ranges": [[{"subnet": "10.3.0.0/24", "gateway": ""}]]},
        },
    )
    assert [str(pool) for pool in conf.range_sets()] == ["10.1.0.1-10.1.0.254", "10.2.0.5-10.2.0.254", "10.3.0.1-10.3.0.254"]
    assert [str(address) for address in conf.requested] == ["10.2.0.7/32", "fd00::7/128", "10.1.0.7/24"]


def test_leases_are_where_the_reference_has_them_unless_said_otherwise() -> None:
    assert host_local(subnet="10.0.0.0/24").ipam.directory == "/var/lib/cni/networks"
    assert host_local(subnet="10.0.0.0/24", dataDir="").ipam.directory == "/var/lib/cni/networks"
    assert host_local(subnet="10.0.0.0/24", dataDir="/run/x").ipam.directory == "/run/x"


def test_a_broken_range_does_not_keep_a_lease_from_being_released() -> None:
    ipam = {"dataDir": "/run/x", "ranges": [[{"subnet": "nonsense"}]]}
    assert problems(HostLocalConf, {"ipam": ipam})
    conf = frozen.validate(HostLocalReleaseConf, {"name": "pods", "ipam": ipam, "runtimeConfig": 5})
    assert conf.ipam.directory == "/run/x"


def test_routes_keep_what_was_written() -> None:
    route = {"DST": "fd00:0:0:1ff::1/64", "GW": "fd00::1", "mtu": 1400, "advmss": 1300, "priority": 5, "table": 100, "scope": 253}
    made = host_local(subnet="10.0.0.0/24", routes=[route]).ipam.routes[0].to_route()
    assert (str(made.dst), made.gw) == ("fd00:0:0:1ff::1/64", "fd00::1")
    assert (made.mtu, made.advmss, made.priority, made.table, made.scope) == (1400, 1300, 5, 100, 253)
    assert host_local(subnet="10.0.0.0/24", routes=[{"dst": "0.0.0.0/0", "gw": ""}]).ipam.routes[0].to_route().gw is None


def test_static_addresses_give_way_to_args_and_these_to_the_runtime() -> None:
    keys: dict[str, Any] = {"name": "pods", "cniVersion": "1.0.0", "ipam": {"addresses": [{"address": "10.0.0.1/24"}]}}
    extra = (StaticAddress(address=parse_cidr("10.0.0.9/24")),)

    def counting() -> list[str]:
        return [str(one.address) for one in frozen.validate(StaticConf, keys).addresses(extra)]

    assert counting() == ["10.0.0.1/24", "10.0.0.9/24"]
    keys["args"] = {"cni": {"ips": ["10.0.0.2/24"]}}
    assert counting() == ["10.0.0.2/24"]
    keys["runtimeConfig"] = {"ips": ["10.0.0.3/24", "10.0.0.4/24"]}
    assert counting() == ["10.0.0.3/24", "10.0.0.4/24"]


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"ipam": {"addresses": [{"address": "10.0.0.1"}]}}, "ipam.addresses[0].address"),
        ({"ipam": {"addresses": [{"gateway": "10.0.0.1"}]}}, "ipam.addresses[0].address"),
        ({"ipam": {"addresses": [{"address": "10.0.0.1/24", "gateway": "10.0.0.1/24"}]}}, "ipam.addresses[0].gateway"),
        ({"ipam": {"routes": [{"gw": "10.0.0.1"}]}}, "ipam.routes[0].dst"),
        ({"ipam": {"dns": {"nameservers": [1]}}}, "ipam.dns.nameservers[0]"),
        ({"ipam": {}, "runtimeConfig": {"ips": ["10.0.0.1"]}}, "runtimeConfig.ips[0]"),
        ({"ipam": {}, "args": {"cni": {"ips": [""]}}}, "args.cni.ips[0]"),
        ({"ipam": None}, "ipam"),
    ],
)
def test_a_static_configuration_that_is_wrong_names_the_key(keys: dict[str, Any], path: str) -> None:
    assert [text.split(": ")[0] for text in problems(StaticConf, keys)] == [path]
