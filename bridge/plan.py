"""The bridge plugin: joins a container to a bridge on the node.

What few networks ask for is imported where it is asked for: a cold call pays for what it does.
"""

from __future__ import annotations

from bridge.conf import BridgeConf
from cni_plugins.model import rules
from cni_plugins.model.netconf import InterfaceConf
from cni_plugins.plan.kinds.bridge import Bridge
from cni_plugins.plan.kinds.carrier import Carrier
from cni_plugins.plan.kinds.container import ContainerNet, LinkUp
from cni_plugins.plan.kinds.gateway import Forwarding, GatewayAddresses
from cni_plugins.plan.kinds.lease import Lease
from cni_plugins.plan.kinds.veth import Veth
from cni_plugins.plan.plugin import Plugin, kinds
from cni_plugins.protocol.errors import InvalidEnvironment
from cni_plugins.protocol.ip import Cidr, format_address, parse_address
from cni_plugins.protocol.result import Ip, Result, Route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.resource import Need
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.result import Interface

CONTAINER = 2
"""Where the container's interface stands in the result: after the bridge and the host end."""


def plan(att: Attachment, conf: BridgeConf, need: Need) -> Result:
    """List what a container on the bridge needs, parents before children."""
    lease = need(Lease(conf.ipam_type)) if conf.ipam_type else Result()
    lease = with_gateways(lease, conf)
    bridge = need(Bridge(conf.bridge, mtu=conf.mtu, promisc=conf.promiscMode, vlans=conf.vlan_aware))
    gateway = _gateway(conf, lease, need)
    pair = need(
        Veth(master=bridge.name, mtu=conf.mtu, mac=_mac(att, conf), hairpin=conf.hairpinMode, isolated=conf.portIsolation),
    )
    if conf.vlan_aware:
        from cni_plugins.plan.kinds.vlan import Membership, PortVlans

        need(PortVlans(pair.host.name, pair.index, Membership(conf.vlan, conf.vlans, keep_default=conf.preserveDefaultVlan)))
    if conf.macspoofchk:
        from cni_plugins.plan.kinds.spoofcheck import SpoofCheck

        need(SpoofCheck(pair))
    if conf.ipam_type:
        need(ContainerNet(lease, dad=conf.enabledad))
    elif not conf.disableContainerInterface:
        need(LinkUp())
    if not conf.disableContainerInterface:
        need(Carrier(pair.host.name, bridge=bridge.name))
    if conf.ipMasq and conf.ipam_type:
        from cni_plugins.plan.kinds.masquerade import Masquerade

        need(Masquerade([ip.address for ip in lease.ips]))
    return Result([bridge, pair.host, pair.container, *gateway], ips=lease.ips, routes=lease.routes, dns=conf.own_dns(lease.dns))


def _mac(att: Attachment, conf: BridgeConf) -> str:
    """The hardware address asked for: runtimeConfig before args.cni before CNI_ARGS. Raises InvalidEnvironment."""
    try:
        return conf.mac or rules.mac(att.args.get("MAC", ""))
    except ValueError as error:
        raise InvalidEnvironment(f"CNI_ARGS: MAC: {error}") from None


def _gateway(conf: BridgeConf, lease: Result, need: Need) -> list[Interface]:
    """The gateway's addresses: on the bridge, or on a port of the node's in the VLAN, which the result lists then."""
    if not (conf.gateway and lease.ips):
        return []
    ports = []
    if conf.vlan:
        from cni_plugins.plan.kinds.vlan import VlanGateway

        ports.append(need(VlanGateway(conf.bridge, conf.vlan, mtu=conf.mtu, keep_default=conf.preserveDefaultVlan)))
    name = ports[0].name if ports else conf.bridge
    need(GatewayAddresses(name, [gateway_address(ip) for ip in lease.ips if ip.gateway], force=conf.forceAddress))
    need(Forwarding({ip.address.family for ip in lease.ips}))
    return ports


def with_gateways(lease: Result, conf: BridgeConf) -> Result:
    """The lease as the container gets it: each address with the container's interface and, where the bridge is the gateway, the
    first address of its network as gateway; with isDefaultGateway a default route of each family that has none. A CHECK compares with
    the routes that prevResult has: a meta-plugin may have given the default route to another interface.
    """
    ips = [Ip(ip.address, gateway=ip.gateway or (_first(ip.address) if conf.gateway else None), interface=CONTAINER) for ip in lease.ips]
    routes = list(lease.routes)
    if conf.isDefaultGateway and conf.prevResult is None:
        routed = {route.dst.family for route in routes if route.gw and not route.dst.prefix}
        for ip in ips:
            if ip.address.family not in routed:
                routed.add(ip.address.family)
                routes.append(Route(Cidr(ip.address.family, 0, 0), gw=ip.gateway))
    return Result(ips=ips, routes=routes, dns=lease.dns)


def gateway_address(ip: Ip) -> Cidr:
    """The gateway with the prefix of the address's network, as the bridge carries it."""
    return Cidr(ip.address.family, parse_address(ip.gateway or "").value, ip.address.prefix)


def _first(address: Cidr) -> str:
    return format_address(address.family, address.first + 1)


PLUGIN = Plugin(
    "bridge",
    conf=BridgeConf,
    release_conf=InterfaceConf,
    plan=plan,
    kinds=kinds("lease", "veth", "spoofcheck", "masquerade"),
    args=("MAC",),
    others_judge_args=True,
)
