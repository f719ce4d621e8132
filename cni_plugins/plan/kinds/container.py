"""What the container's interface gets: settings, addresses, routes. One resource, few requests; it dies with its link."""

from __future__ import annotations

from cni_plugins.kernel import calls, sysctl
from cni_plugins.kernel.rtnl import NetlinkError
from cni_plugins.plan.resource import Drift, Resource
from cni_plugins.protocol.errors import Conflict, KernelRefused
from cni_plugins.protocol.ip import parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni_plugins.kernel.addresses import Address
    from cni_plugins.kernel.netlink import Link, Netlink
    from cni_plugins.kernel.routes import Route as KernelRoute
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.ip import Cidr
    from cni_plugins.protocol.result import Result, Route

_IFA_F_TENTATIVE, _IFA_F_DADFAILED = 0x40, 0x08
_SETTLE_SECONDS = 5.0
_PAUSE = 0.01


class ContainerNet(Resource["None"]):
    """Addresses and routes of `lease` on the container's interface, which is up afterwards.

    `dad` waits for IPv6 duplicate-address detection instead of switching it off. Without `on_link_routes` the kernel's route
    to each address's network is kept out, for plugins that send all traffic through the gateway; `routes` are added before the
    lease's.
    """

    __slots__ = ("dad", "lease", "on_link_routes", "routes")

    def __init__(self, lease: Result, *, dad: bool = False, on_link_routes: bool = True, routes: list[Route] | None = None) -> None:
        self.lease = lease
        self.dad = dad
        self.on_link_routes = on_link_routes
        self.routes = routes or []

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Settings first: they must be in force when the interface comes up. Then all addresses and routes in one request."""
        netns = world.inside(att)
        netlink = netns.netlink()
        with netns.inside():
            self._settings(att.ifname)
        link = _existing(netlink.link(name=att.ifname), att)
        try:
            with netlink.batch():
                for ip in self.lease.ips:
                    netlink.add_address(link.index, ip.address, nodad=not self.dad, noprefixroute=not self.on_link_routes)
                netlink.set_link(link.index, up=True)
            if self.dad:
                self._settle(netlink, link.index)
            with netlink.batch():
                for route in self._kernel_routes(link.index):
                    netlink.add_route(route, another=True)
        except NetlinkError as error:
            raise KernelRefused(f"interface {att.ifname}: {error}") from None

    def _settings(self, ifname: str) -> None:
        """An IPv6 tree that is missing altogether is no error here: adding an IPv6 address is, and says so."""
        conf6 = f"net/ipv6/conf/{ifname}"
        if any(ip.address.family == 6 for ip in self.lease.ips):
            sysctl.write("net/ipv6/conf/lo/disable_ipv6", "0", optional=True)
            sysctl.write(f"{conf6}/disable_ipv6", "0", optional=True)
            sysctl.write(f"{conf6}/keep_addr_on_down", "1", optional=True)
        if self.dad:
            sysctl.write(f"{conf6}/enhanced_dad", "1", optional=True)
        sysctl.write(f"{conf6}/accept_dad", "1" if self.dad else "0", optional=True)
        sysctl.write(f"net/ipv4/conf/{ifname}/arp_notify", "1", optional=True)

    def _kernel_routes(self, index: int) -> Iterable[KernelRoute]:
        from cni_plugins.kernel.routes import TABLE_MAIN
        from cni_plugins.kernel.routes import Route as KernelRoute

        gateways: dict[int, Cidr] = {}
        for ip in self.lease.ips:
            if ip.gateway:
                gateways.setdefault(ip.address.family, parse_address(ip.gateway))
        for own, route in [(True, one) for one in self.routes] + [(False, one) for one in self.lease.routes]:
            dst = route.dst.network
            yield KernelRoute(
                dst if dst.prefix else None,
                family=dst.family,
                gateway=parse_address(route.gw) if route.gw else None if own else gateways.get(dst.family),
                index=index,
                table=TABLE_MAIN if route.table is None else route.table,
                priority=route.priority or 0,
                scope=route.scope,
                source=parse_address(route.src) if route.src else None,
                mtu=route.mtu or 0,
                advmss=route.advmss or 0,
            )

    def _settle(self, netlink: Netlink, index: int) -> None:
        """Wait for duplicate-address detection (RFC 4862): the kernel has no event that says it is over for good."""
        waited = 0.0
        while True:
            tentative = [one for one in netlink.addresses(index, family=6) if one.flags & _IFA_F_TENTATIVE]
            _refuse_duplicates(tentative)
            if not tentative:
                return
            if waited > _SETTLE_SECONDS:
                raise KernelRefused(f"address {tentative[0].cidr} is still tentative after {_SETTLE_SECONDS:.0f} s")
            calls.sleep(_PAUSE)
            waited += _PAUSE

    def verify(self, world: World, att: Attachment) -> None:
        """The interface is up with all its addresses and routes; more of either is nobody's drift."""
        netlink = world.inside(att).netlink()
        link = netlink.link(name=att.ifname)
        if link is None:
            return  # the link's own resource says so
        problems = [] if link.up else [f"{att.ifname} is down"]
        present = {address.cidr for address in netlink.addresses(link.index)}
        problems += [f"{att.ifname} lacks the address {ip.address}" for ip in self.lease.ips if ip.address not in present]
        for wanted in self._kernel_routes(link.index):
            if not any(_same_route(wanted, found) for found in netlink.routes(link.index, family=wanted.family, table=wanted.table)):
                problems.append(f"{att.ifname} lacks the route to {wanted}")
        if problems:
            raise Drift("; ".join(problems))


class LinkUp(Resource["None"]):
    """The container's interface without addresses: up."""

    __slots__ = ()

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Bring it up."""
        netlink = world.inside(att).netlink()
        netlink.set_link(_existing(netlink.link(name=att.ifname), att).index, up=True)

    def verify(self, world: World, att: Attachment) -> None:
        """It is up."""
        link = world.inside(att).netlink().link(name=att.ifname)
        if link is not None and not link.up:
            raise Drift(f"{att.ifname} is down")


def _existing(link: Link | None, att: Attachment) -> Link:
    if link is None:
        raise KernelRefused(f"interface {att.ifname} vanished from {att.netns} while it was being set up")
    return link


def _refuse_duplicates(addresses: list[Address]) -> None:
    for one in addresses:
        if one.flags & _IFA_F_DADFAILED:
            raise Conflict(f"address {one.cidr} is in use by another host on the link (duplicate-address detection)")


def _same_route(wanted: KernelRoute, found: KernelRoute) -> bool:
    hops = [found.gateway, *(gateway for gateway, _ in found.hops)]
    return (
        wanted.dst == (found.dst if found.dst and found.dst.prefix else None)
        and (wanted.gateway is None or wanted.gateway in hops)
        and (not wanted.priority or wanted.priority == found.priority)
    )
