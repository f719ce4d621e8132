"""What a lease is, and how flanneld 0.28 writes one: the key and the value in etcd, the annotations of a Kubernetes node.

    /coreos.com/network/subnets/10.5.52.0-24              IPv4
    /coreos.com/network/subnets/10.5.52.0-24&fd00:1::-64  dual stack
    /coreos.com/network/subnets/0.0.0.0-0&fd00:1::-64     IPv6 alone
    {"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0e:5f:…"}}

What is written is the same to the byte as flanneld's. What is read may be anything: whoever can write to the store can write nonsense,
and a lease that cannot be understood still says that its subnet is taken.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Any

from cni_plugins.protocol.errors import DecodeFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

VXLAN = "vxlan"
HOST_GW = "host-gw"
ANNOTATION_PREFIX = "flannel.alpha.coreos.com/"

_KEY = re.compile(r"(\d+\.\d+\.\d+\.\d+)-(\d+)(?:&([0-9a-f:.]+)-(\d+))?")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NO_SUBNET = IPv4Network("0.0.0.0/0")
_NO_ADDRESS = IPv4Address(0)


@dataclass(frozen=True, slots=True)
class Subnets:
    """A node's part of the network: a subnet of either family, or one of each. At least one is there."""

    v4: IPv4Network | None = None
    v6: IPv6Network | None = None

    @property
    def key(self) -> str:
        """The last part of the lease's key in etcd."""
        first = self.v4 or _NO_SUBNET
        text = f"{first.network_address}-{first.prefixlen}"
        return f"{text}&{self.v6.network_address}-{self.v6.prefixlen}" if self.v6 else text

    @classmethod
    def from_key(cls, key: str) -> Subnets:
        """Read the last part of a key. Raises DecodeFailure when it names no subnet."""
        parts = _KEY.fullmatch(key)
        try:
            if parts is None:
                raise ValueError
            v4 = IPv4Network(f"{parts[1]}/{parts[2]}", strict=False)
            v6 = IPv6Network(f"{parts[3]}/{parts[4]}", strict=False) if parts[3] else None
        except ValueError:
            raise DecodeFailure(f"{key!r} names no subnet: expected ADDRESS-LENGTH, such as 10.5.1.0-24") from None
        if v4 == _NO_SUBNET and v6 is None:
            raise DecodeFailure(f"{key!r} names no subnet: it is the whole Internet")
        return cls(None if v4 == _NO_SUBNET else v4, v6)

    def overlaps(self, other: Subnets) -> bool:
        """Whether the two share an address of either family."""
        v4 = self.v4 is not None and other.v4 is not None and self.v4.overlaps(other.v4)
        return v4 or (self.v6 is not None and other.v6 is not None and self.v6.overlaps(other.v6))

    def __str__(self) -> str:
        return " and ".join(str(subnet) for subnet in (self.v4, self.v6) if subnet)


@dataclass(frozen=True, slots=True)
class Vtep:
    """The end of a tunnel: the network's VNI, and the hardware address of the node's VXLAN device."""

    vni: int
    mac: str

    def to_json(self) -> dict[str, object]:
        """As flanneld publishes it."""
        return {"VNI": self.vni, "VtepMAC": self.mac}

    @classmethod
    def from_json(cls, data: Any) -> Vtep | None:
        """Read back-end data; None stands for no data. Raises DecodeFailure."""
        if data is None:
            return None
        fields = _folded(data, "back-end data")
        mac, vni = str(fields.get("vtepmac", "")).lower().replace("-", ":"), fields.get("vni", 0)
        if not _MAC.fullmatch(mac):
            raise DecodeFailure(f"VtepMAC: {fields.get('vtepmac')!r} is not a hardware address")
        if type(vni) is not int:
            raise DecodeFailure(f"VNI: {vni!r} is not a number")
        return cls(vni, mac)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a node publishes with its subnet: how it is reached."""

    public_ip: IPv4Address | None = None
    public_ipv6: IPv6Address | None = None
    backend: str = VXLAN
    vtep: Vtep | None = None
    vtep_v6: Vtep | None = None

    def to_json(self) -> bytes:
        """The lease's value in etcd."""
        value: dict[str, object] = {
            "PublicIP": str(self.public_ip or _NO_ADDRESS),
            "PublicIPv6": str(self.public_ipv6) if self.public_ipv6 else None,
        }
        if self.backend:
            value["BackendType"] = self.backend
        for name, vtep in (("BackendData", self.vtep), ("BackendV6Data", self.vtep_v6)):
            if vtep:
                value[name] = vtep.to_json()
        return _compact(value)

    @classmethod
    def from_json(cls, text: bytes | str) -> Attributes:
        """Read a lease's value, or a reservation's, which may name the node's address only. Raises DecodeFailure."""
        try:
            fields = _folded(json.loads(text), "a lease's value")
        except ValueError:
            raise DecodeFailure("a lease's value is not JSON") from None
        backend = str(fields.get("backendtype") or "")
        # Other back ends' data are their own business: their leases are read for their subnets alone.
        data = [Vtep.from_json(fields.get(name)) if backend == VXLAN else None for name in ("backenddata", "backendv6data")]
        return cls(_address4(fields.get("publicip")), _address6(fields.get("publicipv6")), backend, *data)

    def to_annotations(self, node: Mapping[str, str], *, prefix: str = ANNOTATION_PREFIX) -> dict[str, str | None]:
        """Annotations for a Kubernetes node that has `node` now; None removes one. An administrator's `-overwrite` wins."""
        wanted: dict[str, str | None] = {"kube-subnet-manager": "true", "backend-type": self.backend}
        has_v4 = self.vtep is not None or self.backend != VXLAN
        has_v6 = self.public_ipv6 is not None and (self.vtep_v6 is not None or self.backend != VXLAN)
        wanted["backend-data"] = _annotation(self.vtep) if has_v4 else None
        wanted["public-ip"] = node.get(f"{prefix}public-ip-overwrite") or str(self.public_ip or _NO_ADDRESS) if has_v4 else None
        wanted["backend-v6-data"] = _annotation(self.vtep_v6) if has_v6 else None
        wanted["public-ipv6"] = node.get(f"{prefix}public-ipv6-overwrite") or str(self.public_ipv6) if has_v6 else None
        return {prefix + name: value for name, value in wanted.items() if value is not None or prefix + name in node}

    @classmethod
    def from_annotations(cls, node: Mapping[str, str], *, prefix: str = ANNOTATION_PREFIX) -> Attributes | None:
        """Read a Kubernetes node's annotations; None when no overlay looks after the node. Raises DecodeFailure."""
        if node.get(f"{prefix}kube-subnet-manager") != "true":
            return None
        backend = node.get(f"{prefix}backend-type", "")
        vteps = []
        for name in ("backend-data", "backend-v6-data"):
            try:
                data = json.loads(node.get(prefix + name) or "null")
            except ValueError:
                raise DecodeFailure(f"the annotation {prefix}{name} is not JSON") from None
            vteps.append(Vtep.from_json(data) if backend == VXLAN else None)
        addresses = _address4(node.get(f"{prefix}public-ip")), _address6(node.get(f"{prefix}public-ipv6"))
        return cls(*addresses, backend, *vteps)


@dataclass(frozen=True, slots=True)
class Lease:
    """A node's hold on its subnets.

    `key` names it in its store: the last part of the key in etcd, the node's name in Kubernetes, its address in a file. `attributes` are
    None where they cannot be understood, and `problem` says why. `expires` is in seconds since the epoch; None never ends.
    """

    key: str
    subnets: Subnets
    attributes: Attributes | None = None
    expires: float | None = None
    problem: str = ""
    revision: int = 0
    """When it was written, as etcd counts; other stores leave it 0."""
    grant: int = 0
    """What keeps the key alive in etcd; 0 is a reservation."""


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _annotation(vtep: Vtep | None) -> str:
    return _compact(vtep.to_json() if vtep else None).decode()


def _folded(data: Any, what: str) -> dict[str, Any]:
    """An object by its lower-cased keys: Go, and so flanneld, takes them in any case."""
    if not isinstance(data, dict):
        raise DecodeFailure(f"{what} is no JSON object")
    return {str(key).lower(): value for key, value in data.items()}


def _address4(text: Any) -> IPv4Address | None:
    if not text:
        return None
    try:
        address = IPv4Address(str(text))
    except ValueError:
        raise DecodeFailure(f"PublicIP: {text!r} is not an IPv4 address") from None
    return None if address == _NO_ADDRESS else address


def _address6(text: Any) -> IPv6Address | None:
    if not text:
        return None
    try:
        address = IPv6Address(str(text))
    except ValueError:
        raise DecodeFailure(f"PublicIPv6: {text!r} is not an IPv6 address") from None
    return None if address.is_unspecified else address
