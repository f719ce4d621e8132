"""The ptp plugin: a link of its own between each container and the node."""

from __future__ import annotations

from cni_plugins.model.netconf import InterfaceConf, MasqueradeConf
from cni_plugins.plan.kinds.carrier import Carrier
from cni_plugins.plan.kinds.container import ContainerNet
from cni_plugins.plan.kinds.gateway import Forwarding
from cni_plugins.plan.kinds.host_end import HostEnd
from cni_plugins.plan.kinds.lease import Lease
from cni_plugins.plan.kinds.veth import Veth
from cni_plugins.plan.plugin import Plugin, kinds
from cni_plugins.protocol.errors import InvalidConfig
from cni_plugins.protocol.ip import parse_address
from cni_plugins.protocol.result import Ip, Result, Route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.model.base import Problems
    from cni_plugins.model.types import Mtu
    from cni_plugins.plan.resource import Need
    from cni_plugins.protocol.attachment import Attachment

CONTAINER = 1
"""Where the container's interface stands in the result: after the host end."""
_SCOPE_LINK = 253


class PtpConf(MasqueradeConf):
    """Connects the container to the node by a link of its own; the node routes."""

    mtu: Mtu = 0
    """Size in bytes of the largest packet; 0 leaves it to the kernel."""

    def check(self) -> Problems:
        """A link without addresses would lead nowhere."""
        yield from super().check()
        if not self.ipam_type:
            yield "ipam", "is missing: ptp needs addresses"


def plan(att: Attachment, conf: PtpConf, need: Need) -> Result:
    """List what a container with its own link to the node needs, parents before children.

    The container reaches even its own network through the gateway: the link has two ends, and nobody else is on it.
    """
    given = need(Lease(conf.ipam_type))
    ips = [Ip(ip.address, gateway=ip.gateway, interface=CONTAINER) for ip in given.ips]
    for ip in ips:
        if not ip.gateway:
            raise InvalidConfig(f"ipam.type: {conf.ipam_type} gave {ip.address} without a gateway, which ptp needs")
    need(Forwarding({ip.address.family for ip in ips}))
    pair = need(Veth(mtu=conf.mtu))
    need(HostEnd(pair, ips))
    need(ContainerNet(Result(ips=ips, routes=given.routes), on_link_routes=False, routes=_through_gateways(ips)))
    need(Carrier(pair.host.name))
    if conf.ipMasq:
        from cni_plugins.plan.kinds.masquerade import Masquerade

        need(Masquerade([ip.address for ip in ips]))
    return Result([pair.host, pair.container], ips=ips, routes=given.routes, dns=conf.own_dns(given.dns))


def _through_gateways(ips: list[Ip]) -> list[Route]:
    routes = []
    for ip in ips:
        gateway = parse_address(ip.gateway or "")
        routes.append(Route(gateway, scope=_SCOPE_LINK if gateway.family == 4 else None, src=ip.address.address))
        routes.append(Route(ip.address.network, gw=gateway.address, src=ip.address.address))
    return routes


PLUGIN = Plugin(
    "ptp",
    conf=PtpConf,
    release_conf=InterfaceConf,
    plan=plan,
    kinds=kinds("lease", "veth", "masquerade"),
    args=("MAC",),
    others_judge_args=True,
)
