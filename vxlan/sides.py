"""What a node's part in an overlay comes to, once its underlay has been looked at."""

from __future__ import annotations

from cni_plugins.kernel.vxlan import OVERHEAD
from cni_plugins.plan.resource import Drift, Resource
from cni_plugins.protocol.errors import CniError, InvalidConfig
from vxlan.peerlist import vtep_mac

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.netlink import Address, Link
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.ip import Cidr
    from vxlan.conf import Half

_TENTATIVE_OR_FAILED = 0x40 | 0x08
_SCOPE_GLOBAL = 0


class Tunnels:
    """How an overlay travels: its VNI, the UDP port, the largest packet in bytes (0: what the underlay has room for); `tunnelled` is false
    for host-gw, `direct` true where nodes of one link reach each other by plain routes.
    """

    __slots__ = ("direct", "mtu", "port", "tunnelled", "vni")

    def __init__(self, vni: int, *, port: int, mtu: int = 0, tunnelled: bool = True, direct: bool = False) -> None:
        self.vni = vni
        self.port = port
        self.mtu = mtu
        self.tunnelled = tunnelled
        self.direct = direct or not tunnelled


class Side:
    """The node's part in an overlay in one family of addresses.

    `network` is the whole, `subnet` this node's part of it, `node` its address on the underlay; `underlay` the underlay's name and
    `index` its number (0 while it is gone), `links` the networks that are directly on it; `mtu` in bytes is that of the packets within.
    """

    __slots__ = ("index", "links", "mtu", "network", "node", "subnet", "tunnels", "underlay")

    def __init__(self, half: Half, node: Cidr, tunnels: Tunnels, *, underlay: str, index: int, mtu: int, links: list[Cidr]) -> None:
        self.network = half.network
        self.subnet = half.subnet
        self.node = node
        self.tunnels = tunnels
        self.underlay = underlay
        self.index = index
        self.mtu = mtu
        self.links = links

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.network.family

    @property
    def device(self) -> str:
        """The name of the VXLAN device: a node has one of each family."""
        return device_name(self.tunnels.vni, self.family)

    @property
    def mac(self) -> str:
        """The hardware address of the VXLAN device."""
        return vtep_mac(self.node, self.tunnels.vni)

    @property
    def vtep(self) -> Cidr:
        """The address of the VXLAN device: the subnet's own, which no container has."""
        return self.subnet.network.host

    def on_link(self, node: Cidr) -> bool:
        """Whether another node is on the underlay's own link."""
        return any(link.contains(node) for link in self.links)


def device_name(vni: int, family: int) -> str:
    """The name of an overlay's VXLAN device."""
    return f"vxlan{'6' if family == 6 else ''}.{vni}"


class Underlay(Resource["list[Side]"]):
    """The link called `name`, up, with an address of every family that the overlay has."""

    __slots__ = ("halves", "name", "tunnels")

    def __init__(self, name: str, halves: list[Half], tunnels: Tunnels) -> None:
        self.name = name
        self.halves = halves
        self.tunnels = tunnels

    def predict(self, world: World, att: Attachment) -> list[Side]:
        """Look at it. Raises InvalidConfig when it is not there, or does not do."""
        link = world.host.link(name=self.name)
        if link is None:
            raise InvalidConfig(f"underlay: the node has no interface {self.name!r}", "name the interface that leads to the other nodes")
        present = [one for one in world.host.addresses(link.index) if not one.flags & _TENTATIVE_OR_FAILED]
        return [self._side(half, link, [one for one in present if one.cidr.family == half.network.family]) for half in self.halves]

    def apply(self, world: World, att: Attachment) -> list[Side]:
        """Look at it: it is the node's, and nothing is done to it."""
        return self.predict(world, att)

    def verify(self, world: World, att: Attachment) -> list[Side]:
        """It is there, up, with an address."""
        try:
            found = self.predict(world, att)
        except CniError as error:
            raise Drift(error.msg, []) from None
        link = world.host.link(name=self.name)
        if link is not None and not link.up:
            raise Drift(f"underlay {self.name} is down", found)
        return found

    def _side(self, half: Half, link: Link, present: list[Address]) -> Side:
        node = self._node(half, present)
        mtu = self._mtu(link.mtu, node.family)
        links = [one.cidr.network for one in present if one.cidr.prefix < one.cidr.host.prefix]
        return Side(half, node, self.tunnels, underlay=link.name, index=link.index, mtu=mtu, links=links)

    def _node(self, half: Half, present: list[Address]) -> Cidr:
        family = half.network.family
        if half.node is None:
            usable = [one.cidr for one in present if one.scope == _SCOPE_GLOBAL]
            if not usable:
                raise InvalidConfig(f"underlay: {self.name} has no IPv{family} address, which {half.network} needs")
            return usable[0].host
        if all(one.cidr.host != half.node.host for one in present):
            raise InvalidConfig(f"{'node' if family == 4 else 'ipv6Node'}: {self.name} does not have the address {half.node.address}")
        return half.node.host

    def _mtu(self, underlay: int, family: int) -> int:
        room = underlay - (OVERHEAD[family] if self.tunnels.tunnelled else 0)
        if self.tunnels.mtu > room:
            raise InvalidConfig(
                f"mtu: {self.tunnels.mtu} does not fit through {self.name}, which has room for {room} (its own mtu is {underlay})"
            )
        return self.tunnels.mtu or room
