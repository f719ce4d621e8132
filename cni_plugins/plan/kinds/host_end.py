"""The host end of a link that is no bridge's port: the gateway's addresses on it, and a route to each of the container's.
Both go with the link.
"""

from __future__ import annotations

from cni_plugins.kernel import sysctl
from cni_plugins.kernel.rtnl import NetlinkError
from cni_plugins.plan.resource import Drift, Resource
from cni_plugins.protocol.errors import Conflict, KernelRefused
from cni_plugins.protocol.ip import parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.routes import Route
    from cni_plugins.plan.kinds.veth import Pair
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.ip import Cidr
    from cni_plugins.protocol.result import Ip

_EEXIST = 17
_SCOPE_LINK = 253


class HostEnd(Resource["None"]):
    """The node's side of a point-to-point link: each gateway of `ips` as a host address, each address as a host route."""

    __slots__ = ("ips", "pair")

    def __init__(self, pair: Pair, ips: list[Ip]) -> None:
        self.pair = pair
        self.ips = ips

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Addresses first, since routes are sent from them; all in one request, up included."""
        index = self.pair.index
        if any(gateway.family == 6 for gateway in self._gateways()):
            self._be_heard_at_once()
        routes = self._routes(index)
        try:
            with world.host.batch():
                for gateway in self._gateways():
                    world.host.add_address(index, gateway, nodad=gateway.family == 6)
                world.host.set_link(index, up=True)
                for route in routes:
                    world.host.add_route(route)
        except NetlinkError as error:
            if error.errno == _EEXIST:
                raise Conflict(f"{self.pair.host.name}: {error}", "another link of this node has a route to this address") from None
            raise KernelRefused(f"{self.pair.host.name}: {error}") from None

    def _be_heard_at_once(self) -> None:
        """While the kernel looks for duplicates of the link-local address it asks for no neighbour, and what is forwarded has to wait.

        It begins to look when the container's end goes up, which is later.
        """
        sysctl.write(f"net/ipv6/conf/{self.pair.host.name}/accept_dad", "0", optional=True)

    def _gateways(self) -> list[Cidr]:
        return list({parse_address(ip.gateway): None for ip in self.ips if ip.gateway})

    def _routes(self, index: int) -> list[Route]:
        from cni_plugins.kernel.routes import Route

        return [Route(ip.address.host, index=index, scope=_SCOPE_LINK if ip.address.family == 4 else None) for ip in self.ips]

    def verify(self, world: World, att: Attachment) -> None:
        """All of them are there."""
        index = self.pair.index
        if not index:
            return  # the link's own resource says that it is gone
        name = self.pair.host.name
        present = {address.cidr for address in world.host.addresses(index)}
        routed = {route.dst for route in world.host.routes(index)}
        problems = [f"{name} lacks the gateway address {gateway.address}" for gateway in self._gateways() if gateway not in present]
        problems += [f"the node has no route to {ip.address.address}" for ip in self.ips if ip.address.host not in routed]
        if problems:
            raise Drift("; ".join(problems))
