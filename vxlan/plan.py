"""The vxlan plugin: joins a container to an overlay of nodes, without any daemon, or to one that the agent keeps.

What the attachments of a network share on the node (VXLAN devices, peers, the bridge, masquerading) is made by the first, mended
by each that follows, and goes with the last.
"""

from __future__ import annotations

from cni_plugins.plan.kinds.carrier import Carrier
from cni_plugins.plan.kinds.container import ContainerNet
from cni_plugins.plan.kinds.gateway import Forwarding, GatewayAddresses
from cni_plugins.plan.kinds.veth import Veth
from cni_plugins.plan.plugin import Plugin, kinds
from cni_plugins.protocol.ip import Cidr, parse_address
from cni_plugins.protocol.result import Interface, Ip, Result
from vxlan.bridge import OverlayBridge
from vxlan.conf import VXLAN, VxlanConf, VxlanReleaseConf
from vxlan.device import Device, NoDevice
from vxlan.forwarding import Forwarded
from vxlan.lease import SubnetLease
from vxlan.overlay import Share
from vxlan.peerlist import PeerFile
from vxlan.peers import Peers
from vxlan.sides import Tunnels, Underlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.resource import Item, Need
    from cni_plugins.protocol.attachment import Attachment
    from vxlan.conf import Half
    from vxlan.peerlist import Peer
    from vxlan.sides import Side

CONTAINER = 2
"""Where the container's interface stands in the result: after the bridge and the host end."""


def plan(att: Attachment, conf: VxlanConf, need: Need) -> Result:
    """List what a container on the overlay needs, parents before children."""
    part = _part(conf, need)
    given = need(SubnetLease(part.halves))
    sides = _overlay(att, part, need)
    name = conf.bridge_of(part.tunnels.vni)
    bridge = need(OverlayBridge(name, att.network))
    ips = [Ip(ip.address, gateway=ip.gateway, interface=CONTAINER) for ip in given.ips]
    need(GatewayAddresses(name, [_gateway(ip) for ip in ips if ip.gateway], force=conf.forceAddress))
    need(Forwarding({half.network.family for half in part.halves}))
    pair = need(Veth(master=bridge.name, mtu=min((side.mtu for side in sides), default=conf.mtu), hairpin=conf.hairpinMode))
    need(ContainerNet(Result(ips=ips, routes=given.routes)))
    need(Carrier(pair.host.name, bridge=bridge.name))
    devices = [Interface(side.device, mac=side.mac) for side in sides if part.tunnels.tunnelled]
    return Result([bridge, pair.host, pair.container, *devices], ips=ips, routes=given.routes, dns=conf.own_dns(given.dns))


class _Part:
    """This node's part in the overlay, from the configuration, or from the agent; see `VxlanConf` and `vxlan.state.Overlay`.

    `peers` are None while they are not known; `strict` refuses those that make no sense; `peers_file` is where they come from.
    """

    __slots__ = ("forwards", "halves", "masquerades", "peers", "peers_file", "strict", "tunnels", "underlay")

    def __init__(
        self,
        halves: list[Half],
        tunnels: Tunnels,
        peers: list[Peer] | None,
        *,
        underlay: str,
        masquerades: bool,
        forwards: bool,
        strict: bool,
        peers_file: str = "",
    ) -> None:
        self.halves = halves
        self.tunnels = tunnels
        self.peers = peers
        self.underlay = underlay
        self.masquerades = masquerades
        self.forwards = forwards
        self.strict = strict
        self.peers_file = peers_file


def _part(conf: VxlanConf, need: Need) -> _Part:
    if conf.store:
        from vxlan.state import FromAgent

        known = need(FromAgent(conf.store))
        masquerades = conf.ipMasq or known.masquerades
        return _Part(
            known.halves,
            known.tunnels,
            known.peers,
            underlay=known.underlay,
            masquerades=masquerades,
            forwards=known.forwards,
            strict=False,
        )
    peers = need(PeerFile(conf.peersFile)) if conf.peersFile else conf.listed
    tunnels = Tunnels(conf.vni, port=conf.port, mtu=conf.mtu, tunnelled=conf.backend == VXLAN, direct=conf.directRouting)
    return _Part(
        conf.halves,
        tunnels,
        peers,
        underlay=conf.underlay or "",
        masquerades=conf.ipMasq,
        forwards=conf.forwardRules,
        strict=not conf.peersFile,
        peers_file=conf.peersFile,
    )


def _overlay(att: Attachment, part: _Part, need: Need) -> list[Side]:
    """What the node has of the overlay: its tunnels' ends, and the way to each peer."""
    sides = need(Underlay(part.underlay, part.halves, part.tunnels))
    networks = [half.network for half in part.halves]
    masqueraded = [half.subnet for half in part.halves] if part.masquerades else []
    need(Share(networks, masqueraded, networks if part.forwards else [], follow=_follow(att, part)))
    if part.forwards:
        need(Forwarded((network.family for network in networks), ahead=False))
    for side in sides:
        if part.tunnels.tunnelled:
            need(Device(side))
        else:
            need(NoDevice(side))
        if part.peers is not None:
            need(Peers(side, part.peers, strict=part.strict))
    return sides


def _follow(att: Attachment, part: _Part) -> Item | None:
    """What an agent needs to follow the file of peers."""
    if not part.peers_file:
        return None
    from vxlan.state import Overlay

    overlay = Overlay(att.network, "", part.halves, part.tunnels, underlay=part.underlay, peers=None)
    overlay.masquerades, overlay.forwards = part.masquerades, part.forwards
    return {"peersFile": part.peers_file, "overlay": overlay.to_item()}


def _gateway(ip: Ip) -> Cidr:
    """The gateway with the prefix of the address's network, as the bridge carries it."""
    return Cidr(ip.address.family, parse_address(ip.gateway or "").value, ip.address.prefix)


PLUGIN = Plugin(
    "vxlan",
    conf=VxlanConf,
    release_conf=VxlanReleaseConf,
    plan=plan,
    kinds=("vxlan.lease", "vxlan.overlay", *kinds("veth")),
    args=("MAC",),
    others_judge_args=True,
)
