"""What the kernel says is there, for comparing with what a plugin says; with ip(8), so that it can be seen again."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conformance.case import Failed

if TYPE_CHECKING:
    from conformance.lab import Lab
    from conformance.netns import Container


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the kernel: destination and gateway in their canonical form, gateway empty for a neighbour."""

    destination: str
    gateway: str
    device: str
    table: str
    metric: int


def links(lab: Lab, pod: Container | None = None) -> dict[str, dict[str, Any]]:
    """Return the links of the node, or of a container: name to ip(8)'s description."""
    listing = json.loads(lab.do("ip -json -details link show", within=pod) or "[]")
    return {link["ifname"]: link for link in listing}


def link(lab: Lab, name: str, pod: Container | None = None) -> dict[str, Any]:
    """Return one link. Raises Failed when it is not there."""
    found = links(lab, pod)
    if name not in found:
        raise Failed(f"a link {name} {f'in {pod.name}' if pod else 'on the node'}", f"there are {', '.join(found)}")
    return found[name]


def addresses(lab: Lab, pod: Container, name: str) -> set[str]:
    """Return the addresses of a container's link in CIDR notation, those that the kernel makes by itself (link-local IPv6) left out."""
    listing = json.loads(lab.do(f"ip -json address show dev {name}", within=pod) or "[]")
    found = [info for link in listing for info in link.get("addr_info", [])]
    return {f"{info['local']}/{info['prefixlen']}" for info in found if not ipaddress.ip_address(info["local"]).is_link_local}


def routes(lab: Lab, pod: Container) -> list[Route]:
    """Return the unicast routes of a container, in all tables."""
    found = []
    for family, everywhere in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
        for route in json.loads(lab.do(f"ip {family} -json -N route show table all", within=pod) or "[]"):
            if route.get("type", "unicast") not in {"unicast", "1"}:
                continue
            destination = everywhere if route["dst"] == "default" else str(ipaddress.ip_network(route["dst"]))
            hops = [route, *route.get("nexthops", [])]
            gateway = next((hop["gateway"] for hop in hops if "gateway" in hop), "")
            device = next((hop["dev"] for hop in hops if "dev" in hop), "")
            found.append(Route(destination, gateway, device, str(route.get("table", "254")), int(route.get("metric", 0))))
    return found


def cidr(text: object) -> str:
    """Return an address in CIDR notation in its canonical form. Raises Failed when it is none."""
    try:
        return str(ipaddress.ip_interface(text if isinstance(text, str) and "/" in text else ""))
    except ValueError:
        raise Failed("an address in CIDR notation", repr(text)) from None


def address(text: object) -> str:
    """Return an address without prefix in its canonical form. Raises Failed when it is none."""
    try:
        return str(ipaddress.ip_address(text if isinstance(text, str) else ""))
    except ValueError:
        raise Failed("an IP address", repr(text)) from None
