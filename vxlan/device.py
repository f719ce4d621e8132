"""The node's VXLAN device: the end of its tunnels (VTEP). Shared by all attachments of a network, and by the agent that keeps it."""

from __future__ import annotations

from cni_plugins.kernel import sysctl, vxlan
from cni_plugins.kernel.rtnl import NetlinkError
from cni_plugins.plan.resource import Drift, Resource
from cni_plugins.protocol.attachment import network_key
from cni_plugins.protocol.errors import Conflict, KernelRefused
from vxlan.marks import AGENT, PLUGIN, draft_name, is_of, mark_of, overlay_lock, read_mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.vxlan import Vxlan
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.ip import Cidr
    from vxlan.sides import Side


class Device(Resource["int"]):
    """The VXLAN device of one `side` of an overlay, up, with its address; the fact is its index (0 while it is only predicted).

    It bears the mark of the attachment's network and of its `maker`. What can be mended is; a device whose VNI, port, local address
    or underlay differ is made anew, and the peers with it have to be programmed again.
    """

    __slots__ = ("maker", "side")

    def __init__(self, side: Side, *, maker: str = PLUGIN) -> None:
        self.side = side
        self.maker = maker

    def refuse(self, world: World, att: Attachment) -> None:
        """Neither the name nor the VNI may be somebody else's."""
        self._refuse(world, att.network)

    def ready(self, world: World) -> None:
        """As `refuse`."""
        self._refuse(world, world.conf.name)

    def _refuse(self, world: World, network: str) -> None:
        side = self.side
        link = world.host.link(name=side.device)
        if link is not None and not (link.kind == "vxlan" and is_of(link.alias, network)):
            raise Conflict(f"a link named {side.device} exists already and is not this network's", f"its alias is {link.alias!r}")
        for other in vxlan.devices(world.host):
            same = (other.vni, other.port) == (side.tunnels.vni, side.tunnels.port)
            if (
                same
                and other.name not in (side.device, draft_name(network_key(network), str(side.family)))
                and (other.local is None or other.local.family == side.family)
            ):
                raise Conflict(f"vni: {other.vni} is in use by {other.name} on this node", "give each overlay a VNI of its own")

    def predict(self, world: World, att: Attachment) -> int:
        """Its index, if it is there."""
        device = vxlan.find(world.host, self.side.device)
        return device.index if device else 0

    def apply(self, world: World, att: Attachment) -> int:
        """Make it, or mend what differs. Raises Conflict or KernelRefused."""
        with overlay_lock(world, network_key(att.network)):
            return self.apply_locked(world, att)

    def apply_locked(self, world: World, att: Attachment) -> int:
        """As `apply`, for one who holds the network's lock."""
        self.refuse(world, att)
        device = vxlan.find(world.host, self.side.device)
        if device is not None and list(self._unchangeable(device)):
            world.host.delete_link(device.index)
            device = None
        try:
            if device is None:
                device = self._create(world, att)
            self._mend(world, att, device)
        except NetlinkError as error:
            raise KernelRefused(f"VXLAN device {self.side.device}: {error}") from None
        return device.index

    def _create(self, world: World, att: Attachment) -> Vxlan:
        """Make it as a draft, which gets its name and the mark in one request."""
        wanted = self._wanted()
        wanted.name = draft_name(network_key(att.network), str(self.side.family))
        left = world.host.link(name=wanted.name)
        if left is not None:
            world.host.delete_link(left.index)
        made = vxlan.create(world.host, wanted)
        made.alias = mark_of(att.network, self.maker)
        try:
            world.host.set_link(made.index, name=self.side.device, alias=made.alias)
        except BaseException:
            world.host.delete_link(made.index)
            raise
        return made

    def _wanted(self) -> Vxlan:
        side = self.side
        tunnels = side.tunnels
        return vxlan.Vxlan(
            side.device, vni=tunnels.vni, port=tunnels.port, local=side.node, underlay=side.index, mac=side.mac, mtu=side.mtu
        )

    def _mend(self, world: World, att: Attachment, device: Vxlan) -> None:
        wanted = self._wanted()
        found = read_mark(device.alias)
        adopted = found is None or (self.maker == AGENT and found[1] != AGENT)
        mtu = wanted.mtu if device.mtu != wanted.mtu else None
        mac = wanted.mac if device.mac != wanted.mac else None
        if adopted or mtu or mac:
            alias = mark_of(att.network, self.maker) if adopted else None
            world.host.set_link(device.index, mtu=mtu, mac=mac, alias=alias)
        if not device.up:
            quiet(self.side.device)
            world.host.set_link(device.index, up=True)
        present = self._addresses(world, device)
        for address in present:
            if address != self.side.vtep:
                world.host.delete_address(device.index, address)
        if self.side.vtep not in present:
            world.host.add_address(device.index, self.side.vtep, nodad=True)

    def verify(self, world: World, att: Attachment) -> int:
        """It is there, as it is wanted."""
        name = self.side.device
        device = vxlan.find(world.host, name)
        if device is None:
            raise Drift(f"VXLAN device {name} is gone", 0)
        wanted = self._wanted()
        problems = list(self._unchangeable(device))
        if device.mtu != wanted.mtu:
            problems.append(f"{name} has an mtu of {device.mtu}, not {wanted.mtu}")
        if device.mac != wanted.mac:
            problems.append(f"{name} has the address {device.mac}, not {wanted.mac}")
        if not is_of(device.alias, att.network):
            problems.append(f"{name} does not bear the mark of {att.network}")
        if not device.up:
            problems.append(f"{name} is down")
        if self.side.vtep not in self._addresses(world, device):
            problems.append(f"{name} lacks the address {self.side.vtep}")
        if problems:
            raise Drift("; ".join(problems), device.index)
        return device.index

    def _unchangeable(self, device: Vxlan) -> list[str]:
        wanted, name = self._wanted(), self.side.device
        problems = []
        for what, there, right in (("VNI", device.vni, wanted.vni), ("UDP port", device.port, wanted.port)):
            if there != right:
                problems.append(f"{name} has the {what} {there}, not {right}")
        if device.local != wanted.local:
            problems.append(f"{name} sends from {device.local.address if device.local else 'any address'}, not {self.side.node.address}")
        if device.underlay != wanted.underlay:
            problems.append(f"{name} is not over {self.side.underlay}")
        if device.learning:
            problems.append(f"{name} learns addresses")
        return problems

    def _addresses(self, world: World, device: Vxlan) -> list[Cidr]:
        listed = world.host.addresses(device.index, family=self.side.family)
        return [address.cidr for address in listed if address.scope == 0]


class NoDevice(Resource["None"]):
    """No VXLAN device on one `side` of an overlay that does without tunnels: one that an earlier configuration made goes."""

    __slots__ = ("side",)

    def __init__(self, side: Side) -> None:
        self.side = side

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Delete it where it bears this network's mark."""
        with overlay_lock(world, network_key(att.network)):
            index = self._left(world, att)
            if index:
                world.host.delete_link(index)

    def verify(self, world: World, att: Attachment) -> None:
        """There is none."""
        if self._left(world, att):
            raise Drift(f"VXLAN device {self.side.device} is there, but the back end is host-gw")

    def _left(self, world: World, att: Attachment) -> int:
        link = world.host.link(name=self.side.device)
        return link.index if link is not None and is_of(link.alias, att.network) else 0


def quiet(name: str) -> None:
    """Settings of a link of ours before it goes up: its routes are ours to make, and nobody else can have its addresses.

    While the kernel still looks for duplicates of a link-local address it asks for no neighbour, and first packets wait for a second.
    """
    sysctl.write(f"net/ipv6/conf/{name}/accept_ra", "0", optional=True)
    sysctl.write(f"net/ipv6/conf/{name}/accept_dad", "0", optional=True)
