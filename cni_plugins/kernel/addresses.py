"""IP addresses of links (rtnetlink(7), RTM_*ADDR)."""

from __future__ import annotations

from errno import EADDRNOTAVAIL, ENODEV

from cni_plugins.kernel.rtnl import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWADDR,
    Channel,
    attributes,
    decode,
    encode,
)
from cni_plugins.protocol.ip import Cidr, format_address, parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

AF = {4: 2, 6: 10}
"""The kernel's numbers of the address families (AF_INET, AF_INET6)."""
IFA_F_NODAD, IFA_F_DADFAILED, IFA_F_TENTATIVE, IFA_F_NOPREFIXROUTE = 0x02, 0x08, 0x40, 0x200
_WANTED = {"IFA_ADDRESS": "address", "IFA_LOCAL": "local", "IFA_FLAGS": "flags"}


class Address:
    """An address that a link has. `peer` is the other end's address of a point-to-point one, else None; `flags` are IFA_F_*."""

    __slots__ = ("cidr", "flags", "index", "peer", "scope")

    def __init__(self, cidr: Cidr, index: int, *, scope: int = 0, flags: int = 0, peer: Cidr | None = None) -> None:
        self.cidr = cidr
        self.index = index
        self.scope = scope
        self.flags = flags
        self.peer = peer

    def __repr__(self) -> str:
        return f"Address({self.cidr}, {self.index})"


def _read_address(message: bytes) -> Address:
    decoded = decode("ifaddrmsg", message)
    found = attributes(decoded, _WANTED)
    far = parse_address(found["address"])
    near = parse_address(found.get("local", found["address"]))
    cidr = Cidr(near.family, near.value, decoded["prefixlen"])
    peer = None if near == far else Cidr(far.family, far.value, decoded["prefixlen"])
    flags = found.get("flags", decoded["flags"])
    return Address(cidr, decoded["index"], scope=decoded["scope"], flags=flags, peer=peer)


def _attributes(cidr: Cidr, peer: Cidr | None) -> list[list[Any]]:
    return [["IFA_LOCAL", cidr.address], ["IFA_ADDRESS", (peer or cidr).address]]


class Addresses(Channel):
    """The part of `Netlink` that has to do with addresses."""

    __slots__ = ()

    def addresses(self, index: int | None = None, *, family: int | None = None) -> list[Address]:
        """List addresses: all, those of one link (its index), or those of one family (4, 6). The kernel does the choosing."""
        fields = {"family": AF[family] if family else 0, "index": index or 0}
        request = encode("ifaddrmsg", RTM_GETADDR, "list addresses", fields=fields, flags=NLM_F_DUMP, tolerated=(ENODEV,))
        return [_read_address(message) for message in self.dump(request)]

    def add_address(
        self, index: int, cidr: Cidr, *, peer: Cidr | None = None, scope: int = 0, nodad: bool = False, noprefixroute: bool = False
    ) -> None:
        """Give a link an address. Raises NetlinkError (EEXIST if it has it).

        An IPv4 address gets its network's broadcast address, as the reference plugins give it (RFC 3021: /31 and /32 have none).
        `nodad` makes an IPv6 address usable at once, without duplicate-address detection (RFC 4862, section 5.4);
        `noprefixroute` keeps the kernel from adding the route to the address's network.
        """
        attrs = _attributes(cidr, peer)
        if cidr.family == 4 and cidr.prefix < 31 and peer is None:
            attrs.append(["IFA_BROADCAST", format_address(4, cidr.last)])
        flags = (IFA_F_NODAD if nodad and cidr.family == 6 else 0) | (IFA_F_NOPREFIXROUTE if noprefixroute else 0)
        if flags:
            attrs.append(["IFA_FLAGS", flags])
        fields = {"family": AF[cidr.family], "prefixlen": cidr.prefix, "scope": scope, "index": index}
        what = f"add address {cidr} to link {index}"
        self.tell(encode("ifaddrmsg", RTM_NEWADDR, what, fields=fields, attrs=attrs, flags=NLM_F_CREATE | NLM_F_EXCL))

    def delete_address(self, index: int, cidr: Cidr, *, peer: Cidr | None = None) -> bool:
        """Take an address from a link. Returns False if the link does not have it, or does not exist. Raises NetlinkError."""
        fields = {"family": AF[cidr.family], "prefixlen": cidr.prefix, "index": index}
        what = f"delete address {cidr} of link {index}"
        absent = (EADDRNOTAVAIL, ENODEV)
        return self.tell(encode("ifaddrmsg", RTM_DELADDR, what, fields=fields, attrs=_attributes(cidr, peer), tolerated=absent))
