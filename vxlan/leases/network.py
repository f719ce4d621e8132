"""The network's configuration, as Flannel has it: `<prefix>/config` in etcd, net-conf.json in Kubernetes.

    {"Network": "10.5.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan", "VNI": 100, "DirectRouting": true}}

It says which addresses the network has, how they are cut into a subnet for each node, and how nodes reach each other. Unknown keys are
ignored, keys are taken in any case, and host bits in a network's address are dropped, as flanneld does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cni_plugins.protocol.errors import InvalidConfig
from vxlan.leases.schema import HOST_GW, VXLAN, Subnets

N = TypeVar("N", IPv4Network, IPv6Network)

_LARGEST_VNI = (1 << 24) - 1


class _Folding(BaseModel):
    """Takes keys in any case; null is the same as absent; numbers are numbers and never text."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _fold(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        names = {name.lower(): name for name in cls.model_fields}
        return {names[key.lower()]: value for key, value in data.items() if key.lower() in names and value is not None}


class BackendConfig(_Folding):
    """How nodes reach each other."""

    Type: str
    """`vxlan`, or `host-gw` where all nodes are on one link."""

    VNI: int = Field(default=1, ge=1, le=_LARGEST_VNI)
    """Number of the VXLAN network."""

    Port: int = Field(default=0, ge=0, le=65535)
    """UDP port; 0 is the kernel's own, 8472."""

    MTU: int = Field(default=0, ge=0, le=65535)
    """Size in bytes of the largest packet; 0 follows the underlay."""

    GBP: bool = False
    """Carry group policy marks."""

    Learning: bool = False
    """Learn addresses from packets that arrive."""

    DirectRouting: bool = False
    """Route to nodes on the same link without a tunnel."""

    @field_validator("Type")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in (VXLAN, HOST_GW):
            raise ValueError(f"is not a back end that we have: {VXLAN} or {HOST_GW}")
        return value


class _Text(_Folding):
    """The keys as they are written."""

    EnableIPv4: bool = True
    EnableIPv6: bool = False
    Network: str = ""
    SubnetLen: int = 0
    SubnetMin: str = ""
    SubnetMax: str = ""
    IPv6Network: str = ""
    IPv6SubnetLen: int = 0
    IPv6SubnetMin: str = ""
    IPv6SubnetMax: str = ""
    # As flanneld has it, whose default is a back end that nobody should use today.
    Backend: BackendConfig = Field(default={"Type": "udp"}, validate_default=True)


@dataclass(frozen=True, slots=True)
class Range(Generic[N]):
    """A network and how it is cut: subnets of `length` whose first addresses lie between `first` and `last`."""

    network: N
    length: int
    first: int
    last: int

    def fits(self, subnet: N) -> bool:
        """Whether a subnet is one that could be given out."""
        return subnet.prefixlen == self.length and self.first <= int(subnet.network_address) <= self.last


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """A network's configuration, complete and free of contradictions. At least one family is there."""

    backend: BackendConfig
    v4: Range[IPv4Network] | None = None
    v6: Range[IPv6Network] | None = None

    @classmethod
    def parse(cls, text: bytes | str, *, source: str, cut: bool = True) -> NetworkConfig:
        """Read a configuration; `source` is where it came from, for messages.

        `cut` is unset where somebody else cuts the network into subnets (Kubernetes): their sizes and limits do not matter then.
        Raises InvalidConfig, which names the field and the value.
        """
        try:
            keys = _Text.model_validate(json.loads(text))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "the whole"
            reason = first["msg"].removeprefix("Value error, ")
            raise InvalidConfig(f"{source}: {field}: {reason} (got {first['input']!r})") from None
        except ValueError:
            raise InvalidConfig(f"{source}: this is not JSON") from None
        if not (keys.EnableIPv4 or keys.EnableIPv6):
            raise InvalidConfig(f"{source}: EnableIPv4 and EnableIPv6 are both false: one of them must be true")
        v4 = _Cutter(source, keys, prefix="", cut=cut).range() if keys.EnableIPv4 else None
        v6 = _Cutter(source, keys, prefix="IPv6", cut=cut).range() if keys.EnableIPv6 else None
        return cls(keys.Backend, v4, v6)

    def fits(self, subnets: Subnets) -> bool:
        """Whether these subnets are a node's whole part of the network, no more and no less."""
        return _fits(self.v4, subnets.v4) and _fits(self.v6, subnets.v6)

    def contains(self, subnets: Subnets) -> bool:
        """Whether these subnets lie in the network, whatever their size."""
        pairs = ((self.v4, subnets.v4), (self.v6, subnets.v6))
        return all(subnet is None or (part is not None and subnet.subnet_of(part.network)) for part, subnet in pairs)  # type: ignore[arg-type]


def _fits(part: Range[N] | None, subnet: N | None) -> bool:
    return subnet is None if part is None else subnet is not None and part.fits(subnet)


class _Cutter:
    """Checks one family's keys, which all have the same `prefix`, and completes them."""

    def __init__(self, source: str, keys: _Text, *, prefix: str, cut: bool) -> None:
        self.source = source
        self.keys = keys
        self.prefix = prefix
        self.cut = cut

    def wrong(self, name: str, reason: str) -> InvalidConfig:
        value = getattr(self.keys, self.prefix + name)
        return InvalidConfig(f"{self.source}: {self.prefix}{name}: {reason} (got {value!r})")

    def range(self) -> Range[Any]:
        version, bits = (6, 128) if self.prefix else (4, 32)
        text = getattr(self.keys, f"{self.prefix}Network")
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            network = None
        if network is None or network.version != version or "/" not in text:
            raise self.wrong("Network", f"is not an IPv{version} network")
        if not self.cut:
            return Range(network, network.prefixlen, int(network.network_address), int(network.network_address))
        length = self.length(network.prefixlen, bits)
        size = 1 << (bits - length)
        # The first subnet's address would be that of the network itself.
        first = self.limit("SubnetMin", network, length, default=int(network.network_address) + size)
        last = self.limit("SubnetMax", network, length, default=int(network.broadcast_address) + 1 - size)
        if first > last:
            raise self.wrong("SubnetMax", f"is below {self.prefix}SubnetMin: no subnet is left")
        return Range(network, length, first, last)

    def length(self, prefix: int, bits: int) -> int:
        """The subnets' prefix length; a subnet has at least four addresses, a network at least four subnets."""
        length: int = getattr(self.keys, f"{self.prefix}SubnetLen")
        if length:
            if length > bits - 2:
                raise self.wrong("SubnetLen", f"is more than {bits - 2}: a subnet needs four addresses")
            if length < prefix + 2:
                raise self.wrong("SubnetLen", f"is less than {prefix + 2}: the network must have room for four subnets")
            return length
        if prefix > bits - 4:
            raise self.wrong("Network", f"is too small: the longest prefix is /{bits - 4}")
        usual = 64 if self.prefix else 24
        return usual if prefix <= usual - 2 else prefix + 2

    def limit(self, name: str, network: Any, length: int, *, default: int) -> int:
        text = getattr(self.keys, self.prefix + name)
        kind = type(network.network_address)
        try:
            address = kind(text) if text else kind(0)
        except ValueError:
            raise self.wrong(name, f"is not an IPv{network.version} address") from None
        if int(address) == 0:
            return default
        if address not in network:
            raise self.wrong(name, f"is not in {network}")
        if int(address) % (1 << (network.max_prefixlen - length)):
            raise self.wrong(name, f"is not the first address of a /{length}")
        return int(address)
