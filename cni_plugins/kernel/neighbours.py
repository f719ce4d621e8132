"""Neighbours (ARP and neighbour discovery) and the forwarding database of a VXLAN device (rtnetlink(7), RTM_*NEIGH).

Functions over a routing socket, not a part of `Netlink`: an overlay alone has a use for them, and every cold call would pay for the
import. A thousand peers have two thousand of these, all of one small layout, so they are packed and read here by hand, past the tables.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6
from _struct import Struct, pack
from errno import ENODEV, ENOENT

from cni_plugins.kernel.attributes import attribute, parse
from cni_plugins.kernel.rtnl import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, Request
from cni_plugins.protocol.ip import BITS, Cidr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni_plugins.kernel.rtnl import Channel

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
NLM_F_REPLACE = 0x100
NUD_PERMANENT = 0x80
_NTF_SELF = 0x02
_AF_BRIDGE = 7
_AF = {4: AF_INET, 6: AF_INET6}
_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX = 1, 2, 8
_HEADER = Struct("IHHII")
_MESSAGE = Struct("B3xiHBB")
_START = _HEADER.size + _MESSAGE.size


class Neighbour:
    """That `address` is reached at `mac`: a neighbour's IP address at its hardware address or, with `fdb`, a hardware address behind
    the VXLAN tunnel that ends at `address`. `permanent` entries are somebody's configuration, others were learned.
    """

    __slots__ = ("address", "fdb", "mac", "permanent")

    def __init__(self, address: Cidr, mac: str, *, fdb: bool = False, permanent: bool = True) -> None:
        self.address = address
        self.mac = mac
        self.fdb = fdb
        self.permanent = permanent

    def __str__(self) -> str:
        return f"FDB entry {self.mac} to {self.address.address}" if self.fdb else f"neighbour {self.address.address} at {self.mac}"

    def __repr__(self) -> str:
        return f"<{self}>"


def neighbours(channel: Channel, index: int, *, family: int) -> list[Neighbour]:
    """List the neighbours of one link (its index) that are of a family (4, 6) and have a hardware address. Raises NetlinkError."""
    return _listed(channel, index, _AF[family], fdb=False)


def forwarding(channel: Channel, index: int) -> list[Neighbour]:
    """List the forwarding database of a VXLAN device (its index): unicast addresses and their tunnels. Raises NetlinkError."""
    return _listed(channel, index, _AF_BRIDGE, fdb=True)


def put(channel: Channel, index: int, entry: Neighbour) -> None:
    """Enter a neighbour or a forwarding entry for good, in place of what was there under its key. Raises NetlinkError."""
    channel.tell(_request(RTM_NEWNEIGH, f"set {entry}", index, entry, flags=NLM_F_CREATE | NLM_F_REPLACE))


def remove(channel: Channel, index: int, entry: Neighbour) -> bool:
    """Take an entry out. Returns False if it is not there. Raises NetlinkError."""
    return channel.tell(_request(RTM_DELNEIGH, f"remove {entry}", index, entry, tolerated=(ENOENT, ENODEV)))


def _request(kind: int, what: str, index: int, entry: Neighbour, *, flags: int = 0, tolerated: Sequence[int] = ()) -> Request:
    family = _AF_BRIDGE if entry.fdb else _AF[entry.address.family]
    message = _MESSAGE.pack(family, index, NUD_PERMANENT, _NTF_SELF if entry.fdb else 0, 0)
    attributes = attribute(_NDA_DST, entry.address.packed) + attribute(_NDA_LLADDR, bytes.fromhex(entry.mac.replace(":", "")))
    return _whole(kind, what, message + attributes, flags=flags | NLM_F_ACK, tolerated=tolerated)


def _whole(kind: int, what: str, body: bytes, *, flags: int, tolerated: Sequence[int] = ()) -> Request:
    header = _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | flags, 0, 0)
    return Request(bytearray(header + body), what, tolerated)


def _listed(channel: Channel, index: int, family: int, *, fdb: bool) -> list[Neighbour]:
    body = _MESSAGE.pack(family, 0, 0, 0, 0) + attribute(_NDA_IFINDEX, pack("I", index))
    what = "list forwarding entries" if fdb else "list neighbours"
    listed = channel.dump(_whole(RTM_GETNEIGH, what, body, flags=NLM_F_DUMP, tolerated=(ENODEV,)))
    return [entry for entry in (_read(message, index, fdb=fdb) for message in listed) if entry is not None]


def _read(message: bytes, index: int, *, fdb: bool) -> Neighbour | None:
    """One entry; None for one of another link (older kernels do not choose) or without both of its halves."""
    _, owner, state, _, _ = _MESSAGE.unpack_from(message, _HEADER.size)
    found = parse(message, _START)
    address, mac = found.get(_NDA_DST, b""), found.get(_NDA_LLADDR, b"")
    family = {4: 4, 16: 6}.get(len(address))
    if owner != index or family is None or len(mac) != 6:
        return None
    value = Cidr(family, int.from_bytes(address, "big"), BITS[family])
    return Neighbour(value, mac.hex(":"), fdb=fdb, permanent=bool(state & NUD_PERMANENT))
