"""Links: bridges, veth pairs, and what can be changed about any link (rtnetlink(7), RTM_*LINK)."""

from __future__ import annotations

from _struct import Struct
from errno import EAFNOSUPPORT, ENODEV

from cni_plugins.kernel.attributes import number, parse, text
from cni_plugins.kernel.rtnl import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWLINK,
    RTM_SETLINK,
    Channel,
    Request,
    encode,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

IFF_UP, IFF_PROMISC = 0x1, 0x100
_DOOMED = 0x636E6964
"""The link group into which links are put to be deleted together: "cnid", a number that nobody else picks by chance."""

# linux/if_link.h: what a link's message is made of, and what is picked out of it
_IFINFOMSG = Struct("BxHiII")
_HEADER = 16
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_OPERSTATE = 1, 3, 4, 5, 10, 16
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_GROUP = 18, 20, 27
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_BRPORT_MODE, _BRPORT_ISOLATED = 4, 33
_BR_VLAN_FILTERING, _BR_VLAN_DEFAULT_PVID = 7, 39
_IN6_ADDR_GEN_MODE_NONE = 1
_OPERSTATES = ("UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP")


class Link:
    """A link as the kernel describes it.

    `kind` is "veth", "bridge", … or "" for hardware and lo; `mac` like "02:00:0a:…" or "" where there is none; `master` the
    index of the bridge that it is a port of, or 0; `peer_index` the index of a veth's other end, in that end's namespace, or
    0; `operstate` is "UP" once frames can pass (RFC 2863); `hairpin` and `isolated` are those of a bridge port, `vlan_filtering`
    and `vlan_default_pvid` (0: none) those of a bridge.
    """

    __slots__ = (
        "alias",
        "group",
        "hairpin",
        "index",
        "isolated",
        "kind",
        "mac",
        "master",
        "mtu",
        "name",
        "operstate",
        "peer_index",
        "promisc",
        "up",
        "vlan_default_pvid",
        "vlan_filtering",
    )

    def __init__(self, index: int, name: str, *, kind: str = "", mac: str = "", mtu: int = 0, up: bool = False, master: int = 0) -> None:
        self.index = index
        self.name = name
        self.kind = kind
        self.mac = mac
        self.mtu = mtu
        self.up = up
        self.master = master
        self.alias = ""
        self.operstate = ""
        self.group = 0
        self.peer_index = 0
        self.promisc = False
        self.hairpin = False
        self.isolated = False
        self.vlan_filtering = False
        self.vlan_default_pvid = 0

    def __repr__(self) -> str:
        return f"Link({self.index}, {self.name!r}, kind={self.kind!r})"


def _read_link(message: bytes) -> Link:
    """A link out of a message: by hand, since a call reads a dozen (see attributes.py)."""
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(message, _HEADER)
    found = parse(message, _HEADER + _IFINFOMSG.size)
    info = parse(found.get(_IFLA_LINKINFO, b""))
    link = Link(index, text(found.get(_IFLA_IFNAME, b"")), kind=text(info.get(_INFO_KIND, b"")))
    mac = found.get(_IFLA_ADDRESS, b"")
    link.mac = mac.hex(":") if len(mac) == 6 else ""
    link.mtu = number(found.get(_IFLA_MTU, b""))
    link.up = bool(flags & IFF_UP)
    link.promisc = bool(flags & IFF_PROMISC)
    link.master = number(found.get(_IFLA_MASTER, b""))
    link.alias = text(found.get(_IFLA_IFALIAS, b""))
    state = number(found.get(_IFLA_OPERSTATE, b""))
    link.operstate = _OPERSTATES[state] if state < len(_OPERSTATES) else ""
    link.group = number(found.get(_IFLA_GROUP, b""))
    link.peer_index = number(found.get(_IFLA_LINK, b""))
    if text(info.get(_INFO_SLAVE_KIND, b"")) == "bridge":
        port = parse(info.get(_INFO_SLAVE_DATA, b""))
        link.hairpin = bool(number(port.get(_BRPORT_MODE, b"")))
        link.isolated = bool(number(port.get(_BRPORT_ISOLATED, b"")))
    if link.kind == "bridge":
        bridge = parse(info.get(_INFO_DATA, b""))
        link.vlan_filtering = bool(number(bridge.get(_BR_VLAN_FILTERING, b"")))
        link.vlan_default_pvid = number(bridge.get(_BR_VLAN_DEFAULT_PVID, b""))
    return link


def _present(**attrs: Any) -> list[list[Any]]:
    """List the attributes that are not None."""
    return [[name, value] for name, value in attrs.items() if value is not None]


def _flags(*, up: bool | None = None, promisc: bool | None = None) -> dict[str, int]:
    """Which of a link's flags to change, and to what."""
    chosen = [(IFF_UP, up), (IFF_PROMISC, promisc)]
    return {
        "flags": sum(flag for flag, value in chosen if value),
        "change": sum(flag for flag, value in chosen if value is not None),
    }


def _port_data(hairpin: bool | None, isolated: bool | None) -> list[Any] | None:
    """What makes a link of a bridge's a hairpin or an isolated port; None if neither is asked for."""
    port = _present(
        IFLA_BRPORT_MODE=None if hairpin is None else int(hairpin),
        IFLA_BRPORT_ISOLATED=None if isolated is None else int(isolated),
    )
    if not port:
        return None
    return ["IFLA_LINKINFO", {"attrs": [["IFLA_INFO_SLAVE_KIND", "bridge"], ["IFLA_INFO_SLAVE_DATA", {"attrs": port}]]}]


def _without_ipv6(index: int) -> Request:
    """Keep the kernel from giving a link an IPv6 address by itself. Where there is no IPv6 it won't."""
    mode = ["IFLA_INET6_ADDR_GEN_MODE", _IN6_ADDR_GEN_MODE_NONE]
    attrs = [["IFLA_AF_SPEC", {"attrs": [["AF_INET6", {"attrs": [mode]}]]}]]
    what = f"change how link {index} gets addresses"
    return encode("ifinfmsg", RTM_SETLINK, what, fields={"index": index}, attrs=attrs, tolerated=(EAFNOSUPPORT,))


class Links(Channel):
    """The part of `Netlink` that has to do with links."""

    __slots__ = ()

    def link(self, *, name: str = "", index: int = 0) -> Link | None:
        """Find one link, by its name or by its index; None if it does not exist."""
        answer = self.ask(self._get(name, index, tolerated=(ENODEV,)))[0]
        return _read_link(answer[0]) if answer else None

    def _get(self, name: str, index: int, *, tolerated: Sequence[int] = ()) -> Request:
        what = f"look up link {name or index}"
        attrs = [["IFLA_IFNAME", name]] if name else []
        return encode("ifinfmsg", RTM_GETLINK, what, fields={"index": index}, attrs=attrs, tolerated=tolerated)

    def links(self, *, kind: str | None = None, master: int | None = None) -> list[Link]:
        """List links: all, or those of one kind, or the ports of one bridge (`master`: its index).

        The kernel does the choosing, but lists all where it has not loaded that kind, so it is looked at again.
        """
        attrs = _present(IFLA_MASTER=master, IFLA_LINKINFO=kind and {"attrs": [["IFLA_INFO_KIND", kind]]})
        listed = self.dump(encode("ifinfmsg", RTM_GETLINK, "list links", fields={}, attrs=attrs, flags=NLM_F_DUMP))
        found = [_read_link(message) for message in listed]
        return [link for link in found if kind in (None, link.kind) and master in (None, link.master)]

    def add_bridge(
        self,
        name: str,
        *,
        mtu: int | None = None,
        mac: str | None = None,
        vlan_filtering: bool | None = None,
        vlan_default_pvid: int | None = None,
        up: bool = True,
    ) -> Link:
        """Create a bridge and return it. Raises NetlinkError (EEXIST) if a link has that name.

        A bridge that is given its `mac` keeps it, whatever ports come and go. `vlan_default_pvid` 0 gives new ports no VLAN at all.
        """
        data = _present(
            IFLA_BR_VLAN_FILTERING=None if vlan_filtering is None else int(vlan_filtering),
            IFLA_BR_VLAN_DEFAULT_PVID=vlan_default_pvid,
        )
        info: list[list[Any]] = [["IFLA_INFO_KIND", "bridge"]]
        if data:
            info.append(["IFLA_INFO_DATA", {"attrs": data}])
        attrs = _present(IFLA_IFNAME=name, IFLA_MTU=mtu, IFLA_ADDRESS=mac, IFLA_LINKINFO={"attrs": info})
        return self._create(name, f"create bridge {name}", attrs=attrs, up=up)

    def add_veth(
        self,
        name: str,
        *,
        peer_name: str,
        peer_netns: int | None = None,
        mtu: int | None = None,
        mac: str | None = None,
        peer_mac: str | None = None,
        master: int | None = None,
        alias: str | None = None,
        hairpin: bool | None = None,
        isolated: bool | None = None,
        up: bool = True,
    ) -> Link:
        """Create a veth pair and return the end on this side; the other is born in the namespace `peer_netns` (a descriptor).

        `master` is the index of the bridge that this end is to be a port of, `hairpin` and `isolated` what port; `mtu` holds for
        both ends. The other end comes up down: the kernel refuses to open it before the pair is complete. The kernel takes no
        `alias` while it creates, so that is a second request; if it fails, the pair is deleted again. A bridge's port gets no IPv6
        address, which nobody could use, and whose routes cost the more the more ports there are.
        Raises NetlinkError (EEXIST if either name is taken).
        """
        peer = _present(IFLA_IFNAME=peer_name, IFLA_NET_NS_FD=peer_netns, IFLA_ADDRESS=peer_mac, IFLA_MTU=mtu)
        info = [["IFLA_INFO_KIND", "veth"], ["IFLA_INFO_DATA", {"attrs": [["VETH_INFO_PEER", {"attrs": peer}]]}]]
        attrs = _present(IFLA_IFNAME=name, IFLA_ADDRESS=mac, IFLA_MTU=mtu, IFLA_MASTER=master, IFLA_LINKINFO={"attrs": info})
        link = self._create(name, f"create veth {name} with its other end {peer_name}", attrs=attrs, up=up)
        port = _port_data(hairpin, isolated)
        more = _present(IFLA_IFALIAS=alias) + ([port] if port else [])
        requests = [encode("ifinfmsg", RTM_NEWLINK, f"set up veth {name}", fields={"index": link.index}, attrs=more)] if more else []
        if master is not None:
            requests.append(_without_ipv6(link.index))
        try:
            self.ask(*requests)
        except BaseException:
            self.delete_link(link.index)
            raise
        link.alias, link.hairpin, link.isolated = alias or "", bool(hairpin), bool(isolated)
        return link

    def _create(self, name: str, what: str, *, attrs: list[list[Any]], up: bool) -> Link:
        """Create a link and look it up in one go; looking up cannot do harm if the creation was refused."""
        created = encode("ifinfmsg", RTM_NEWLINK, what, fields=_flags(up=up or None), attrs=attrs, flags=NLM_F_CREATE | NLM_F_EXCL)
        answer = self.ask(created, self._get(name, 0))[1]
        return _read_link((answer or [b""])[0])

    def set_link(
        self,
        index: int,
        *,
        up: bool | None = None,
        promisc: bool | None = None,
        master: int | None = None,
        mtu: int | None = None,
        mac: str | None = None,
        alias: str | None = None,
        name: str | None = None,
        netns_fd: int | None = None,
    ) -> None:
        """Change a link; what is None stays. `master` 0 takes it out of its bridge, `alias` "" removes that. Raises NetlinkError."""
        attrs = _present(IFLA_IFNAME=name, IFLA_ADDRESS=mac, IFLA_MTU=mtu, IFLA_MASTER=master, IFLA_IFALIAS=alias, IFLA_NET_NS_FD=netns_fd)
        fields = {"index": index, **_flags(up=up, promisc=promisc)}
        self.tell(encode("ifinfmsg", RTM_SETLINK, f"change link {name or index}", fields=fields, attrs=attrs))

    def set_port(self, index: int, *, hairpin: bool | None = None, isolated: bool | None = None) -> None:
        """Make a bridge's port a hairpin port (it may send back where it came from) or an isolated one. Raises NetlinkError."""
        port = _port_data(hairpin, isolated)
        if port:
            self.tell(encode("ifinfmsg", RTM_NEWLINK, f"change bridge port {index}", fields={"index": index}, attrs=[port]))

    def delete_link(self, index: int) -> bool:
        """Delete a link, and with one end of a veth the other. Returns False if there was none. Raises NetlinkError."""
        return self.tell(self._delete({"index": index}, [], what=f"delete link {index}"))

    def _delete(self, fields: dict[str, int], attrs: list[list[Any]], *, what: str) -> Request:
        return encode("ifinfmsg", RTM_DELLINK, what, fields=fields, attrs=attrs, tolerated=(ENODEV,))

    def delete_links(self, indexes: Sequence[int]) -> None:
        """Delete many links in the time that one takes; those that are not there count as deleted. Raises NetlinkError.

        A deletion waits for the kernel's readers; links of one group are deleted in a single wait.
        """
        if len(indexes) < 2:
            for index in indexes:
                self.delete_link(index)
            return
        group = [["IFLA_GROUP", _DOOMED]]
        what = "mark a link for deletion"
        self.ask(*[encode("ifinfmsg", RTM_SETLINK, what, fields={"index": i}, attrs=group, tolerated=(ENODEV,)) for i in indexes])
        self.ask(self._delete({}, group, what=f"delete {len(indexes)} links"))
