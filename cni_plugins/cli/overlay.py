"""`cnictl overlay`: the overlays that the agent keeps on this node; who is in them, what differs, and whether a node is reached."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any

from cni_plugins.cli import diagnosis
from cni_plugins.cli.clearing import remark
from cni_plugins.cli.table import age, table
from cni_plugins.plan.world import World
from cni_plugins.protocol.errors import CniError, InvalidConfig
from cni_plugins.protocol.ip import parse_address
from cni_plugins.protocol.request import Request
from vxlan import repair, state
from vxlan.peerlist import Peer

if TYPE_CHECKING:
    import argparse

    from cni_plugins.cli.command import Commands
    from cni_plugins.cli.context import Context
    from vxlan.repair import Report
    from vxlan.sides import Side
    from vxlan.state import Overlay

_HEAD = ("NODE", "SUBNET", "VTEP", "AGE", "STATE")
_AS_IT_SHOULD_BE = "ok"


def add(commands: Commands, places: argparse.ArgumentParser) -> None:
    """Add the command with its two parts."""
    parser = commands.add_parser("overlay", parents=[], help="the overlays that the agent keeps: who is in them, what differs")
    parts = parser.add_subparsers(required=True, metavar="COMMAND")
    status = parts.add_parser("status", help="nodes and leases, and what differs from what should be there")
    status.add_argument("overlay", nargs="?", metavar="OVERLAY", help="only this one")
    status.add_argument("--json", action="store_true", help="all that is known, as a JSON list")
    status.set_defaults(command=_status)
    check = parts.add_parser("check", help="find out whether another node is reached, and why not")
    check.add_argument("node", metavar="NODE", help="its address, an address of one of its pods, or the name of its lease")
    check.add_argument("--overlay", metavar="OVERLAY", help="only in this one")
    check.set_defaults(command=_check)


def _world(context: Context) -> World:
    return World(context.handles, Request("cnictl", {}, b""), None)


def _overlays(context: Context, wanted: str | None) -> list[Overlay]:
    """The overlays whose files can be read. Raises InvalidConfig when there is none that is wanted."""
    found = []
    for name in state.names(context.run_dir):
        if wanted in (None, name):
            try:
                overlay = state.read(context.run_dir, name)
            except CniError as error:
                remark(f"not read: {error.msg}")
                continue
            found += [overlay] if overlay else []
    if wanted is not None and not found:
        raise InvalidConfig(f"the agent keeps no overlay {wanted!r} on this node: there is no {state.path_of(context.run_dir, wanted)}")
    return found


def _status(context: Context, options: argparse.Namespace) -> int:
    shown = [(one, repair.inspect(_world(context), one)) for one in _overlays(context, options.overlay)]
    if options.json:
        print(json.dumps([as_json(overlay, report) for overlay, report in shown], indent=2))
        return 0
    print("\n\n".join(_text(overlay, report) for overlay, report in shown) or "the agent keeps no overlay on this node")
    return 0


def _text(overlay: Overlay, report: Report) -> str:
    """An overlay for people: what it is, this node's part, its peers, what is wrong."""
    known = as_json(overlay, report)
    tunnels = f"vxlan, VNI {known['vni']}, UDP port {known['port']}" if overlay.tunnels.tunnelled else "host-gw"
    rows = [[one["node"], one["subnet"], one["mac"], _since(one["since"]), one["state"]] for one in known["peers"]]
    lines = [
        f"overlay {overlay.name}: {tunnels}, over {overlay.underlay}; leases in {overlay.store}",
        *(f"  this node: {one['node']} with {one['subnet']} of {one['network']}, MTU {one['mtu']}" for one in known["here"]),
        f"  lease: {_lease(known)}",
        table(_HEAD, rows),
    ]
    lines += [f"  differs: {text}" for text in known["differences"]]
    lines += [f"  problem: {text}" for text in known["problems"]]
    return "\n".join(lines)


def _since(when: float) -> str:
    return age(max(time() - when, 0)) if when else ""


def _lease(known: dict[str, Any]) -> str:
    renewed = f"renewed {_since(known['renewed'])} ago" if known["renewed"] else "not taken by this agent yet"
    ends = f", ends in {age(max(known['expires'] - time(), 0))}" if known["expires"] else ", does not end"
    away = known["awaySince"]
    since = f"; the store has been away since {datetime.fromtimestamp(away, UTC):%Y-%m-%d %H:%M:%S} UTC" if away else ""
    return f"{renewed}{ends}{since}"


def as_json(overlay: Overlay, report: Report) -> dict[str, Any]:
    """All that is known of an overlay, and how what is there differs."""
    about, tunnels = overlay.about, overlay.tunnels
    since = {subnet: lease["since"] for lease in about.get("leases", ()) for subnet in lease["subnets"]}
    return {
        "name": overlay.name,
        "store": overlay.store,
        "backend": "vxlan" if tunnels.tunnelled else "host-gw",
        "vni": tunnels.vni,
        "port": tunnels.port,
        "underlay": overlay.underlay,
        "ipMasq": overlay.masquerades,
        "here": [_here(side) for side in report.sides],
        "renewed": about.get("renewed"),
        "expires": about.get("expires"),
        "awaySince": about.get("awaySince"),
        "peers": [
            {
                "node": peer.node.address,
                "subnet": str(peer.subnet),
                "mac": peer.vtep_mac(tunnels.vni) if tunnels.tunnelled else "",
                "since": since.get(str(peer.subnet), 0),
                "state": "; ".join(_of_peer(report, peer)) or _AS_IT_SHOULD_BE,
            }
            for peer in overlay.peers or []
        ],
        "leases": about.get("leases", []),
        "differences": report.found,
        "problems": list(dict.fromkeys([*about.get("problems", ()), *report.problems])),
    }


def _here(side: Side) -> dict[str, Any]:
    device = side.device if side.tunnels.tunnelled else ""
    return {"network": str(side.network), "subnet": str(side.subnet), "node": side.node.address, "device": device, "mtu": side.mtu}


def _of_peer(report: Report, peer: Peer) -> list[str]:
    """What a report says of a peer, without its name."""
    name = f"{peer}: "
    return [text.removeprefix(name) for text in (*report.found, *report.problems) if text.startswith(name)]


def _check(context: Context, options: argparse.Namespace) -> int:
    world, results = _world(context), []
    overlays = _overlays(context, options.overlay)
    for overlay in overlays:
        report = repair.inspect(world, overlay)
        for peer in _meant(overlay, options.node):
            for side in report.sides:
                if side.family == peer.subnet.family:
                    fine, text = _judge(world, report, side, peer=peer)
                    results.append((fine, f"{overlay.name}: {text}"))
    if not results:
        among = ", ".join(one.name for one in overlays) or "no overlay: the agent keeps none on this node"
        raise InvalidConfig(f"{options.node} is not a peer of this node in {among}")
    for _, text in results:
        print(text)
    return 0 if all(fine for fine, _ in results) else 1


def _meant(overlay: Overlay, node: str) -> list[Peer]:
    """The peers that an address, or the name of a lease, stands for."""
    subnets = {subnet for lease in overlay.about.get("leases", ()) if lease["key"] == node for subnet in lease["subnets"]}
    try:
        address = parse_address(node)
    except ValueError:
        address = None
    return [
        peer
        for peer in overlay.peers or []
        if str(peer.subnet) in subnets or (address and (peer.node == address or peer.subnet.contains(address)))
    ]


def _judge(world: World, report: Report, side: Side, *, peer: Peer) -> tuple[bool, str]:
    """Ask one peer; whether all is well, and a sentence."""
    device = [text for text in report.found if side.device in text and not text.startswith("peer ")]
    link = world.host.link(index=side.index)
    mtu = link.mtu if link else side.mtu
    found = diagnosis.ask(side, peer, underlay_mtu=mtu, entries=(*device, *_of_peer(report, peer)))
    return diagnosis.sentence(side, peer, found, underlay_mtu=mtu)
