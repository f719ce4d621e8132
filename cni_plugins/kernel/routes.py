"""Routes (rtnetlink(7), RTM_*ROUTE)."""

from __future__ import annotations

from errno import ENODEV, ENOENT, ESRCH

from cni_plugins.kernel.addresses import AF
from cni_plugins.kernel.rtnl import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    Channel,
    attributes,
    decode,
    encode,
)
from cni_plugins.protocol.ip import Cidr, parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TABLE_MAIN = 254
SCOPE_UNIVERSE, SCOPE_LINK = 0, 253
PROTOCOL_BOOT = 3
_UNICAST = 1
_ONLINK = 4
_FAMILIES = {2: 4, 10: 6}
_WANTED = {
    "RTA_DST": "dst",
    "RTA_GATEWAY": "gateway",
    "RTA_OIF": "index",
    "RTA_PREFSRC": "source",
    "RTA_TABLE": "table",
    "RTA_PRIORITY": "priority",
    "RTA_METRICS": "metrics",
    "RTA_MULTIPATH": "multipath",
}
_WANTED_METRICS = {"RTAX_MTU": "mtu", "RTAX_ADVMSS": "advmss"}


class Route:
    """A route: to `dst` (None: the default route) through `gateway` (an address) and the link `index`.

    `family` is 4 or 6 and known from `dst` or `gateway`; `scope` None means what ip(8) means: the link's for an IPv4 route without
    gateway, else everywhere; `priority` is the metric, 0 the kernel's choice; `mtu` and `advmss` 0 are unset. `onlink` takes a gateway for
    one on the link, whatever the link's addresses say. A route that was read and has several next hops lists them in `hops`, as
    (gateway or None, index of the link).
    """

    __slots__ = (
        "advmss",
        "dst",
        "family",
        "gateway",
        "hops",
        "index",
        "mtu",
        "onlink",
        "priority",
        "protocol",
        "scope",
        "source",
        "table",
    )

    def __init__(
        self,
        dst: Cidr | None,
        *,
        gateway: Cidr | None = None,
        index: int = 0,
        family: int = 0,
        table: int = TABLE_MAIN,
        priority: int = 0,
        scope: int | None = None,
        mtu: int = 0,
        advmss: int = 0,
        protocol: int = PROTOCOL_BOOT,
        source: Cidr | None = None,
        onlink: bool = False,
    ) -> None:
        known = dst or gateway
        self.family = family or (known.family if known else 4)
        self.dst = dst
        self.gateway = gateway
        self.index = index
        self.table = table
        self.priority = priority
        self.scope = scope
        self.mtu = mtu
        self.advmss = advmss
        self.protocol = protocol
        self.source = source
        self.onlink = onlink
        self.hops: tuple[tuple[Cidr | None, int], ...] = ()

    def __str__(self) -> str:
        through = f" via {self.gateway.address}" if self.gateway else ""
        return f"{self.dst or 'default'}{through}"

    def __repr__(self) -> str:
        return f"Route({self}, index={self.index})"


def _address(text: str | None) -> Cidr | None:
    return parse_address(text) if text else None


def _read_route(message: bytes) -> Route:
    decoded = decode("rtmsg", message)
    found = attributes(decoded, _WANTED)
    metrics = attributes(found["metrics"], _WANTED_METRICS) if "metrics" in found else {}
    dst = _address(found.get("dst"))
    route = Route(
        Cidr(dst.family, dst.value, decoded["dst_len"]) if dst else None,
        gateway=_address(found.get("gateway")),
        index=found.get("index", 0),
        family=_FAMILIES.get(decoded["family"], 0),
        table=found.get("table", decoded["table"]),
        priority=found.get("priority", 0),
        scope=decoded["scope"],
        mtu=metrics.get("mtu", 0),
        advmss=metrics.get("advmss", 0),
        protocol=decoded["proto"],
        source=_address(found.get("source")),
        onlink=bool(decoded["flags"] & _ONLINK),
    )
    route.hops = tuple((_address(hop.get_attr("RTA_GATEWAY")), hop["oif"]) for hop in found.get("multipath", ()))
    return route


def _fields(route: Route) -> dict[str, int]:
    scope = route.scope
    if scope is None:
        scope = SCOPE_LINK if route.family == 4 and route.gateway is None else SCOPE_UNIVERSE
    return {
        "family": AF[route.family],
        "dst_len": route.dst.prefix if route.dst else 0,
        "table": route.table if route.table < 256 else 0,
        "proto": route.protocol,
        "scope": scope,
        "type": _UNICAST,
        "flags": _ONLINK if route.onlink else 0,
    }


def _attributes(route: Route) -> list[list[Any]]:
    attrs: list[list[Any]] = [["RTA_TABLE", route.table]]
    for name, address in (("RTA_DST", route.dst), ("RTA_GATEWAY", route.gateway), ("RTA_PREFSRC", route.source)):
        if address:
            attrs.append([name, address.address])
    for name, number in (("RTA_OIF", route.index), ("RTA_PRIORITY", route.priority)):
        if number:
            attrs.append([name, number])
    metrics = [[name, number] for name, number in (("RTAX_MTU", route.mtu), ("RTAX_ADVMSS", route.advmss)) if number]
    if metrics:
        attrs.append(["RTA_METRICS", {"attrs": metrics}])
    return attrs


class Routes(Channel):
    """The part of `Netlink` that has to do with routes."""

    __slots__ = ()

    def routes(self, index: int | None = None, *, family: int | None = None, table: int | None = None) -> list[Route]:
        """List the routes of one table (None: the main one), of both families or of one, through all links or through one.

        A table that does not exist is empty. A route of several hops is listed when no link is asked for, or when one of its hops
        goes through that link.
        """
        listed: list[Route] = []
        for number in (AF[family],) if family else AF.values():
            attrs: list[list[Any]] = [["RTA_TABLE", table or TABLE_MAIN]]
            if index:
                attrs.append(["RTA_OIF", index])
            request = encode(
                "rtmsg",
                RTM_GETROUTE,
                "list routes",
                fields={"family": number},
                attrs=attrs,
                flags=NLM_F_DUMP,
                tolerated=(ENOENT, ENODEV),
            )
            listed += [_read_route(message) for message in self.dump(request)]
        return listed

    def add_route(self, route: Route, *, another: bool = False) -> None:
        """Add a route. Raises NetlinkError (EEXIST if there is one to the same destination with the same priority).

        `another` allows such a route to stand beside: a further next hop in IPv6, an alternative in IPv4, as the reference plugins
        add routes to one destination through several gateways.
        """
        flags = NLM_F_CREATE | (0 if another else NLM_F_EXCL)
        what = f"add route {route}"
        self.tell(encode("rtmsg", RTM_NEWROUTE, what, fields=_fields(route), attrs=_attributes(route), flags=flags))

    def delete_route(self, route: Route) -> bool:
        """Delete a route that matches in all that is given. Returns False if there is none. Raises NetlinkError."""
        fields = _fields(route)
        if route.scope is None:
            fields["scope"] = 255
        what = f"delete route {route}"
        return self.tell(encode("rtmsg", RTM_DELROUTE, what, fields=fields, attrs=_attributes(route), tolerated=(ESRCH, ENODEV)))
