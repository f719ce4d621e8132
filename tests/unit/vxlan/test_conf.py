"""The vxlan plugin's configuration: what is wrong is named by its key, before anything is changed."""

from __future__ import annotations

from typing import Any

import pytest

from cni_plugins.model.frozen import validate
from cni_plugins.protocol.errors import InvalidConfig
from cni_plugins.protocol.ip import parse_address
from vxlan.conf import VxlanConf, VxlanReleaseConf
from vxlan.marks import AGENT, is_of, mark_of, read_mark
from vxlan.peerlist import vtep_mac

GOOD: dict[str, Any] = {"name": "net", "vni": 100, "underlay": "eth0", "network": "10.5.0.0/16", "subnet": "10.5.1.0/24"}
PEER = {"node": "192.168.77.12", "subnet": "10.5.2.0/24"}


def conf(**keys: Any) -> VxlanConf:
    return validate(VxlanConf, {**GOOD, **keys})


def test_dual_stack_has_two_halves_and_a_subnet_may_be_written_by_its_gateway() -> None:
    both = conf(subnet="10.5.1.1/24", ipv6Network="fd00:5::/48", ipv6Subnet="fd00:5:0:1::/64", ipv6Node="fd77::11")
    assert [(str(half.network), str(half.subnet)) for half in both.halves] == [
        ("10.5.0.0/16", "10.5.1.0/24"),
        ("fd00:5::/48", "fd00:5:0:1::/64"),
    ]


@pytest.mark.parametrize("keys", [("network", "subnet"), ("ipv6Network", "ipv6Subnet")])
def test_ipv6_alone_is_written_under_either_name(keys: tuple[str, str]) -> None:
    alone = conf(**{"network": None, "subnet": None, keys[0]: "fd00:5::/48", keys[1]: "fd00:5:0:1::/64"})
    assert [half.network.family for half in alone.halves] == [6]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"vni": 0}, "vni: 0 is not"),
        ({"vni": 1 << 24}, "vni: 16777216 is not"),
        ({"port": 0}, "port: 0 is not a UDP port"),
        ({"port": 65536}, "port: 65536"),
        ({"underlay": None}, "underlay"),
        ({"backend": "udp"}, "backend: 'udp' is not known"),
        ({"network": None, "subnet": None}, "network: is missing"),
        ({"subnet": None}, "subnet: is missing"),
        ({"network": None}, "network: is missing"),
        ({"subnet": "10.6.1.0/24"}, "subnet: 10.6.1.0/24 is not a part of network, which is 10.5.0.0/16"),
        ({"subnet": "10.5.1.0/31"}, "subnet: 10.5.1.0/31 has no room"),
        ({"node": "fd77::11"}, "node: fd77::11 is not of the family"),
        ({"ipv6Network": "10.6.0.0/16", "ipv6Subnet": "10.6.1.0/24"}, "ipv6Network: 10.6.0.0/16 is not an IPv6 network"),
        (
            {"network": "fd00::/48", "subnet": "fd00:0:0:1::/64", "ipv6Network": "fd01::/48", "ipv6Subnet": "fd01:0:0:1::/64"},
            "ipv6Network: cannot stand beside",
        ),
        ({"peers": [PEER], "peersFile": "/run/peers"}, "peersFile: cannot be set together with peers"),
        ({"peers": [{"node": "192.168.77.12"}]}, "peers[0].subnet"),
        ({"peers": [{**PEER, "subnet": "10.9.2.0/24"}]}, "peer 192.168.77.12 with 10.9.2.0/24: the subnet is not a part of 10.5.0.0/16"),
        (
            {"peers": [{**PEER, "node": "fd77::12"}]},
            "peer fd77::12 with 10.5.2.0/24: a node is reached by an address of its",
        ),
        ({"peers": [PEER, {"node": "192.168.77.13", "subnet": "10.5.2.64/26"}]}, "10.5.2.0/24 of 192.168.77.12 is there too"),
        ({"ipam": {"type": "static"}}, "ipam.type: must be 'host-local'"),
        ({"ipMasq": True, "ipMasqBackend": "ipfw"}, "ipMasqBackend"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        conf(**keys)
    assert message in caught.value.msg


def test_release_reads_nothing_that_could_be_wrong() -> None:
    assert validate(VxlanReleaseConf, {"name": "net", "vni": "x", "subnet": 7, "peers": "none"}).ipam_type == "host-local"


def test_hardware_addresses_are_derived_and_differ_by_node_and_vni() -> None:
    """What nodes of different versions of this project work out must be the same: it is written down here."""
    node = parse_address("192.168.77.12")
    assert vtep_mac(node, 100) == "ba:78:58:f5:8c:74"
    assert len({vtep_mac(node, 100), vtep_mac(node, 101), vtep_mac(parse_address("192.168.77.13"), 100)}) == 3
    for number in range(64):
        first = int(vtep_mac(parse_address(f"10.0.0.{number}"), 1)[:2], 16)
        assert first & 0x03 == 0x02, "locally administered, unicast"


def test_marks_tell_network_and_maker_and_are_no_attachments() -> None:
    mark = mark_of("net", AGENT)
    found = read_mark(mark)
    assert found is not None
    assert found[1] == AGENT
    assert is_of(mark, "net")
    assert not is_of(mark, "other")
    for alias in ("", "mine", "cni-plugins:00112233445566778899aabbccddeeff net/pod/eth0", "cni-plugins:overlay:xyz plugin net"):
        assert read_mark(alias) is None
    assert len(mark_of("n" * 300, AGENT).encode()) <= 255
