"""What is wrong between this node and a peer of an overlay, in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cni_plugins.cli import probes
from cni_plugins.cli.probes import ANSWERED, REFUSED, SILENT, UNREACHABLE
from vxlan.hostgw import is_direct

if TYPE_CHECKING:
    from vxlan.peerlist import Peer
    from vxlan.sides import Side

_SMALL = 100
"""Bytes: what gets through everywhere."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was asked of a peer and what came of it, in the words of `probes`; empty where it was not asked.

    `node` and `node_full`: an echo of its address on the underlay, small and as large as the underlay's MTU. `port`: its UDP port.
    `vtep` and `vtep_full`: an echo of its VXLAN device, small and as large as the overlay's MTU. `entries` says what is wrong on this node.
    """

    entries: tuple[str, ...] = ()
    node: str = ""
    node_full: str = ""
    port: str = ""
    vtep: str = ""
    vtep_full: str = ""


def ask(side: Side, peer: Peer, *, underlay_mtu: int, entries: tuple[str, ...]) -> Findings:
    """Ask a peer everything. Takes a few seconds when it does not answer."""
    node, vtep = peer.node.address, peer.subnet.host.address
    tunnelled = side.tunnels.tunnelled
    return Findings(
        entries,
        node=probes.echo(node, size=_SMALL),
        node_full=probes.echo(node, size=underlay_mtu),
        port=probes.port(node, side.tunnels.port) if tunnelled and not is_direct(side, peer) else "",
        vtep=probes.echo(vtep, size=_SMALL) if tunnelled else "",
        vtep_full=probes.echo(vtep, size=side.mtu) if tunnelled else "",
    )


def sentence(side: Side, peer: Peer, found: Findings, *, underlay_mtu: int) -> tuple[bool, str]:
    """Whether all is well, and what is to be said."""
    who = f"{peer.node.address} with {peer.subnet}"
    if found.entries:
        return False, f"{who}: this node is not set up for it: {'; '.join(found.entries)}"
    if found.vtep_full == ANSWERED:
        return True, f"{who}: its VTEP {peer.subnet.host.address} answers packets of {side.mtu} bytes"
    if not found.vtep and found.node_full == ANSWERED:
        return True, f"{who}: it answers packets of {underlay_mtu} bytes; without a tunnel there is no more to be asked"
    if found.node == ANSWERED and found.node_full != ANSWERED:
        return False, (
            f"{who}: the underlay does not carry packets of {underlay_mtu} bytes to it, but small ones: "
            f"a link between has a smaller MTU than {side.underlay}"
        )
    if found.vtep == ANSWERED:
        return False, f"{who}: packets of {side.mtu} bytes do not get through the tunnel, small ones do: set a smaller mtu for the overlay"
    return False, f"{who}: {_silence(side, peer, found)}"


def _silence(side: Side, peer: Peer, found: Findings) -> str:
    """Why nothing comes back from its VTEP."""
    port = side.tunnels.port
    if found.port == REFUSED:
        return f"its UDP port {port} is closed: no overlay with this port runs there, or a firewall rejects it"
    if found.node == ANSWERED and found.port == UNREACHABLE:
        return f"it answers on the underlay, but a firewall between rejects UDP port {port}"
    if found.node == ANSWERED and found.port == SILENT:
        return (
            f"it answers on the underlay, but its VTEP {peer.subnet.host.address} does not: "
            f"UDP port {port} is blocked, or it does not know this node as its peer"
        )
    if found.node == ANSWERED:
        return "it answers on the underlay, but not on the overlay: it does not know this node as its peer, or does not forward"
    return f"it does not answer on {side.underlay} either: the node is down, or the way to it is broken"
