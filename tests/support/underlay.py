"""Nodes that share an underlay: an Ethernet switch in a network namespace of its own, and a cable from each node's `eth0` to it.

    with Underlay(3) as underlay:
        first, second, third = underlay.nodes     # 192.168.77.11, .12, .13 and fd77::11, ::12, ::13
        underlay.addresses[0]

With `routed` the nodes are not on one link: each has a network of its own, and the switch is a router between them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tests.support.node import Node


class Underlay:
    """A switch (or a router) and `count` nodes on it; `addresses` are the nodes' own, (IPv4, IPv6) each."""

    def __init__(self, count: int, *, mtu: int = 1500, routed: Sequence[int] = ()) -> None:
        self.hub = Node("hub")
        self.nodes = [Node(f"node{number}") for number in range(1, count + 1)]
        self.addresses: list[tuple[str, str]] = []
        self.hub.run(["ip", "link", "add", "switch", "type", "bridge", "forward_delay", "0"])
        self.hub.run(["sh", "-ec", "cd /proc/sys/net; echo 1 > ipv4/ip_forward; echo 1 > ipv6/conf/all/forwarding"])
        self.hub.run(["sh", "-ec", "echo 0 > /proc/sys/net/ipv6/conf/switch/accept_dad"])
        ends = ["address add 192.168.77.1/24 dev switch", "address add fd77::1/64 dev switch nodad", "link set switch up"]
        self.hub.run(["ip", "-batch", "-"], input="\n".join(ends))
        for number, node in enumerate(self.nodes, 1):
            self._wire(number, node, mtu=mtu, routed=number in routed)

    def _wire(self, number: int, node: Node, *, mtu: int, routed: bool) -> None:
        with node.inside():
            handle = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        third, sixth = (77 + number, f"fd{77 + number}") if routed else (77, "fd77")
        v4, v6 = f"192.168.{third}.{10 + number}", f"{sixth}::{10 + number}"
        self.addresses.append((v4, v6))
        try:
            there = f"/proc/{os.getpid()}/fd/{handle}"
            peer = ["type", "veth", "peer", "name", "eth0", "mtu", str(mtu), "netns", there]
            self.hub.run(["ip", "link", "add", node.name, "mtu", str(mtu), *peer])
        finally:
            os.close(handle)
        for place, link in ((self.hub, node.name), (node, "eth0")):  # a router asks for neighbours from its link-local address: at once
            place.run(["sh", "-ec", f"echo 0 > /proc/sys/net/ipv6/conf/{link}/accept_dad"])
        port = []
        if routed:
            port += [f"address add 192.168.{third}.1/24 dev {node.name}", f"address add {sixth}::1/64 dev {node.name} nodad"]
        else:
            port += [f"link set {node.name} master switch"]
        self.hub.run(["ip", "-batch", "-"], input="\n".join([*port, f"link set {node.name} up"]))
        ends = [f"address add {v4}/24 dev eth0", f"address add {v6}/64 dev eth0 nodad", "link set eth0 up"]
        node.run(["ip", "-batch", "-"], input="\n".join([*ends, f"route add default via 192.168.{third}.1 dev eth0"]))
        node.run(["ip", "route", "add", "default", "via", f"{sixth}::1", "dev", "eth0"])
        for place, link in (
            (node, "eth0"),
            (self.hub, node.name),
            (self.hub, "switch"),
        ):  # makes the kernel take note of the carrier
            place.run(["ip", "link", "show", "dev", link])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with ExitStack() as closing:  # all of them, also when one has a process left
            for node in (self.hub, *self.nodes):
                closing.callback(node.close)
