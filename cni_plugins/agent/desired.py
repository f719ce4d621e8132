"""From the agent's configuration and what the store says to the overlay as this node should have it; no kernel, no threads."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from cni_plugins.protocol.ip import parse_address, parse_cidr
from vxlan.conf import VXLAN, Half
from vxlan.leases.schema import Attributes, Vtep
from vxlan.peerlist import Peer
from vxlan.sides import Tunnels
from vxlan.state import Overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from cni_plugins.agent.conf import OverlayConf
    from cni_plugins.protocol.ip import Cidr
    from vxlan.leases.network import NetworkConfig
    from vxlan.leases.schema import Lease
    from vxlan.leases.view import View
    from vxlan.sides import Side

_DEFAULT_PORT = 8472


def desired(conf: OverlayConf, view: View, *, known: Overlay | None) -> Overlay | None:
    """The overlay; None while there is no lease. Until the store has told the peers they are those that were `known` before."""
    network, lease = view.network, view.lease
    if network is None or lease is None:
        return None
    subnets = {4: lease.subnets.v4, 6: lease.subnets.v6}
    halves = [Half(whole, parse_cidr(str(subnets[whole.family])), node) for whole, node in _wholes(conf, network) if subnets[whole.family]]
    peers = known.peers if known else None
    if view.peers is not None:
        peers = [Peer(parse_address(one.node), parse_cidr(one.subnet), one.mac) for one in view.peers]
    overlay = Overlay(conf.name, conf.store, halves, tunnels_of(conf, network), underlay=conf.underlay, peers=peers)
    overlay.masquerades, overlay.forwards = conf.ipMasq, conf.forwardRules
    return overlay


def tunnels_of(conf: OverlayConf, network: NetworkConfig) -> Tunnels:
    """How the overlay travels."""
    backend = network.backend
    mtu = conf.mtu or backend.MTU
    return Tunnels(backend.VNI, port=backend.Port or _DEFAULT_PORT, mtu=mtu, tunnelled=backend.Type == VXLAN, direct=backend.DirectRouting)


def halves_without_subnets(conf: OverlayConf, network: NetworkConfig) -> list[Half]:
    """The address families of an overlay in which this node has no subnet yet."""
    return [Half(whole, whole, node) for whole, node in _wholes(conf, network)]


def _wholes(conf: OverlayConf, network: NetworkConfig) -> Iterator[tuple[Cidr, Cidr | None]]:
    """The whole network of each family, with the node's address where it is configured."""
    for part, node in ((network.v4, conf.node), (network.v6, conf.ipv6Node)):
        if part is not None:
            yield parse_cidr(str(part.network)), parse_address(node) if node else None


def attributes_of(sides: Sequence[Side], network: NetworkConfig) -> Attributes:
    """What this node publishes of itself."""
    nodes = {side.family: side.node.address for side in sides}
    vteps = {side.family: Vtep(side.tunnels.vni, side.mac) for side in sides if side.tunnels.tunnelled}
    return Attributes(
        IPv4Address(nodes[4]) if 4 in nodes else None,
        IPv6Address(nodes[6]) if 6 in nodes else None,
        network.backend.Type,
        vteps.get(4),
        vteps.get(6),
    )


def about(conf: OverlayConf, view: View, *, since: Mapping[str, float], problems: Sequence[str]) -> dict[str, Any]:
    """What people want to know. Times are in seconds since the epoch, `since` when each lease was seen first."""
    own = view.lease
    return {
        "subnetFile": conf.subnetFile,
        "own": own.key if own else "",
        "renewed": int(view.renewed),
        "expires": int(own.expires) if own and own.expires else None,
        "leases": [_shown(lease, int(since.get(lease.key, 0))) for lease in view.leases],
        **troubles(view, problems),
    }


def troubles(view: View, problems: Sequence[str]) -> dict[str, Any]:
    """The part of it that says what is wrong, which is known also before there is a lease."""
    away = int(view.away_since) if view.away_since else None
    return {"awaySince": away, "problems": list(dict.fromkeys([*view.problems, *problems]))}


def _shown(lease: Lease, since: int) -> dict[str, Any]:
    theirs = lease.attributes
    nodes = [str(address) for address in (theirs.public_ip, theirs.public_ipv6) if address] if theirs else []
    subnets = [str(subnet) for subnet in (lease.subnets.v4, lease.subnets.v6) if subnet]
    return {"key": lease.key, "nodes": nodes, "subnets": subnets, "since": since, "problem": lease.problem}
