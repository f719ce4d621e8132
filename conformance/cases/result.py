"""ADD, its result: what the plugin says that it has done is what the kernel says that is there."""

from __future__ import annotations

import ipaddress
from typing import Any

from conformance import view
from conformance.case import BEST, MUST, SHOULD, Failed, Skipped, case
from conformance.lab import Lab
from conformance.netns import Container
from conformance.spec import clause

_INTERFACES = clause(
    "ADD success",
    "interfaces: An array of all interfaces created by the attachment, including any host-level interfaces: "
    "name, mac: The hardware address …, mtu: The MTU of the interface (if applicable)",
)
_IPS = clause("ADD success", "ips: IPs assigned by this attachment: address: an IP address in CIDR notation")
_ROUTES = clause(
    "ADD success",
    "routes: Routes created by this attachment: dst: The destination of the route, in CIDR notation; gw: The next hop address",
)
_INDEX = clause(
    "ADD success",
    "interface (uint): the index into the interfaces list … indicating which interface this IP configuration should be applied to",
)
_TYPES = clause(
    "ADD success",
    "Plugins must output a JSON object with the following keys …: name (string), mtu (uint), address (CIDR notation), dst "
    "(CIDR notation) …",
)
_ON_LINKS = {"ADD", "interface|chained"}


def _attached(lab: Lab) -> tuple[Container, dict[str, Any]]:
    """A container, and what its ADD answered, in a version that tells of interfaces."""
    if lab.version in {"0.1.0", "0.2.0"}:
        raise Skipped(f"results of version {lab.version} do not tell of interfaces")
    pod = lab.attached()
    result = lab.result(pod)
    if not isinstance(result, dict):
        raise Failed("ADD prints a JSON object", repr(result))
    return pod, result


def _interfaces(result: dict[str, Any]) -> list[dict[str, Any]]:
    found = result.get("interfaces") or []
    if not isinstance(found, list) or not all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in found):
        raise Failed("interfaces is a list of objects with a name", repr(found))
    return found


def _place(interface: dict[str, Any], pod: Container) -> tuple[bool, Container | None]:
    """Whether the suite can see where the interface is, and the container, None for the node."""
    sandbox = interface.get("sandbox") or ""
    return sandbox in {"", pod.path}, pod if sandbox else None


@case("ADD-02", title="MAC addresses and MTUs in the result are those of the links", level=MUST, spec=_INTERFACES, needs=_ON_LINKS)
def links_as_told(lab: Lab) -> None:
    pod, result = _attached(lab)
    for interface in _interfaces(result):
        visible, place = _place(interface, pod)
        if not visible:
            continue
        link = view.link(lab, interface["name"], place)
        told, real = {}, {}
        if interface.get("mac"):
            told["mac"], real["mac"] = interface["mac"].lower(), link["address"].lower()
        if interface.get("mtu"):
            told["mtu"], real["mtu"] = interface["mtu"], link["mtu"]
        if told != real:
            raise Failed(f"{interface['name']} with {real}, as the kernel has it", f"the result says {told}")


@case(
    "ADD-03",
    title="the sandbox of the container's interface is CNI_NETNS",
    level=SHOULD,
    spec=clause("ADD success", "sandbox: … For interfaces created inside the container, this should be the value passed via CNI_NETNS"),
    needs={"ADD", "interface"},
)
def sandbox_is_netns(lab: Lab) -> None:
    pod, result = _attached(lab)
    found = [interface.get("sandbox") for interface in _interfaces(result) if interface["name"] == lab.profile.ifname]
    if pod.path not in found:
        raise Failed(
            f"{lab.profile.ifname} with the sandbox {pod.path}", f"sandbox {found[0]!r}" if found else "no such interface in the result"
        )


@case("ADD-04", title="addresses in the result are those of the interface", level=MUST, spec=_IPS, needs={*_ON_LINKS, "addresses"})
def addresses_as_told(lab: Lab) -> None:
    pod, result = _attached(lab)
    interfaces = _interfaces(result)
    ips = result.get("ips") or []
    for ip in ips:
        index = ip.get("interface")
        if not isinstance(index, int) or not 0 <= index < len(interfaces) or _place(interfaces[index], pod) != (True, pod):
            continue
        name, text = interfaces[index]["name"], view.cidr(ip.get("address"))
        if text not in (there := view.addresses(lab, pod, name)):
            raise Failed(f"{text} on {name}, as the result says", f"{name} has {', '.join(sorted(there)) or 'no address'}")
    told = {view.cidr(ip.get("address")) for ip in ips}
    if untold := view.addresses(lab, pod, lab.profile.ifname) - told:
        raise Failed(f"the result has all addresses of {lab.profile.ifname}", f"it is without {', '.join(sorted(untold))}")


@case("ADD-05", title="routes in the result are in the container", level=MUST, spec=_ROUTES, needs=_ON_LINKS)
def routes_as_told(lab: Lab) -> None:
    pod, result = _attached(lab)
    if not (told := result.get("routes")):
        raise Skipped("the result has no routes")
    there = view.routes(lab, pod)
    for route in told:
        destination = str(ipaddress.ip_interface(view.cidr(route.get("dst"))).network)
        table, metric = route.get("table"), route.get("priority")
        fitting = [
            one
            for one in there
            if one.destination == destination
            and (not route.get("gw") or one.gateway == view.address(route["gw"]))
            and (not table or one.table in {str(table), {254: "main", 255: "local", 253: "default"}.get(table, "")})
            and (not metric or one.metric == metric)
        ]
        if not fitting:
            raise Failed(
                f"the container has the route {route} of the result",
                ", ".join(f"{one.destination} via {one.gateway}" for one in there) or "no routes",
            )


@case("ADD-06", title="the interface of an address is one of the list", level=MUST, spec=_INDEX, needs={*_ON_LINKS, "addresses"})
def index_in_list(lab: Lab) -> None:
    _, result = _attached(lab)
    interfaces = _interfaces(result)
    for ip in result.get("ips") or []:
        index = ip.get("interface")
        if index is not None and (not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(interfaces)):
            raise Failed(f"interface of {ip.get('address')} is an index into {len(interfaces)} interfaces", repr(index))


@case(
    "ADD-12",
    title="the DNS configuration comes out as it went in",
    level=SHOULD,
    spec=clause(
        "Plugin configuration",
        "Plugins that consume any of these configuration keys should respect their intended semantics: … dns (dictionary)",
    ),
    needs={"ADD"},
)
def dns_passed_through(lab: Lab) -> None:
    pod = lab.container()
    conf = lab.passed("ADD", pod)
    wanted = conf.get("dns") or (conf.get("prevResult") or {}).get("dns")
    if not wanted:
        raise Skipped("the profile's configuration is without dns")
    answer = lab.add(pod)
    found = (answer.succeeds() or {}).get("dns") or {}
    if different := {key: value for key, value in wanted.items() if found.get(key) != value}:
        raise Failed(f"dns in the result with {different}", str(answer))


@case(
    "ADD-18",
    title="the result tells the MAC address of the container's interface",
    level=BEST,
    spec=_INTERFACES,
    needs={"ADD", "creates", "version:1.1.0"},
)
def link_described(lab: Lab) -> None:
    _, result = _attached(lab)
    for interface in _interfaces(result):
        if interface["name"] == lab.profile.ifname and not interface.get("mac"):
            raise Failed(f"{lab.profile.ifname} with its mac", repr(interface))


@case(
    "ADD-19",
    title="the result of an IPAM plugin knows of no interfaces",
    level=MUST,
    spec=clause(
        "IPAM result",
        "Delegated IPAM plugins must return an abbreviated Success object. … it is missing the interfaces array, as well as "
        "the interface entry in ips",
    ),
    needs={"ADD", "ipam"},
)
def abbreviated(lab: Lab) -> None:
    _, result = _attached(lab)
    if "interfaces" in result or any("interface" in ip for ip in result.get("ips") or []):
        raise Failed("a result without interfaces, and addresses without interface", repr(result))


@case("ADD-21", title="the result lists all interfaces that ADD has made", level=MUST, spec=_INTERFACES, needs=_ON_LINKS)
def all_listed(lab: Lab) -> None:
    if lab.version in {"0.1.0", "0.2.0"}:
        raise Skipped(f"results of version {lab.version} do not tell of interfaces")
    pod = lab.container()
    places = ("node", pod.name)
    before = lab.ledger()
    result = lab.add(pod).succeeds() or {}
    after = lab.ledger()
    told = {(pod.name if one.get("sandbox") else "node", one["name"]) for one in _interfaces(result)}
    made = {(place, link) for place in places for link in after.links(place) - before.links(place)}
    if untold := made - told:
        raise Failed(
            "the result lists the interfaces that ADD has made",
            "not listed: " + ", ".join(f"{link} ({place})" for place, link in sorted(untold)),
        )


@case("ADD-22", title="what is in the result is of the right type and notation", level=MUST, spec=_TYPES, needs={"ADD"})
def well_formed(lab: Lab) -> None:
    _, result = _attached(lab)
    for interface in _interfaces(result):
        _typed(interface, {"name": str, "mac": str, "sandbox": str, "mtu": int, "socketPath": str, "pciID": str})
    for ip in _objects(result, "ips"):
        view.cidr(ip.get("address"))
        if ip.get("gateway"):
            view.address(ip["gateway"])
    for route in _objects(result, "routes"):
        view.cidr(route.get("dst"))
        if route.get("gw"):
            view.address(route["gw"])
        _typed(route, {"mtu": int, "advmss": int, "priority": int, "table": int, "scope": int})
    dns = result.get("dns") or {}
    _typed(dns, {"nameservers": list, "domain": str, "search": list, "options": list})
    for server in dns.get("nameservers") or []:
        view.address(server)


def _objects(result: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = result.get(key) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Failed(f"{key} is a list of objects", repr(found))
    return found


def _typed(thing: dict[str, Any], types: dict[str, type]) -> None:
    for key, kind in types.items():
        value = thing.get(key)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool) or (isinstance(value, int) and value < 0)):
            raise Failed(f"{key} is of type {'uint' if kind is int else kind.__name__}", repr(value))
