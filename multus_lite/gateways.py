"""Which network has the container's default route: at most one of each address family.

The network that asks for it (`default-route`) gets it; the other interfaces lose theirs of that family, and of that family alone.
What the kernel has afterwards is read back.
"""

from __future__ import annotations

from cni_plugins.kernel.routes import Route as KernelRoute
from cni_plugins.kernel.rtnl import NetlinkError
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.protocol.errors import Conflict, InvalidEnvironment, KernelRefused, UnknownContainer
from cni_plugins.protocol.ip import Cidr, parse_address
from cni_plugins.protocol.result import Result, Route
from multus_lite.status import Telling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.netlink import Netlink
    from cni_plugins.plan.resource import Item
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from multus_lite.choice import Choice
    from multus_lite.networks import Network

_FAMILIES = (4, 6)


class GatewaysKind(Kind):
    """Default routes as they were before: undone where the interfaces are still there."""

    name = "gateways"

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Put back what was replaced; a container or an interface that is gone has no routes."""
        for one in owned:
            try:
                netlink = world.sandbox(one.item["netns"]).netlink() if one.item["netns"] else None
            except (UnknownContainer, InvalidEnvironment):
                netlink = None
            if netlink is not None:
                for family in one.item["families"]:
                    _restore(netlink, family, [route for route in one.item["replaced"] if route["family"] == family])


KIND = GatewaysKind()


class DefaultRoutes(Resource["list[Result]"]):
    """The default routes that the networks of `choice` ask for; the fact are their results, with the default routes that are left."""

    __slots__ = ("choice", "results")
    kind = KIND

    def __init__(self, choice: Choice, results: list[Result]) -> None:
        self.choice = choice
        self.results = results

    def predict(self, world: World, att: Attachment) -> list[Result]:
        """As it is asked for."""
        return self._changed(self._wanted())

    def apply(self, world: World, att: Attachment) -> list[Result]:
        """Replace, and read back."""
        wanted = self._wanted()
        with Telling(world, self.choice.api, self.choice.pod):
            netlink = world.inside(att).netlink()
            for family, (network, gateway) in wanted.items():
                _replace(netlink, family, network, gateway)
                problem = _difference(netlink, family, network, gateway)
                if problem:
                    raise Conflict(f"default-route: {problem}")
        return self._changed(wanted)

    def verify(self, world: World, att: Attachment) -> list[Result]:
        """They are as they were asked for. What CHECK has of results is changed already."""
        netlink = world.inside(att).netlink()
        problems = [_difference(netlink, family, *one) for family, one in self._wanted().items()]
        if any(problems):
            raise Drift(f"default-route: {'; '.join(filter(None, problems))}", self.results)
        return self.results

    def record(self, world: World, att: Attachment) -> Item:
        """The default routes of those families that there are now."""
        netlink = world.inside(att).netlink()
        names = {link.index: one.ifname for one in self.choice.networks if (link := netlink.link(name=one.ifname)) is not None}
        families = sorted(self._wanted())
        replaced = [
            {
                "family": family,
                "ifname": names[index],
                "gateway": gateway.address if gateway else "",
                "priority": route.priority,
            }
            for family in families
            for route in _defaults(netlink, family)
            for gateway, index in route.hops or [(route.gateway, route.index)]
            if index in names
        ]
        return {"netns": att.netns, "families": families, "replaced": replaced}

    def _wanted(self) -> dict[int, tuple[Network, Cidr | None]]:
        """Family: the network that gets the default route, and its gateway; None for the one that the network has itself."""
        wanted: dict[int, tuple[Network, Cidr | None]] = {}
        for network, result in zip(self.choice.networks, self.results, strict=True):
            for gateway in network.gateways or ():
                wanted[gateway.family] = (network, gateway)
            if network.gateways == []:
                wanted |= {route.dst.family: (network, None) for route in result.routes if not route.dst.prefix}
        return wanted

    def _changed(self, wanted: dict[int, tuple[Network, Cidr | None]]) -> list[Result]:
        """The results: those of other networks without default routes of these families, the network's own with the one it got."""
        changed = []
        for network, result in zip(self.choice.networks, self.results, strict=True):
            routes = list(result.routes)
            for family, (owner, gateway) in wanted.items():
                if owner is not network or gateway is not None:
                    routes = [route for route in routes if route.dst.prefix or route.dst.family != family]
                if owner is network and gateway is not None:
                    routes.append(Route(Cidr(family, 0, 0), gw=gateway.address))
            changed.append(Result(result.interfaces, ips=result.ips, routes=routes, dns=result.dns))
        return changed


def put_back(item: Item, networks: list[Network]) -> None:
    """Have the results of networks tell of the default routes that they have again when `item` has been dropped."""
    for replaced in item["replaced"]:
        again = Route(Cidr(replaced["family"], 0, 0), gw=replaced["gateway"] or None)
        for result in [one.result for one in networks if one.ifname == replaced["ifname"] and one.result is not None]:
            if all((route.dst, route.gw) != (again.dst, again.gw) for route in result.routes):
                result.routes.append(again)


def _defaults(netlink: Netlink, family: int) -> list[KernelRoute]:
    return [route for route in netlink.routes(family=family) if route.dst is None]


def _replace(netlink: Netlink, family: int, network: Network, gateway: Cidr | None) -> None:
    link = netlink.link(name=network.ifname)
    if link is None:
        raise Conflict(f"default-route: network {network.title} made no interface {network.ifname}")
    fitting = False
    for route in _defaults(netlink, family):
        if route.index == link.index and not route.hops and (gateway is None or route.gateway == gateway):
            fitting = True
        else:
            netlink.delete_route(route)
    if not fitting and gateway is not None:
        try:
            netlink.add_route(KernelRoute(None, family=family, gateway=gateway, index=link.index))
        except NetlinkError as error:
            raise KernelRefused(
                f"default-route: {gateway.address} through {network.ifname}: {error}", "the gateway must be in the interface's network"
            ) from None


def _difference(netlink: Netlink, family: int, network: Network, gateway: Cidr | None) -> str:
    """What is wrong with the default routes of a family; empty when it is the one that was asked for, and no other."""
    link = netlink.link(name=network.ifname)
    found = _defaults(netlink, family)
    own = [route for route in found if link is not None and route.index == link.index and gateway in (None, route.gateway)]
    if len(own) == 1 and len(found) == 1:
        return ""
    through = f" through {gateway.address}" if gateway else ""
    return f"IPv{family}: expected one{through} on {network.ifname}, found {len(found)}: {', '.join(map(str, found)) or 'none'}"


def _restore(netlink: Netlink, family: int, routes: list[Item]) -> None:
    """Make a family's default routes these again, as far as their interfaces are there."""
    for route in _defaults(netlink, family):
        netlink.delete_route(route)
    for one in routes:
        link = netlink.link(name=one["ifname"])
        if link is not None:
            gateway = parse_address(one["gateway"]) if one["gateway"] else None
            netlink.add_route(KernelRoute(None, family=family, gateway=gateway, index=link.index, priority=one["priority"]), another=True)
