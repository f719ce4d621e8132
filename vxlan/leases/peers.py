"""From leases to peers: what the repair loop makes true in the kernel, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vxlan.leases.schema import VXLAN

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network, IPv6Network

    from vxlan.leases.network import NetworkConfig
    from vxlan.leases.schema import Attributes, Lease


LEFT_OUT = "is left out:"
"""What every sentence about a lease has of which no peer can be made."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node: one subnet of it, the address by which the node is reached, and its VXLAN device's hardware address.

    A node with both families is two peers. `mac` is empty with host-gw. `lease` is the key of the lease that it comes from.
    """

    subnet: str
    node: str
    mac: str
    lease: str


def peers_of(network: NetworkConfig, ours: Lease, leases: Iterable[Lease]) -> tuple[tuple[Peer, ...], tuple[str, ...]]:
    """The peers in order of their leases' keys, and a sentence for each lease that should make one and cannot."""
    peers: list[Peer] = []
    problems: list[str] = []
    taken: dict[IPv4Network | IPv6Network, str] = {subnet: ours.key for subnet in (ours.subnets.v4, ours.subnets.v6) if subnet}
    for lease in sorted(leases, key=lambda one: one.key):
        if lease.key == ours.key:
            continue
        found, problem = _peers(network, ours, lease)
        subnets = [subnet for subnet in (lease.subnets.v4, lease.subnets.v6) if subnet]
        twin = next((taken[subnet] for subnet in subnets if subnet in taken), None)
        if not problem and found and twin:
            problem = f"{twin} has {lease.subnets} already"
        if problem:
            problems.append(f"the lease {lease.key} {LEFT_OUT} {problem}")
            continue
        if found:
            taken.update(dict.fromkeys(subnets, lease.key))
        peers += found
    return tuple(peers), tuple(problems)


def _peers(network: NetworkConfig, ours: Lease, lease: Lease) -> tuple[list[Peer], str]:
    theirs = lease.attributes
    if theirs is None:
        return [], lease.problem
    if not theirs.backend:
        return [], ""
    if theirs.backend != network.backend.Type:
        return [], f"its back end is {theirs.backend}, not {network.backend.Type}"
    if ours.attributes and _share_address(ours.attributes, theirs):
        return [], f"it has this node's address, {theirs.public_ip or theirs.public_ipv6}"
    if not network.contains(lease.subnets):
        return [], f"{lease.subnets} is not in the network"
    peers = []
    for family, subnet, address, vtep in (
        (network.v4, lease.subnets.v4, theirs.public_ip, theirs.vtep),
        (network.v6, lease.subnets.v6, theirs.public_ipv6, theirs.vtep_v6),
    ):
        if family is None or subnet is None:
            continue
        if address is None or (theirs.backend == VXLAN and vtep is None):
            return [], f"it does not say how {subnet} is reached"
        peers.append(Peer(str(subnet), str(address), vtep.mac if vtep else "", lease.key))
    return peers, ""


def _share_address(one: Attributes, other: Attributes) -> bool:
    return (one.public_ip is not None and one.public_ip == other.public_ip) or (
        one.public_ipv6 is not None and one.public_ipv6 == other.public_ipv6
    )
