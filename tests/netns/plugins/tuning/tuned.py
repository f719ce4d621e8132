"""A pod with an interface for tuning to work on, and what can be seen of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.netns import Container

STATE = Path("/run/cni/tuning")
ALLOWLIST = Path("/etc/cni/tuning/allowlist.conf")
MAC = "c2:11:22:33:44:55"
LINK: dict[str, Any] = {"mac": MAC, "mtu": 1400, "promisc": True, "allmulti": True, "txQLen": 500}
SYSCTLS = {"net.ipv4.conf.IFNAME.arp_filter": "1", "net/ipv4/ip_local_port_range": "20000 30000"}
ALL: dict[str, Any] = {**LINK, "sysctl": SYSCTLS}

HOMES = (r"node file /run/cni(-plugins)?(/records|/tuning)?", r"node file /run/cni-plugins/lock\S*")
"""Directories that a first call makes, and the file that attachments are locked by."""


def interface(pod: Container, name: str = "eth0") -> Container:
    """Give a pod an interface, one end of a pair whose other end is in the pod too."""
    pod.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"])
    pod.run(["ip", "link", "set", name, "up"])
    return pod


def previous(pod: Container, name: str = "eth0") -> dict[str, Any]:
    """The result of the plugin that made the interface."""
    return {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "br0"}, {"name": name, "mac": seen(pod, name)["mac"], "mtu": 1500, "sandbox": pod.path}],
        "ips": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1", "interface": 1}],
    }


def conf(pod: Container | None = None, /, **keys: Any) -> dict[str, Any]:
    """A configuration as a runtime hands it over, behind the plugin that made the pod's interface, which is `ifname` or else eth0."""
    ifname = keys.pop("ifname", "eth0")
    before = {"prevResult": previous(pod, ifname)} if pod else {}
    return {"cniVersion": "1.1.0", "name": "net", "type": "tuning", **keys, **before}


def seen(pod: Container, name: str = "eth0") -> dict[str, Any]:
    """What iproute2 shows of an interface, by the names that the configuration has."""
    (link,) = json.loads(pod.run(["ip", "-json", "link", "show", "dev", name]).stdout)
    flags = {flag.lower(): flag in link["flags"] for flag in ("PROMISC", "ALLMULTI")}
    return {"mac": link["address"], "mtu": link["mtu"], "txQLen": link.get("txqlen", 0), **flags}


def sysctl(pod: Container, name: str, value: str | None = None) -> str:
    """Read a parameter of a pod, or set it first."""
    with pod.inside():
        file = Path("/proc/sys", name)
        if value is not None:
            file.write_text(value)
        return file.read_text().strip()


def state(pod: Container, ifname: str = "eth0", directory: Path = STATE) -> Path:
    """The file that says what the interface was like before."""
    return directory / f"{pod.id}_{ifname}.json"
