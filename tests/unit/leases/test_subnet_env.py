"""The subnet file, as flanneld has it."""

from __future__ import annotations

import json
import os
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest

from cni_plugins.protocol.errors import DecodeFailure
from vxlan.leases import subnet_env
from vxlan.leases.network import NetworkConfig
from vxlan.leases.schema import Subnets
from vxlan.leases.subnet_env import SubnetEnv

CONFIG = {"Network": "10.5.0.0/16", "EnableIPv6": True, "IPv6Network": "fd05::/48", "Backend": {"Type": "vxlan"}}
DUAL = b"""FLANNEL_NETWORK=10.5.0.0/16
FLANNEL_SUBNET=10.5.3.1/24
FLANNEL_IPV6_NETWORK=fd05::/48
FLANNEL_IPV6_SUBNET=fd05:0:0:48::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
"""
SUBNETS = Subnets(IPv4Network("10.5.3.0/24"), IPv6Network("fd05:0:0:48::/64"))


def test_it_is_flannelds_to_the_byte() -> None:
    network = NetworkConfig.parse(json.dumps(CONFIG), source="here")
    assert SubnetEnv.of(network, SUBNETS, mtu=1450, ipmasq=True).to_bytes() == DUAL
    four = NetworkConfig.parse(json.dumps({**CONFIG, "EnableIPv6": False}), source="here")
    written = SubnetEnv.of(four, Subnets(SUBNETS.v4), mtu=8950, ipmasq=False).to_bytes()
    assert written == b"FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.3.1/24\nFLANNEL_MTU=8950\nFLANNEL_IPMASQ=false\n"


def test_it_is_read_back() -> None:
    assert SubnetEnv.from_bytes(DUAL).to_bytes() == DUAL
    assert SubnetEnv.from_bytes(DUAL).subnets == SUBNETS
    assert SubnetEnv.from_bytes(b"FLANNEL_MTU=1450\n").subnets is None
    assert SubnetEnv.from_bytes(b'# by hand\n FLANNEL_SUBNET = "10.5.3.1/24"\nOTHER=1\n').subnets == Subnets(SUBNETS.v4)


@pytest.mark.parametrize(
    "line", [b"FLANNEL_SUBNET=10.5.3.1/33", b"FLANNEL_IPV6_SUBNET=10.5.3.1/24", b"FLANNEL_MTU=big", b"FLANNEL_NETWORK=\xff"]
)
def test_the_variable_that_is_wrong_is_named_with_the_file(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "subnet.env"
    path.write_bytes(DUAL + line)
    with pytest.raises(DecodeFailure, match=f"{path}: {line.split(b'=')[0].decode()}: "):
        subnet_env.read(str(path))


def test_it_is_written_only_when_it_changes_and_never_in_part(tmp_path: Path) -> None:
    path = tmp_path / "flannel" / "subnet.env"
    env = SubnetEnv.from_bytes(DUAL)
    assert env.write(str(path))
    before = path.stat().st_ino
    assert not env.write(str(path))
    assert path.stat().st_ino == before
    assert path.stat().st_mode & 0o777 == 0o644
    reader = os.open(path, os.O_RDONLY)
    assert SubnetEnv.from_bytes(DUAL.replace(b"1450", b"1400")).write(str(path))
    assert os.read(reader, 4096) == DUAL
    os.close(reader)
    assert os.listdir(path.parent) == ["subnet.env"]


def test_a_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert subnet_env.read(str(tmp_path / "subnet.env")) is None
