"""The network's configuration: flanneld's rules and defaults, and errors that name the field."""

from __future__ import annotations

import json
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_plugins.protocol.errors import InvalidConfig
from vxlan.leases.network import NetworkConfig, Range
from vxlan.leases.schema import Subnets

VXLAN = {"Backend": {"Type": "vxlan"}}


def parse(**keys: Any) -> NetworkConfig:
    """A configuration from these keys, on VXLAN unless they say otherwise."""
    return NetworkConfig.parse(json.dumps(VXLAN | keys), source="here")


def limits(part: Range[Any] | None) -> tuple[str, str, int]:
    """A range as one reads it."""
    assert part
    kind = type(part.network.network_address)
    return str(kind(part.first)), str(kind(part.last)), part.length


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"Network": "10.5.0.0/16"}, ("10.5.1.0", "10.5.255.0", 24)),
        ({"Network": "10.5.7.9/16"}, ("10.5.1.0", "10.5.255.0", 24)),
        ({"network": "10.5.0.0/16", "subnetlen": 28, "SUBNETMIN": "10.5.4.16"}, ("10.5.4.16", "10.5.255.240", 28)),
        ({"Network": "10.5.0.0/22"}, ("10.5.1.0", "10.5.3.0", 24)),
        ({"Network": "10.5.0.0/23"}, ("10.5.0.128", "10.5.1.128", 25)),
        ({"Network": "10.5.0.0/28"}, ("10.5.0.4", "10.5.0.12", 30)),
        ({"Network": "10.5.0.0/16", "SubnetMin": "10.5.10.0", "SubnetMax": "10.5.20.0", "SubnetLen": None}, ("10.5.10.0", "10.5.20.0", 24)),
        ({"Network": "10.5.0.0/16", "SubnetMin": "0.0.0.0"}, ("10.5.1.0", "10.5.255.0", 24)),
    ],
)
def test_ipv4(keys: dict[str, Any], expected: tuple[str, str, int]) -> None:
    assert limits(parse(**keys).v4) == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"IPv6Network": "fd05::/48"}, ("fd05:0:0:1::", "fd05:0:0:ffff::", 64)),
        ({"IPv6Network": "fd05::/63"}, ("fd05::8000:0:0:0", "fd05:0:0:1:8000::", 65)),
        (
            {"IPv6Network": "fd05::/48", "IPv6SubnetLen": 80, "IPv6SubnetMin": "fd05::1:0:0:0"},
            ("fd05::1:0:0:0", "fd05:0:0:ffff:ffff::", 80),
        ),
    ],
)
def test_ipv6(keys: dict[str, Any], expected: tuple[str, str, int]) -> None:
    network = parse(EnableIPv4=False, EnableIPv6=True, **keys)
    assert network.v4 is None
    assert limits(network.v6) == expected


def test_the_back_end() -> None:
    backend = parse(
        Network="10.5.0.0/16", Backend={"type": "vxlan", "vni": 7, "PORT": 4789, "DirectRouting": True, "GBP": True, "What": 1}
    ).backend
    assert (backend.Type, backend.VNI, backend.Port, backend.DirectRouting, backend.GBP, backend.Learning) == (
        "vxlan",
        7,
        4789,
        True,
        True,
        False,
    )
    assert parse(Network="10.5.0.0/16").backend.VNI == 1


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({}, "here: Network: is not an IPv4 network (got '')"),
        ({"Network": "10.5.0.0"}, "here: Network: is not an IPv4 network (got '10.5.0.0')"),
        ({"Network": "fd05::/48"}, "here: Network: is not an IPv4 network (got 'fd05::/48')"),
        ({"Network": 5}, "here: Network: Input should be a valid string (got 5)"),
        ({"Network": "10.5.0.0/29"}, "here: Network: is too small: the longest prefix is /28 (got '10.5.0.0/29')"),
        ({"Network": "10.5.0.0/16", "SubnetLen": 31}, "here: SubnetLen: is more than 30: a subnet needs four addresses (got 31)"),
        (
            {"Network": "10.5.0.0/16", "SubnetLen": 17},
            "here: SubnetLen: is less than 18: the network must have room for four subnets (got 17)",
        ),
        ({"Network": "10.5.0.0/16", "SubnetMin": "10.6.0.0"}, "here: SubnetMin: is not in 10.5.0.0/16 (got '10.6.0.0')"),
        ({"Network": "10.5.0.0/16", "SubnetMin": "10.5.1.1"}, "here: SubnetMin: is not the first address of a /24 (got '10.5.1.1')"),
        ({"Network": "10.5.0.0/16", "SubnetMax": "x"}, "here: SubnetMax: is not an IPv4 address (got 'x')"),
        (
            {"Network": "10.5.0.0/16", "SubnetMin": "10.5.9.0", "SubnetMax": "10.5.8.0"},
            "here: SubnetMax: is below SubnetMin: no subnet is left (got '10.5.8.0')",
        ),
        ({"EnableIPv4": False}, "here: EnableIPv4 and EnableIPv6 are both false: one of them must be true"),
        ({"Network": "10.5.0.0/16", "EnableIPv6": True}, "here: IPv6Network: is not an IPv6 network (got '')"),
        (
            {"Network": "10.5.0.0/16", "EnableIPv6": True, "IPv6Network": "fd05::/48", "IPv6SubnetMax": "fd06::"},
            "here: IPv6SubnetMax: is not in fd05::/48 (got 'fd06::')",
        ),
        (
            {"Network": "10.5.0.0/16", "Backend": {"Type": "udp"}},
            "here: Backend.Type: is not a back end that we have: vxlan or host-gw (got 'udp')",
        ),
        ({"Network": "10.5.0.0/16", "Backend": None}, "here: Backend.Type: is not a back end that we have: vxlan or host-gw (got 'udp')"),
        (
            {"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "VNI": 1 << 24}},
            "here: Backend.VNI: Input should be less than or equal to 16777215 (got 16777216)",
        ),
        (
            {"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "VNI": "1"}},
            "here: Backend.VNI: Input should be a valid integer (got '1')",
        ),
    ],
)
def test_the_field_that_is_wrong_is_named_with_its_value(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidConfig) as error:
        parse(**keys)
    assert error.value.msg == reason


@pytest.mark.parametrize("text", ["", "nonsense", b"\xff"])
def test_what_is_no_json(text: str | bytes) -> None:
    with pytest.raises(InvalidConfig, match="here: this is not JSON"):
        NetworkConfig.parse(text, source="here")


def test_where_kubernetes_cuts_the_network_sizes_do_not_matter() -> None:
    network = NetworkConfig.parse(json.dumps({**VXLAN, "Network": "10.5.0.0/30", "SubnetLen": 31}), source="here", cut=False)
    assert network.contains(Subnets(IPv4Network("10.5.0.0/31")))
    assert not network.contains(Subnets(IPv4Network("10.5.0.4/31")))
    assert not network.contains(Subnets(IPv4Network("10.5.0.0/31"), IPv6Network("fd05::/64")))


@given(st.integers(8, 28), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_what_flanneld_would_give_out_fits_and_nothing_else(prefix: int, length: int, number: int) -> None:
    network = IPv4Network((number, prefix), strict=False)
    try:
        config = NetworkConfig.parse(json.dumps({**VXLAN, "Network": str(network), "SubnetLen": length}), source="here")
    except InvalidConfig as error:
        assert "SubnetLen" in error.msg  # noqa: PT017 -- any other field would be a mistake
        return
    assert config.v4
    for edge in (config.v4.first, config.v4.last):
        assert config.fits(Subnets(IPv4Network((edge, config.v4.length))))
    size = 1 << (32 - config.v4.length)
    assert config.v4.first == int(network.network_address) + size
    assert config.v4.last == int(network.broadcast_address) + 1 - size
    assert not config.fits(Subnets(IPv4Network((int(network.network_address), config.v4.length))))
    assert ip_address(config.v4.last) in network
