"""The peers of an overlay in the kernel, as flanneld has them. For each one that is reached through a tunnel

    route      10.5.2.0/24 via 10.5.2.0 dev vxlan.100 onlink      the peer's subnet is behind the peer's VXLAN device,
    neighbour  10.5.2.0 lladdr 02:1f:…                            which has this hardware address,
    FDB entry  02:1f:… dst 192.168.77.12                          which is behind the tunnel to this node

and for one that is reached directly, a route through the node's address. All of it is compared at once and what differs is sent in
one batch; the plugin does so at ADD, the agent whenever something may have changed.
"""

from __future__ import annotations

from cni_plugins.kernel import neighbours, vxlan
from cni_plugins.kernel.neighbours import Neighbour
from cni_plugins.kernel.routes import Route
from cni_plugins.kernel.rtnl import NetlinkError
from cni_plugins.plan.resource import Drift, Resource
from cni_plugins.protocol.attachment import network_key
from cni_plugins.protocol.errors import InvalidConfig
from vxlan.hostgw import direct_route, is_direct
from vxlan.marks import PROTOCOL, is_of, overlay_lock
from vxlan.peerlist import usable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni_plugins.kernel.netlink import Netlink
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.ip import Cidr
    from vxlan.peerlist import Peer
    from vxlan.sides import Side


class Differences:
    """What is not as it should be: `found` says it in words; taking `surplus` away and putting `missing` in mends it, in this order."""

    __slots__ = ("found", "missing", "surplus")

    def __init__(self) -> None:
        self.found: list[str] = []
        self.surplus: list[Route | Neighbour] = []
        self.missing: list[Route | Neighbour] = []

    def lacks(self, thing: Route | Neighbour, text: str) -> None:
        """Note what is missing, or is replaced by putting it in."""
        self.found.append(text)
        self.missing.append(thing)

    def has(self, thing: Route | Neighbour, text: str) -> None:
        """Note what should not be there."""
        self.found.append(text)
        self.surplus.append(thing)

    def mend(self, netlink: Netlink, index: int) -> None:
        """Do it in one batch; `index` is the device's. Raises NetlinkError for the first refusal, when all has been tried."""
        with netlink.batch():
            for thing in self.surplus:
                _remove(netlink, index, thing)
            for thing in self.missing:
                _put(netlink, index, thing)


class Peers(Resource["list[str]"]):
    """The routes, neighbours and FDB entries of `peers` on one `side` of an overlay, and no others that are ours.

    The fact is what is wrong with peers that could not be programmed. `strict` refuses peers that make no sense; else they are passed
    over, and named by CHECK. What somebody else has made is never removed: routes are ours by their protocol number, entries by the
    mark of the device that they are on.
    """

    __slots__ = ("peers", "problems", "side", "strict")

    def __init__(self, side: Side, peers: Iterable[Peer], *, strict: bool = False) -> None:
        self.side = side
        self.strict = strict
        others = [one for one in peers if one.subnet.family == side.family and one.node != side.node]
        self.peers, self.problems = usable(others, [side.network])
        self._judge_here()

    def _judge_here(self) -> None:
        """Pass over what makes sense by itself, but not on this node."""
        kept, homes = [], {self.side.mac: self.side.node}
        for peer in self.peers:
            mac = peer.vtep_mac(self.side.tunnels.vni)
            if peer.subnet.overlaps(self.side.subnet):
                self.problems.append(f"{peer}: the subnet overlaps this node's own, {self.side.subnet}")
            elif not self.side.tunnels.tunnelled and not self.side.on_link(peer.node):
                self.problems.append(f"{peer}: the node is not on the link of {self.side.underlay}, which host-gw needs")
            elif homes.setdefault(mac, peer.node) != peer.node:
                self.problems.append(f"{peer}: {mac} is the address of {homes[mac].address}'s VXLAN device too")
            else:
                kept.append(peer)
        self.peers = kept

    def refuse(self, world: World, att: Attachment) -> None:
        """Peers that the configuration itself lists must make sense."""
        self.ready(world)

    def ready(self, world: World) -> None:
        """As `refuse`."""
        if self.strict and self.problems:
            raise InvalidConfig(f"peers: {'; '.join(self.problems)}")

    def predict(self, world: World, att: Attachment) -> list[str]:
        """What is known to be wrong."""
        return self.problems

    def apply(self, world: World, att: Attachment) -> list[str]:
        """Program what differs. What the kernel refuses of one peer does not keep the others; it is told in the fact."""
        with overlay_lock(world, network_key(att.network)):
            return self.apply_locked(world, att)

    def apply_locked(self, world: World, att: Attachment) -> list[str]:
        """As `apply`, for one who holds the network's lock."""
        index, _ = self._device(world, att)
        differences = self.compare(world, att)
        try:
            differences.mend(world.host, index)
        except NetlinkError:
            return self.problems + self._one_by_one(world, att, index)
        return self.problems

    def _one_by_one(self, world: World, att: Attachment, index: int) -> list[str]:
        """Try again what is left, each by itself, so that each has its own reason."""
        refused = []
        left = self.compare(world, att)
        for change, things in ((_remove, left.surplus), (_put, left.missing)):
            for thing in things:
                try:
                    change(world.host, index, thing)
                except NetlinkError as error:
                    refused.append(str(error))
        return refused

    def verify(self, world: World, att: Attachment) -> list[str]:
        """Every peer's entries are there, and no others of ours."""
        found = [*self.problems, *self.compare(world, att).found]
        if found:
            raise Drift("; ".join(found), self.problems)
        return []

    def compare(self, world: World, att: Attachment) -> Differences:
        """Look at what is there, and find out what is missing, what is wrong and what is too much."""
        differences = Differences()
        index, ours = self._device(world, att)
        self._compare_routes(world, index, differences)
        if ours:
            tunnelled = [peer for peer in self.peers if not is_direct(self.side, peer)]
            self._compare_neighbours(world, index, tunnelled, differences=differences)
            self._compare_forwarding(world, index, tunnelled, differences=differences)
        return differences

    def _device(self, world: World, att: Attachment) -> tuple[int, bool]:
        """The index of the VXLAN device (0: there is none), and whether what is on it is ours."""
        device = vxlan.find(world.host, self.side.device) if self.side.tunnels.tunnelled else None
        return (device.index, is_of(device.alias, att.network)) if device else (0, False)

    def _route(self, peer: Peer, index: int) -> Route:
        if is_direct(self.side, peer):
            return direct_route(self.side, peer)
        return Route(peer.subnet, gateway=peer.subnet.host, index=index, protocol=PROTOCOL, onlink=True)

    def _compare_routes(self, world: World, index: int, differences: Differences) -> None:
        side = self.side
        present: dict[tuple[str, str, int], Route] = {}
        for link in (index, side.index):
            for route in world.host.routes(link, family=side.family) if link else ():
                if route.protocol == PROTOCOL and route.dst is not None and (link == index or side.network.contains(route.dst)):
                    present[_path(route)] = route
        wanted = {_path(route): (peer, route) for peer in self.peers for route in [self._route(peer, index)]}
        behind = {peer.subnet: peer for peer in self.peers}
        for path, route in present.items():
            if path not in wanted:
                through = f" via {route.gateway.address}" if route.gateway else ""
                known = route.dst in behind
                differences.has(route, f"the route to {route.dst} leads{through}" if known else f"the route to {route.dst} is no peer's")
        for path, (peer, route) in wanted.items():
            if path not in present:
                differences.lacks(route, f"{peer}: no route to it via {path[1]}")

    def _compare_neighbours(self, world: World, index: int, peers: list[Peer], *, differences: Differences) -> None:
        present = {one.address: one for one in neighbours.neighbours(world.host, index, family=self.side.family)}
        for peer in peers:
            wanted = Neighbour(peer.subnet.host, peer.vtep_mac(self.side.tunnels.vni))
            found = present.pop(wanted.address, None)
            if found is None or not found.permanent:
                differences.lacks(wanted, f"{peer}: its neighbour entry {wanted.address.address} is missing")
            elif found.mac != wanted.mac:
                differences.lacks(wanted, f"{peer}: its neighbour {wanted.address.address} is at {found.mac}, not {wanted.mac}")
        for surplus in present.values():
            if surplus.permanent:
                differences.has(surplus, f"the {surplus} is no peer's")

    def _compare_forwarding(self, world: World, index: int, peers: list[Peer], *, differences: Differences) -> None:
        wanted = {peer.vtep_mac(self.side.tunnels.vni): peer for peer in peers}
        right = set()
        for entry in neighbours.forwarding(world.host, index):
            peer = wanted.get(entry.mac)
            if peer is None:
                differences.has(entry, f"the {entry} is no peer's")
            elif entry.address == peer.node and entry.permanent:
                right.add(entry.mac)
            else:
                differences.has(entry, f"{peer}: its FDB entry {entry.mac} leads to {entry.address.address}")
        for mac, peer in wanted.items():
            if mac not in right:
                differences.lacks(Neighbour(peer.node, mac, fdb=True), f"{peer}: its FDB entry {mac} is missing")


def _path(route: Route) -> tuple[str, str, int]:
    return str(route.dst), route.gateway.address if route.gateway else "", route.index


def _remove(netlink: Netlink, index: int, thing: Route | Neighbour) -> None:
    if isinstance(thing, Route):
        netlink.delete_route(thing)
    else:
        neighbours.remove(netlink, index, thing)


def _put(netlink: Netlink, index: int, thing: Route | Neighbour) -> None:
    if isinstance(thing, Route):
        netlink.add_route(thing)
    else:
        neighbours.put(netlink, index, thing)


def delete_routes(world: World, networks: Iterable[Cidr]) -> None:
    """Delete every route of ours to a part of one of these networks. Raises NetlinkError."""
    networks = list(networks)
    stale = [
        route
        for family in sorted({network.family for network in networks})
        for route in world.host.routes(family=family)
        if route.protocol == PROTOCOL and route.dst is not None and any(network.contains(route.dst) for network in networks)
    ]
    with world.host.batch():
        for route in stale:
            world.host.delete_route(route)
