"""The subnet file, by which the flannel CNI plugin learns what this node's lease is; as flanneld 0.28 writes it, to the byte.

FLANNEL_NETWORK=10.5.0.0/16
FLANNEL_SUBNET=10.5.52.1/24          the node's subnet, with the address of its gateway
FLANNEL_IPV6_NETWORK=fd00::/48       only with IPv6
FLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING, TypeVar

from cni_plugins.kernel import files
from cni_plugins.protocol.errors import DecodeFailure
from vxlan.leases.schema import Subnets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vxlan.leases.network import NetworkConfig

T = TypeVar("T")

DEFAULT_PATH = "/run/flannel/subnet.env"


@dataclass(frozen=True, slots=True)
class SubnetEnv:
    """What the file says. `mtu` is in bytes; `ipmasq` whether the daemon masquerades (the plugin need not)."""

    network: IPv4Network | None
    subnet: IPv4Interface | None
    ipv6_network: IPv6Network | None
    ipv6_subnet: IPv6Interface | None
    mtu: int
    ipmasq: bool

    @classmethod
    def of(cls, network: NetworkConfig, subnets: Subnets, *, mtu: int, ipmasq: bool) -> SubnetEnv:
        """The file for a lease: each gateway is the first address after the subnet's own."""
        v4 = v6 = None
        if subnets.v4:
            v4 = IPv4Interface((int(subnets.v4.network_address) + 1, subnets.v4.prefixlen))
        if subnets.v6:
            v6 = IPv6Interface((int(subnets.v6.network_address) + 1, subnets.v6.prefixlen))
        networks = network.v4.network if network.v4 and v4 else None, network.v6.network if network.v6 and v6 else None
        return cls(networks[0], v4, networks[1], v6, mtu, ipmasq)

    @property
    def subnets(self) -> Subnets | None:
        """The subnets that the node has, or had; None when the file names none."""
        if self.subnet is None and self.ipv6_subnet is None:
            return None
        return Subnets(self.subnet.network if self.subnet else None, self.ipv6_subnet.network if self.ipv6_subnet else None)

    def to_bytes(self) -> bytes:
        """The file's content."""
        values = {
            "FLANNEL_NETWORK": self.network,
            "FLANNEL_SUBNET": self.subnet,
            "FLANNEL_IPV6_NETWORK": self.ipv6_network,
            "FLANNEL_IPV6_SUBNET": self.ipv6_subnet,
            "FLANNEL_MTU": self.mtu,
            "FLANNEL_IPMASQ": "true" if self.ipmasq else "false",
        }
        return "".join(f"{name}={value}\n" for name, value in values.items() if value is not None).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> SubnetEnv:
        """Read a file's content. Raises DecodeFailure, which names the variable."""
        lines = (line.strip().partition("=") for line in data.decode(errors="replace").splitlines())
        values = {name.strip(): value.strip().strip('"') for name, equals, value in lines if equals}
        return cls(
            _value(values, "FLANNEL_NETWORK", IPv4Network),
            _value(values, "FLANNEL_SUBNET", IPv4Interface),
            _value(values, "FLANNEL_IPV6_NETWORK", IPv6Network),
            _value(values, "FLANNEL_IPV6_SUBNET", IPv6Interface),
            _value(values, "FLANNEL_MTU", int) or 0,
            values.get("FLANNEL_IPMASQ") == "true",
        )

    def write(self, path: str) -> bool:
        """Write the file whole or not at all, and say whether that changed it. Raises IoFailure."""
        data = self.to_bytes()
        if files.read(path) == data:
            return False
        files.make_dirs(os.path.dirname(path))
        files.write_atomic(path, data, mode=0o644)
        return True


def read(path: str) -> SubnetEnv | None:
    """Read the file at `path`; None when it is not there. Raises IoFailure, DecodeFailure, which name the file."""
    data = files.read(path)
    if data is None:
        return None
    try:
        return SubnetEnv.from_bytes(data)
    except DecodeFailure as error:
        raise DecodeFailure(f"{path}: {error.msg}") from None


def _value(values: Mapping[str, str], name: str, kind: Callable[[str], T]) -> T | None:
    if not values.get(name):
        return None
    try:
        return kind(values[name])
    except ValueError:
        raise DecodeFailure(f"{name}: {values[name]!r} is not what belongs there") from None
