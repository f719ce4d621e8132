"""The vxlan plugin: joins a container to an overlay of nodes, without any daemon.

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
from cni_plugins.protocol.result import Ip, Result
from vxlan.bridge import OverlayBridge
from vxlan.conf import VXLAN, VxlanConf, VxlanReleaseConf
from vxlan.device import Device, NoDevice
from vxlan.lease import SubnetLease
from vxlan.overlay import Share
from vxlan.peerlist import PeerFile
from vxlan.peers import Peers
from vxlan.sides import Tunnels, Underlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.resource import Need
    from cni_plugins.protocol.attachment import Attachment
    from vxlan.sides import Side

CONTAINER = 2
"""Where the container's interface stands in the result: after the bridge and the host end."""


def plan(att: Attachment, conf: VxlanConf, need: Need) -> Result:
    """List what a container on the overlay needs, parents before children."""
    given = need(SubnetLease())
    sides = _overlay(conf, need)
    bridge = need(OverlayBridge(conf.bridge_name, att.network))
    ips = [Ip(ip.address, gateway=ip.gateway, interface=CONTAINER) for ip in given.ips]
    need(GatewayAddresses(conf.bridge_name, [_gateway(ip) for ip in ips if ip.gateway], force=conf.forceAddress))
    need(Forwarding({half.network.family for half in conf.halves}))
    pair = need(Veth(master=bridge.name, mtu=min((side.mtu for side in sides), default=conf.mtu), hairpin=conf.hairpinMode))
    need(ContainerNet(Result(ips=ips, routes=given.routes)))
    need(Carrier(pair.host.name, bridge=bridge.name))
    return Result([bridge, pair.host, pair.container], ips=ips, routes=given.routes, dns=conf.own_dns(given.dns))


def _overlay(conf: VxlanConf, need: Need) -> list[Side]:
    """The node's part in the overlay: its tunnels' ends, and the way to each peer."""
    peers = need(PeerFile(conf.peersFile)) if conf.peersFile else conf.listed
    tunnels = Tunnels(conf.vni, port=conf.port, mtu=conf.mtu, tunnelled=conf.backend == VXLAN, direct=conf.directRouting)
    sides = need(Underlay(conf.underlay, conf.halves, tunnels))
    need(Share([half.network for half in conf.halves], [half.subnet for half in conf.halves] if conf.ipMasq else []))
    for side in sides:
        if tunnels.tunnelled:
            need(Device(side))
        else:
            need(NoDevice(side))
        need(Peers(side, peers, strict=not conf.peersFile))
    return sides


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
