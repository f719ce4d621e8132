"""Reaching a node without a tunnel: the back end host-gw, and direct routing beside tunnels. The peer's subnet is routed through the
node's own address, which must be on the underlay's own link: a router in between would not know the overlay.
"""

from __future__ import annotations

from cni_plugins.kernel.routes import Route
from vxlan.marks import PROTOCOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vxlan.peerlist import Peer
    from vxlan.sides import Side


def is_direct(side: Side, peer: Peer) -> bool:
    """Whether a peer is reached without a tunnel."""
    return side.tunnels.direct and side.on_link(peer.node)


def direct_route(side: Side, peer: Peer) -> Route:
    """The route to a peer that is on the underlay's own link."""
    return Route(peer.subnet, gateway=peer.node, index=side.index, protocol=PROTOCOL)
