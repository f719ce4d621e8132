"""Links, addresses, routes, rules, permanent neighbours and queueing disciplines of the calling thread's network namespace."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from conformance.ledger import netlink
from conformance.ledger.netlink import Attributes, address, number, text

if TYPE_CHECKING:
    from collections.abc import Mapping

Things = dict[str, dict[str, str]]
"""The things of one kind: name to fields."""

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_ROUTE = struct.Struct("=8BI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_QDISC = struct.Struct("=BxxxiIII")

_LINK_FLAGS = {0x1: "up", 0x80: "noarp", 0x100: "promisc", 0x200: "allmulti"}
_ADDRESS_FLAGS = {0x01: "secondary", 0x02: "nodad", 0x04: "optimistic", 0x100: "mngtmpaddr", 0x200: "noprefixroute"}
_TABLES = {253: "default", 254: "main", 255: "local"}
_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_TYPES = {2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"}
_ACTIONS = {1: "lookup", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_PROTOCOLS = {1: "redirect", 2: "kernel", 3: "boot", 4: "static", 9: "ra"}
_UNICAST = 1
_CLONED = 0x200
_LOCAL = 255
_KERNEL = 2
_NUD_PERMANENT = 0x80
_NTF_PROXY = 0x08
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def read() -> dict[str, Things]:
    """Everything, by kind. Raises OSError."""
    with netlink.Reader() as reader:
        rows = reader.dump(netlink.RTM_GETLINK, _LINK)
        names = {header[2]: text(attributes.get(3)) for header, attributes in rows}
        return {
            "link": {names[header[2]]: _link(header[3], attributes, names) for header, attributes in rows},
            "address": dict(_address(*row, names) for row in reader.dump(netlink.RTM_GETADDR, _ADDRESS)),
            "route": _routes(reader, names),
            "rule": {_rule(*row): {} for family in _FAMILIES for row in reader.dump(netlink.RTM_GETRULE, _ROUTE, bytes([family]))},
            "neighbour": _neighbours(reader, names),
            "qdisc": _qdiscs(reader, names),
        }


def _link(flags: int, attributes: Attributes, names: Mapping[int, str]) -> dict[str, str]:
    info = netlink.attributes(attributes.get(18, b""))
    fields = {
        "kind": text(info.get(1)),
        "mac": address(attributes.get(1)),
        "mtu": str(number(attributes.get(4))),
        "flags": _flags(flags, _LINK_FLAGS),
        "master": names.get(number(attributes.get(10)), ""),
        "alias": text(attributes.get(20)),
        "group": str(number(attributes.get(27)) or ""),
        "txqlen": str(number(attributes.get(13))),
    }
    if text(info.get(4)) == "bridge":
        port = netlink.attributes(info.get(5, b""))
        fields["port"] = " ".join(word for word, value in (("hairpin", port.get(4)), ("isolated", port.get(33))) if number(value))
    return {name: value for name, value in fields.items() if value}


def _address(header: tuple[int, ...], attributes: Attributes, names: Mapping[int, str]) -> tuple[str, dict[str, str]]:
    _, length, flags, scope, index = header
    local = attributes.get(2) or attributes.get(1)
    fields = {"scope": _SCOPES.get(scope, str(scope)), "flags": _flags(number(attributes.get(8), flags), _ADDRESS_FLAGS)}
    if attributes.get(1) not in (None, local):
        fields["peer"] = address(attributes[1])
    return f"{address(local)}/{length} dev {names.get(index, index)}", {name: value for name, value in fields.items() if value}


def _routes(reader: netlink.Reader, names: Mapping[int, str]) -> Things:
    rows = [row for family in _FAMILIES for row in reader.dump(netlink.RTM_GETROUTE, _ROUTE, bytes([family]))]
    return {_route(header, attributes, names): _metrics(attributes) for header, attributes in rows if not _is_derived(header)}


def _is_derived(header: tuple[int, ...]) -> bool:
    """Whether the kernel made a route by itself: cached, or its echo of an address in the local table, which may come seconds later."""
    _, _, _, _, table, protocol, _, _, flags = header
    return bool(flags & _CLONED) or (table, protocol) == (_LOCAL, _KERNEL)


def _route(header: tuple[int, ...], attributes: Attributes, names: Mapping[int, str]) -> str:
    family, length, source_length, tos, _, protocol, scope, kind, _ = header
    table = number(attributes.get(15), header[4])
    words = [_TYPES.get(kind, str(kind)) if kind != _UNICAST else "", _network(family, attributes.get(1), length)]
    words += ["from", _network(family, attributes.get(2), source_length)] if source_length else []
    words += _hop(attributes, names)
    for hop in _hops(attributes.get(9, b"")):
        words += ["nexthop", *_hop(hop, names)]
    words += ["table", _TABLES.get(table, str(table)), "proto", _PROTOCOLS.get(protocol, str(protocol))]
    words += ["scope", _SCOPES.get(scope, str(scope))]
    words += ["src", address(attributes[7])] if 7 in attributes else []
    words += ["metric", str(number(attributes[6]))] if 6 in attributes else []
    words += ["tos", str(tos)] if tos else []
    return " ".join(word for word in words if word)


def _hop(attributes: Attributes, names: Mapping[int, str]) -> list[str]:
    via = ["via", address(attributes[5])] if 5 in attributes else ["via", address(attributes[18][2:])] if 18 in attributes else []
    index = number(attributes.get(4))
    return [*via, *(["dev", names.get(index, str(index))] if index else [])]


def _hops(data: bytes) -> list[Attributes]:
    """The next hops of a multipath route, each with its link as the attribute that a plain route has for it (struct rtnexthop)."""
    hops = []
    while len(data) >= 8:
        length, _, _, index = struct.unpack_from("=HBBi", data)
        hops.append({**netlink.attributes(data[8:length]), 4: struct.pack("=i", index)})
        data = data[max(length, 8) + 3 & ~3 :]
    return hops


def _metrics(attributes: Attributes) -> dict[str, str]:
    return {f"metric {kind}": str(number(value)) for kind, value in netlink.attributes(attributes.get(8, b"")).items()}


def _rule(header: tuple[int, ...], attributes: Attributes) -> str:
    family, length, source_length, tos, _, _, _, action, _ = header
    table = number(attributes.get(15), header[4])
    words = ["ipv4" if family == socket.AF_INET else "ipv6", f"{number(attributes.get(6))}:"]
    words += ["from", _network(family, attributes.get(2), source_length)]
    words += ["to", _network(family, attributes.get(1), length)] if length else []
    words += [f"fwmark {number(attributes[10]):#x}/{number(attributes.get(16), 0xFFFFFFFF):#x}"] if 10 in attributes else []
    words += [f"{word} {text(attributes[kind])}" for word, kind in (("iif", 3), ("oif", 17)) if kind in attributes]
    words += [f"tos {tos}"] if tos else []
    return " ".join([*words, _ACTIONS.get(action, str(action)), _TABLES.get(table, str(table))])


def _neighbours(reader: netlink.Reader, names: Mapping[int, str]) -> Things:
    found = {}
    for (_, index, state, _, _), attributes in reader.dump(netlink.RTM_GETNEIGH, _NEIGHBOUR):
        if state & _NUD_PERMANENT and 1 in attributes:
            found[f"{address(attributes[1])} dev {names.get(index, index)}"] = {"mac": address(attributes.get(2))}
    proxies = reader.dump(netlink.RTM_GETNEIGH, _NEIGHBOUR, _NEIGHBOUR.pack(0, 0, 0, _NTF_PROXY, 0))
    for (_, index, _, _, _), attributes in proxies:
        found[f"{address(attributes.get(1))} dev {names.get(index, index)}"] = {"proxy": "yes"}
    return found


def _qdiscs(reader: netlink.Reader, names: Mapping[int, str]) -> Things:
    """All but the kernel's default ones, which have no handle."""
    found = {}
    for (_, index, handle, parent, _), attributes in reader.dump(netlink.RTM_GETQDISC, _QDISC):
        if handle:
            name = f"{text(attributes.get(1))} {handle >> 16:x}: dev {names.get(index, index)} parent {parent:x}"
            found[name] = {"options": attributes.get(2, b"").hex()}
    return found


def _network(family: int, data: bytes | None, length: int) -> str:
    if not length:
        return "default" if family else ""
    return f"{address(data or bytes(4 if family == socket.AF_INET else 16))}/{length}"


def _flags(value: int, words: Mapping[int, str]) -> str:
    return " ".join(word for flag, word in words.items() if value & flag)
