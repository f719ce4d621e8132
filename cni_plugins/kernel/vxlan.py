"""VXLAN devices (RFC 7348; rtnetlink(7), IFLA_INFO_DATA of the kind "vxlan").

Functions over a routing socket, not a part of `Netlink`: only an overlay has a use for them.
"""

from __future__ import annotations

from errno import ENODEV

from cni_plugins.kernel.rtnl import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    RTM_GETLINK,
    RTM_NEWLINK,
    NetlinkError,
    attributes,
    decode,
    encode,
)
from cni_plugins.protocol.ip import parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_plugins.kernel.rtnl import Channel
    from cni_plugins.protocol.ip import Cidr

OVERHEAD = {4: 50, 6: 70}
"""What the tunnel takes of each packet in bytes: Ethernet, VXLAN and UDP headers, and an IP header of the underlay's family."""
_IFF_UP = 0x1
_LINK = {
    "IFLA_IFNAME": "name",
    "IFLA_ADDRESS": "mac",
    "IFLA_MTU": "mtu",
    "IFLA_IFALIAS": "alias",
    "IFLA_LINKINFO": "info",
}
_INFO = {"IFLA_INFO_KIND": "kind", "IFLA_INFO_DATA": "data"}
_DATA = {
    "IFLA_VXLAN_ID": "vni",
    "IFLA_VXLAN_PORT": "port",
    "IFLA_VXLAN_LINK": "underlay",
    "IFLA_VXLAN_LOCAL": "local",
    "IFLA_VXLAN_LOCAL6": "local",
    "IFLA_VXLAN_LEARNING": "learning",
}


class Vxlan:
    """A VXLAN device: what a link has, and `vni`, the UDP `port` of its peers, the `local` address of its tunnels (None: any),
    the index of the `underlay` link (0: any), and whether it is `learning` addresses by itself.
    """

    __slots__ = ("alias", "index", "learning", "local", "mac", "mtu", "name", "port", "underlay", "up", "vni")

    def __init__(self, name: str, *, vni: int, port: int, local: Cidr | None, underlay: int, mac: str, mtu: int) -> None:
        self.name = name
        self.vni = vni
        self.port = port
        self.local = local
        self.underlay = underlay
        self.mac = mac
        self.mtu = mtu
        self.index = 0
        self.alias = ""
        self.learning = False
        self.up = False

    def __repr__(self) -> str:
        return f"Vxlan({self.name!r}, vni={self.vni})"


def find(channel: Channel, name: str) -> Vxlan | None:
    """The VXLAN device of this name; None when there is none, or another kind of link. Raises NetlinkError."""
    attrs = [["IFLA_IFNAME", name]]
    asked = encode("ifinfmsg", RTM_GETLINK, f"look up link {name}", fields={}, attrs=attrs, tolerated=(ENODEV,))
    answer = channel.ask(asked)[0]
    return _read(answer[0]) if answer else None


def devices(channel: Channel) -> list[Vxlan]:
    """Every VXLAN device. Raises NetlinkError."""
    attrs = [["IFLA_LINKINFO", {"attrs": [["IFLA_INFO_KIND", "vxlan"]]}]]
    asked = encode("ifinfmsg", RTM_GETLINK, "list VXLAN devices", fields={}, attrs=attrs, flags=NLM_F_DUMP)
    return [device for device in map(_read, channel.dump(asked)) if device is not None]


def create(channel: Channel, wanted: Vxlan) -> Vxlan:
    """Make a device as wanted, without learning, down; and return it. The kernel takes no alias now.

    Raises NetlinkError (EEXIST if the name is taken, or the VNI on this port).
    """
    data: list[list[Any]] = [
        ["IFLA_VXLAN_ID", wanted.vni],
        ["IFLA_VXLAN_LINK", wanted.underlay],
        ["IFLA_VXLAN_PORT", wanted.port],
        ["IFLA_VXLAN_LEARNING", 0],
    ]
    if wanted.local is not None:
        data.append([f"IFLA_VXLAN_LOCAL{'6' if wanted.local.family == 6 else ''}", wanted.local.address])
    info = [["IFLA_INFO_KIND", "vxlan"], ["IFLA_INFO_DATA", {"attrs": data}]]
    attrs: list[list[Any]] = [
        ["IFLA_IFNAME", wanted.name],
        ["IFLA_ADDRESS", wanted.mac],
        ["IFLA_MTU", wanted.mtu],
        ["IFLA_LINKINFO", {"attrs": info}],
    ]
    what = f"create VXLAN device {wanted.name}"
    channel.ask(encode("ifinfmsg", RTM_NEWLINK, what, fields={}, attrs=attrs, flags=NLM_F_CREATE | NLM_F_EXCL))
    made = find(channel, wanted.name)
    if made is None:
        raise NetlinkError(ENODEV, what, "it was deleted while it was being made")
    return made


def _read(message: bytes) -> Vxlan | None:
    decoded = decode("ifinfmsg", message)
    found = attributes(decoded, _LINK)
    info = attributes(found["info"], _INFO) if "info" in found else {}
    if info.get("kind") != "vxlan" or "data" not in info:
        return None
    data = attributes(info["data"], _DATA)
    local = data.get("local")
    device = Vxlan(
        found.get("name", ""),
        vni=data.get("vni", 0),
        port=data.get("port", 0),
        local=parse_address(local) if local else None,
        underlay=data.get("underlay", 0),
        mac=found.get("mac", ""),
        mtu=found.get("mtu", 0),
    )
    device.index = decoded["index"]
    device.alias = found.get("alias", "")
    device.learning = bool(data.get("learning"))
    device.up = bool(decoded["flags"] & _IFF_UP)
    return device
