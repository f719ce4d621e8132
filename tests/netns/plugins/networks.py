"""Configurations of networks that the tests of plugins use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

V4, V6 = "10.1.0.0/24", "fd00:1::/64"
LEASES = Path("/var/lib/cni/networks")
RECORDS = Path("/run/cni-plugins/records")


def host_local(*subnets: str, **keys: Any) -> dict[str, Any]:
    """The `ipam` of a network with these subnets."""
    return {"type": "host-local", "ranges": [[{"subnet": subnet}] for subnet in subnets or (V4, V6)], **keys}


def network(plugin: str = "bridge", *, name: str = "net", version: str = "1.1.0", **keys: Any) -> dict[str, Any]:
    """A configuration as a runtime hands it over; bridge and ptp get addresses from host-local unless told otherwise."""
    addresses = {"ipam": host_local()} if plugin in ("bridge", "ptp", "host-local") else {}
    conf = {"cniVersion": version, "name": name, "type": plugin, **addresses, **keys}
    return {key: value for key, value in conf.items() if value is not None}


def full_bridge(**keys: Any) -> dict[str, Any]:
    """A bridge with everything that leaves something on the node."""
    return network(isDefaultGateway=True, ipMasq=True, macspoofchk=True, hairpinMode=True, **keys)


def leases(name: str = "net") -> set[str]:
    """The addresses that are leased on a network."""
    return {file.name for file in (LEASES / name).glob("*") if file.name[0].isdigit() or ":" in file.name}


def records() -> list[str]:
    """The names of all records."""
    return sorted(file.name for file in RECORDS.glob("*"))
