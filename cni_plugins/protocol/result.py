"""The result of an ADD, in memory always as 1.1.0 has it, read and written in any version (SPEC section 5, "Result types").

What each version cannot say is left out when writing:

    0.1.0, 0.2.0   one address of each family as `ip4` and `ip6`, each with the routes of its family; more is an error
    0.3.0 - 0.4.0  `interfaces`, `ips[].version`, `dns` always there
    1.0.0          no `ips[].version`
    1.1.0          `mtu`, `socketPath`, `pciID` of interfaces; `mtu`, `advmss`, `priority`, `table`, `scope` of routes
"""

from __future__ import annotations

from cni_plugins.protocol.errors import DecodeFailure, InvalidConfig
from cni_plugins.protocol.ip import Cidr, parse_address, parse_cidr, parse_either
from cni_plugins.protocol.versions import SUPPORTED, at_least

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ROUTE_NUMBERS = ("mtu", "advmss", "priority", "table", "scope")


class Interface:
    """An interface of a result; `sandbox` is the netns path of one in a container, empty on the host."""

    __slots__ = ("mac", "mtu", "name", "pciID", "sandbox", "socketPath")

    def __init__(self, name: str, *, mac: str = "", mtu: int = 0, sandbox: str = "", socketPath: str = "", pciID: str = "") -> None:
        self.name = name
        self.mac = mac
        self.mtu = mtu
        self.sandbox = sandbox
        self.socketPath = socketPath
        self.pciID = pciID


class Ip:
    """An address that was given out: with its network's prefix, its gateway (text or None), the index of its interface."""

    __slots__ = ("address", "gateway", "interface")

    def __init__(self, address: Cidr, *, gateway: str | None = None, interface: int | None = None) -> None:
        self.address = address
        self.gateway = gateway
        self.interface = interface


class Route:
    """A route for the container; `gw` as text or None (then the gateway of its family's first address is used).

    `mtu` and `advmss` in bytes; None where the configuration is silent. `src` is the source address that packets on this route
    get; results do not carry it.
    """

    __slots__ = ("advmss", "dst", "gw", "mtu", "priority", "scope", "src", "table")

    def __init__(self, dst: Cidr, *, gw: str | None = None, src: str | None = None, **numbers: int | None) -> None:
        self.dst = dst
        self.gw = gw
        self.src = src
        self.mtu = numbers.get("mtu")
        self.advmss = numbers.get("advmss")
        self.priority = numbers.get("priority")
        self.table = numbers.get("table")
        self.scope = numbers.get("scope")


class Result:
    """What an ADD made: interfaces, addresses, routes and DNS settings (`dns` as in the specification, empty when none)."""

    __slots__ = ("dns", "interfaces", "ips", "routes")

    def __init__(
        self,
        interfaces: list[Interface] | None = None,
        *,
        ips: list[Ip] | None = None,
        routes: list[Route] | None = None,
        dns: dict[str, Any] | None = None,
    ) -> None:
        self.interfaces = interfaces or []
        self.ips = ips or []
        self.routes = routes or []
        self.dns = dns or {}

    def to_json(self, version: str) -> dict[str, Any]:
        """The result as a JSON object of `version`."""
        if not at_least(version, "0.3.0"):
            return self._to_020(version)
        new = at_least(version, "1.0.0")
        full = at_least(version, "1.1.0")
        out: dict[str, Any] = {"cniVersion": version}
        if self.interfaces:
            out["interfaces"] = [_interface_json(interface, full) for interface in self.interfaces]
        if self.ips:
            out["ips"] = [_ip_json(ip, new) for ip in self.ips]
        if self.routes:
            out["routes"] = [_route_json(route, full) for route in self.routes]
        if self.dns or not new:
            out["dns"] = self.dns
        return out

    def _to_020(self, version: str) -> dict[str, Any]:
        out: dict[str, Any] = {"cniVersion": version}
        families = [ip.address.family for ip in self.ips]
        if not families or len(families) != len(set(families)):
            raise InvalidConfig(f"cniVersion: a result of {version} has one address of a family, and at least one: not {len(families)}")
        for family in (4, 6):
            ip = next((ip for ip in self.ips if ip.address.family == family), None)
            if ip is None:
                continue
            entry: dict[str, Any] = {"ip": str(ip.address)}
            if ip.gateway:
                entry["gateway"] = ip.gateway
            routes = [_route_json(route, False) for route in self.routes if route.dst.family == family]
            if routes:
                entry["routes"] = routes
            out[f"ip{family}"] = entry
        out["dns"] = self.dns
        return out


def _interface_json(interface: Interface, full: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"name": interface.name}
    for key in ("mac", "mtu", "sandbox", "socketPath", "pciID") if full else ("mac", "sandbox"):
        if value := getattr(interface, key):
            out[key] = value
    return out


def _ip_json(ip: Ip, new: bool) -> dict[str, Any]:
    out: dict[str, Any] = {} if new else {"version": str(ip.address.family)}
    if ip.interface is not None:
        out["interface"] = ip.interface
    out["address"] = str(ip.address)
    if ip.gateway:
        out["gateway"] = ip.gateway
    return out


def _route_json(route: Route, full: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"dst": str(route.dst)}
    if route.gw:
        out["gw"] = route.gw
    if full:
        for key in _ROUTE_NUMBERS:
            value = getattr(route, key)
            if value is not None:
                out[key] = value
    return out


def from_json(data: Any, *, where: str, version: str = "") -> Result:
    """Read a result: prevResult, or what a delegate printed.

    `where` names it in errors ("prevResult"). Its own `cniVersion` says how to read it, else `version` does. Raises
    DecodeFailure that names the field and the value.
    """
    if not isinstance(data, dict):
        raise DecodeFailure(f"{where}: expected an object, not {data!r}")
    version = data.get("cniVersion") or version or SUPPORTED[0]
    if version not in SUPPORTED:
        raise DecodeFailure(f"{where}.cniVersion: {version!r} is not supported")
    try:
        return _from_newer(data) if at_least(version, "0.3.0") else _from_020(data)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DecodeFailure(f"{where}: not a result of version {version}: {error}") from None


def _from_newer(data: dict[str, Any]) -> Result:
    interfaces = [
        Interface(
            _text(item["name"]),
            mac=_text(item.get("mac")),
            mtu=item.get("mtu") or 0,
            sandbox=_text(item.get("sandbox")),
            socketPath=item.get("socketPath") or "",
            pciID=item.get("pciID") or "",
        )
        for item in data.get("interfaces") or ()
    ]
    ips = [
        Ip(parse_cidr(item["address"]), gateway=_gateway(item.get("gateway")), interface=item.get("interface"))
        for item in data.get("ips") or ()
    ]
    return Result(interfaces, ips=ips, routes=read_routes(data.get("routes")), dns=data.get("dns") or {})


def _from_020(data: dict[str, Any]) -> Result:
    result = Result(dns=data.get("dns") or {})
    for key in ("ip4", "ip6"):
        entry = data.get(key)
        if entry:
            result.ips.append(Ip(parse_cidr(entry["ip"]), gateway=_gateway(entry.get("gateway"))))
            result.routes += read_routes(entry.get("routes"))
    return result


def read_routes(items: Any) -> list[Route]:
    """Read a list of routes as configurations and results write them. Raises ValueError, TypeError or KeyError."""
    return [
        Route(parse_either(item["dst"]), gw=_gateway(item.get("gw")), **{key: item.get(key) for key in _ROUTE_NUMBERS})
        for item in items or ()
    ]


def _text(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value or ""


def _gateway(text: str | None) -> str | None:
    return parse_address(text).address if text else None
