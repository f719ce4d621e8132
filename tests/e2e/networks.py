"""Network configurations of the end-to-end tests, and how what they promise is seen from outside."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from tests.e2e.cnitool import Cnitool
from tests.support.netns import Container, Netns, Outside
from tests.support.node import Node

SUBNETS = ("10.61.0.0/24", "fd61::/64")
GATEWAYS = ("10.61.0.1", "fd61::1")
DEFAULT_ROUTES = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
PATIENCE = 30
"""Seconds for what must arrive, on a busy machine too."""


def host_local(*subnets: str) -> dict[str, Any]:
    """Return a host-local configuration with one pool per subnet (default: dual stack) and a default route for each family."""
    pools = subnets or SUBNETS
    return {"type": "host-local", "ranges": [[{"subnet": subnet}] for subnet in pools], "routes": DEFAULT_ROUTES[: len(pools)]}


def static(*addresses: str) -> dict[str, Any]:
    """Return a static configuration of these addresses, each in CIDR notation, with our gateways and default routes."""
    listed = [{"address": address, "gateway": GATEWAYS[":" in address]} for address in addresses]
    return {"type": "static", "addresses": listed, "routes": DEFAULT_ROUTES[: len(addresses)]}


def bridge(ipam: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """Return a bridge plugin with a gateway address, dual stack by host-local unless told otherwise."""
    return {"type": "bridge", "bridge": "cbr0", "isGateway": True, "ipam": ipam or host_local(), **keys}


def ptp(ipam: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """Return a ptp plugin, dual stack by host-local unless told otherwise."""
    return {"type": "ptp", "ipam": ipam or host_local(), **keys}


def addresses(result: dict[str, Any]) -> list[str]:
    """Return the addresses of a result from 0.3.0 on, without prefix lengths."""
    return [ip["address"].partition("/")[0] for ip in result["ips"]]


def ping(source: Any, *targets: str) -> None:
    """Send each target echo requests from `source`, a node or a namespace, until one is answered; fails after PATIENCE."""
    for target in targets:
        source.run(["ping", "-n", "-c1", "-w", str(PATIENCE), target])


def seen_source(client: Netns, server: Netns, address: str) -> str:
    """Connect from `client` to `address`, which is one of `server`'s, and return the source address that the server sees."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with server.inside():
        listener = socket.create_server((address, 0), family=family)
    with listener:
        listener.settimeout(PATIENCE)
        with client.inside(), socket.create_connection(listener.getsockname()[:2], timeout=PATIENCE):
            connection, peer = listener.accept()
        connection.close()
    return str(peer[0])


def prime(net: Cnitool, container: Container) -> None:
    """Add and delete once, so that what a network shares (its bridge, tables, directories) is there before a ledger is taken."""
    net.add(container)
    net.delete(container)


def forward_ipv6(node: Node) -> None:
    """Let the node route IPv6, which an administrator does for dual stack pods."""
    with node.inside():
        Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")


def route_to_pods(outside: Outside) -> None:
    """Let an outside host know its way to the pods, and the node find neighbours for what it forwards, as both do on a real network."""
    for subnet, gateway in zip(SUBNETS, outside.node_addresses, strict=True):
        outside.run(["ip", "route", "add", subnet, "via", gateway])
    outside.node.run(["ip", "address", "add", "fe80::2/64", "dev", outside.name, "nodad"])
