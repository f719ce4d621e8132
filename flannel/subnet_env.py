"""The file in which flanneld, or our agent, tells this node's subnets: `KEY=value` in lines, written anew whenever they change."""

from __future__ import annotations

from cni_plugins.kernel import files
from cni_plugins.protocol.errors import DecodeFailure, TryAgain
from cni_plugins.protocol.ip import Cidr, parse_cidr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_NETWORKS = ("FLANNEL_NETWORK", "FLANNEL_IPV6_NETWORK")
_SUBNETS = ("FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET")
_MTU, _MASQUERADED = "FLANNEL_MTU", "FLANNEL_IPMASQ"
_MTU_LIMIT = 0xFFFFFFFF


class SubnetEnv:
    """What the file says: the networks of all nodes, this node's `subnets` (IPv4 first), the `mtu` in bytes, and whether the
    daemon masquerades what leaves the networks.
    """

    __slots__ = ("masqueraded", "mtu", "networks", "subnets")

    def __init__(self, networks: list[Cidr], subnets: list[Cidr], *, mtu: int, masqueraded: bool) -> None:
        self.networks = networks
        self.subnets = subnets
        self.mtu = mtu
        self.masqueraded = masqueraded


def read(path: str) -> SubnetEnv:
    """Read the file at `path`.

    Raises TryAgain when it is not there or not complete, DecodeFailure that names the file, the key and the value, IoFailure.
    """
    data = files.read(path)
    if data is None:
        raise TryAgain(
            f"subnetFile: {path} is not there", "flanneld, or cni-agent with an overlay, writes it: start one of them, or see its log"
        )
    lines = data.decode("utf-8", "replace").splitlines()
    values = {key.strip(): value.strip() for key, equals, value in (line.partition("=") for line in lines) if equals}
    lacking = [" or ".join(keys) for keys in (_NETWORKS, _SUBNETS, (_MTU,), (_MASQUERADED,)) if not any(map(values.get, keys))]
    if lacking:
        raise TryAgain(f"subnetFile: {path} has no {', no '.join(lacking)}", "what writes it has not finished, or has failed: see its log")
    try:
        networks, subnets = ([cidr.network for key in keys for cidr in _cidrs(values, key)] for keys in (_NETWORKS, _SUBNETS))
        return SubnetEnv(networks, subnets, mtu=_number(values[_MTU]), masqueraded=values[_MASQUERADED] == "true")
    except ValueError as error:
        raise DecodeFailure(f"subnetFile: {path}: {error}") from None


def _cidrs(values: Mapping[str, str], key: str) -> list[Cidr]:
    """The networks of one family: several are separated by commas."""
    try:
        return [parse_cidr(text.strip()) for text in values.get(key, "").split(",") if text]
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _MTU_LIMIT):
        raise ValueError(f"{_MTU}: {text!r} is not a number of bytes")
    return int(text)
