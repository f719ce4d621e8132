"""Pods whose interfaces are shaped: how they are set up, and what tc(8) and ip(8) see of it."""

from __future__ import annotations

import json
import socket
from typing import Any

from tests.support.netns import Container, Netns
from tests.support.node import Node

RECEIVE: dict[str, Any] = {"ingressRate": 8_000_000, "ingressBurst": 800_000}
SEND: dict[str, Any] = {"egressRate": 16_000_000, "egressBurst": 800_000}
BOTH: dict[str, Any] = RECEIVE | SEND
IFB = "bwp4425a084f6bc"
"""What the reference calls the ifb of the container `pod` on the network `net`."""
SLOW = {"Rate": 8_000, "Burst": 80_000}
"""So slow that hardly anything passes while a test runs: 1 kB a second."""
SENT, PASSED = 100, 20
"""Datagrams of a kilobyte that are sent at once, and how many of them a slow limit lets pass or wait at most, with plenty to spare."""
_PORT = 9


def pair(pod: Container, ifname: str = "eth0", *, number: int = 9) -> str:
    """Give a pod an interface as a plugin of somebody else's would; returns the name of the node's end. `number` makes its subnet."""
    host = f"{pod.name}-{ifname}"
    pod.node.run(["ip", "link", "add", host, "mtu", "1400", "type", "veth", "peer", "name", ifname, "netns", pod.path])
    for place, link, address in ((pod.node, host, f"10.{number}.0.1/24"), (pod, ifname, f"10.{number}.0.2/24")):
        place.run(["ip", "link", "set", link, "addrgenmode", "none", "up"])
        place.run(["ip", "address", "add", address, "dev", link])
    return host


def previous(pod: Container, ifname: str = "eth0", *, number: int = 9) -> dict[str, Any]:
    """The result of whoever made the pair."""
    interfaces = [{"name": f"{pod.name}-{ifname}"}, {"name": ifname, "sandbox": pod.path}]
    ips = [{"interface": 1, "address": f"10.{number}.0.2/24", "gateway": f"10.{number}.0.1"}]
    return {"cniVersion": "1.1.0", "interfaces": interfaces, "ips": ips, "routes": [{"dst": "0.0.0.0/0"}], "dns": {"domain": "pods"}}


def conf(pod: Container, ifname: str = "eth0", **keys: Any) -> dict[str, Any]:
    """A configuration behind that plugin."""
    return {"cniVersion": "1.1.0", "name": "net", "type": "bandwidth", "prevResult": previous(pod, ifname), **keys}


def slow(side: str) -> dict[str, Any]:
    """Limits of one side ("ingress" or "egress") that hardly anything passes."""
    return {f"{side}{key}": value for key, value in SLOW.items()}


def qdiscs(node: Node, link: str) -> list[dict[str, Any]]:
    """The queueing disciplines of a link that are not the kernel's own, as tc(8) shows them."""
    shown: list[dict[str, Any]] = json.loads(node.run(["tc", "-s", "-json", "qdisc", "show", "dev", link]).stdout)
    return [one for one in shown if one["handle"] != "0:"]


def limit(node: Node, link: str) -> tuple[int, int]:
    """Rate in bits a second and burst in bytes of the token bucket of a link; fails when there is no or more than one discipline."""
    (bucket,) = [one for one in qdiscs(node, link) if one["kind"] != "ingress"]
    assert bucket["kind"] == "tbf"
    return bucket["options"]["rate"] * 8, bucket["options"]["burst"]


def redirected(node: Node, link: str) -> list[str]:
    """Where tc(8) says that all that a link receives goes."""
    words = node.run(["tc", "filter", "show", "dev", link, "ingress"]).stdout.split()
    return sorted({words[at + 1].rstrip(")") for at, word in enumerate(words) if word == "device"})


def ifbs(node: Node) -> list[str]:
    """The names of all intermediate devices."""
    return sorted(link["ifname"] for link in json.loads(node.run(["ip", "-json", "link", "show", "type", "ifb"]).stdout or "[]") if link)


def flood(source: Node | Netns, address: str) -> None:
    """Send many datagrams of a kilobyte at once."""
    with source.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(SENT):
            sender.sendto(bytes(1000), (address, _PORT))


def dropped(node: Node, link: str) -> int:
    """How many packets the token bucket of a link has dropped."""
    return sum(one["drops"] for one in qdiscs(node, link) if one["kind"] == "tbf")
