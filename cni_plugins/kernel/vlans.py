"""VLANs of bridges and their ports (rtnetlink in the family AF_BRIDGE; what bridge(8) shows as `bridge vlan`)."""

from __future__ import annotations

from _struct import unpack_from
from errno import ENOENT

from cni_plugins.kernel.rtnl import NLM_F_DUMP, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK, Channel, Request, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_AF_BRIDGE = 7
_WITH_VLANS = 2
"""RTEXT_FILTER_BRVLAN: have the kernel list VLANs one by one."""
_INDEX = 16 + 4
"""Where a message about a link has its index: behind netlink's header, family and type."""
_SELF = 2
_PVID, _UNTAGGED, _RANGE_BEGIN, _RANGE_END = 0x2, 0x4, 0x8, 0x10


class Vlan:
    """A VLAN that a port takes part in: `pvid` if untagged frames that come in belong to it, `untagged` if they leave untagged."""

    __slots__ = ("pvid", "untagged", "vid")

    def __init__(self, vid: int, *, pvid: bool = False, untagged: bool = False) -> None:
        self.vid = vid
        self.pvid = pvid
        self.untagged = untagged

    def __repr__(self) -> str:
        return f"Vlan({self.vid}, pvid={self.pvid}, untagged={self.untagged})"


class Vlans(Channel):
    """The part of `Netlink` that has to do with VLANs."""

    __slots__ = ()

    def vlans(self, index: int) -> list[Vlan]:
        """List the VLANs of a port, or of a bridge itself; none if the bridge does not filter. Raises NetlinkError."""
        attrs = [["IFLA_EXT_MASK", _WITH_VLANS]]
        request = encode("ifinfmsg", RTM_GETLINK, "list VLANs", fields={"family": _AF_BRIDGE}, attrs=attrs, flags=NLM_F_DUMP)
        # The kernel lists every port: those that were not asked for are passed over undecoded.
        of_link = [message for message in self.dump(request) if unpack_from("i", message, _INDEX)[0] == index]
        found = []
        for message in of_link:
            spec = decode("ifinfmsg", message).get_attr("IFLA_AF_SPEC")
            for info in spec.get_attrs("IFLA_BRIDGE_VLAN_INFO") if spec else ():
                flags = info["flags"]
                found.append(Vlan(info["vid"], pvid=bool(flags & _PVID), untagged=bool(flags & _UNTAGGED)))
        return found

    def add_vlan(
        self, index: int, vid: int, *, vid_end: int | None = None, pvid: bool = False, untagged: bool = False, self_: bool = False
    ) -> None:
        """Have a port take part in a VLAN, or in all from `vid` to `vid_end`; `self_` is for the bridge itself. Raises NetlinkError.

        Adding one that is there already changes its flags.
        """
        flags = (_PVID if pvid else 0) | (_UNTAGGED if untagged else 0)
        self.tell(_change(RTM_SETLINK, index, (vid, vid_end or vid), flags=flags, self_=self_))

    def del_vlan(self, index: int, vid: int, *, vid_end: int | None = None, self_: bool = False) -> bool:
        """Take a port (`self_`: the bridge itself) out of a VLAN or a range. False if it was in none. Raises NetlinkError."""
        return self.tell(_change(RTM_DELLINK, index, (vid, vid_end or vid), flags=0, self_=self_))


def _change(kind: int, index: int, vids: tuple[int, int], *, flags: int, self_: bool) -> Request:
    first, last = vids
    entries = [(flags, first)] if first == last else [(flags | _RANGE_BEGIN, first), (flags | _RANGE_END, last)]
    spec: list[list[Any]] = [["IFLA_BRIDGE_FLAGS", _SELF]] if self_ else []
    spec += [["IFLA_BRIDGE_VLAN_INFO", {"flags": bits, "vid": vid}] for bits, vid in entries]
    names = str(first) if first == last else f"{first}-{last}"
    what = f"{'add' if kind == RTM_SETLINK else 'delete'} VLAN {names} on link {index}"
    attrs = [["IFLA_AF_SPEC", {"attrs": spec}]]
    absent = (ENOENT,) if kind == RTM_DELLINK else ()
    return encode("ifinfmsg", kind, what, fields={"family": _AF_BRIDGE, "index": index}, attrs=attrs, tolerated=absent)
