"""VLANs of a bridge's ports, and the node's own port in a VLAN that has a gateway (`bridge.vlan`)."""

from __future__ import annotations

from cni_plugins.kernel.rtnl import NetlinkError
from cni_plugins.plan.resource import Drift, Resource
from cni_plugins.protocol.errors import Conflict, KernelRefused
from cni_plugins.protocol.result import Interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.netlink import Link, Netlink
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

_EEXIST = 17
_NATIVE = 1


class Membership:
    """Which VLANs a port is in: `access` untagged (0: none), `trunk` tagged, the bridge's default one kept with `keep_default`.

    A trunk without an access VLAN has VLAN 1 for untagged frames, as configurations from before `vlan` expect.
    """

    __slots__ = ("access", "keep_default", "trunk")

    def __init__(self, access: int, trunk: tuple[int, ...] = (), *, keep_default: bool = False) -> None:
        self.access = access
        self.trunk = trunk
        self.keep_default = keep_default

    @property
    def untagged(self) -> int:
        """The VLAN of untagged frames, 0 for none."""
        return self.access or (_NATIVE if self.trunk else 0)

    def set(self, netlink: Netlink, index: int) -> None:
        """Put a port into its VLANs. Raises NetlinkError."""
        present = [] if self.keep_default or not self.untagged else netlink.vlans(index)
        with netlink.batch():
            for vlan in present:
                netlink.del_vlan(index, vlan.vid)
            if self.access:
                netlink.add_vlan(index, self.access, pvid=True, untagged=True)
            for vid in self.trunk:
                netlink.add_vlan(index, vid)
            if not self.access and self.trunk:
                netlink.add_vlan(index, _NATIVE, pvid=True, untagged=True)

    def missing(self, netlink: Netlink, index: int) -> list[int]:
        """VLANs that a port should be in and is not."""
        present = {vlan.vid: vlan for vlan in netlink.vlans(index)}
        lost = [vid for vid in self.trunk if vid not in present]
        untagged = self.untagged
        if untagged and not (untagged in present and present[untagged].pvid):
            lost.append(untagged)
        return lost


class PortVlans(Resource["None"]):
    """The container's port is in these VLANs; gone with the port."""

    __slots__ = ("index", "membership", "name")

    def __init__(self, name: str, index: int, membership: Membership) -> None:
        self.name = name
        self.index = index
        self.membership = membership

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Set them."""
        try:
            self.membership.set(world.host, self.index)
        except NetlinkError as error:
            raise KernelRefused(f"vlan, vlanTrunk: {error}") from None

    def verify(self, world: World, att: Attachment) -> None:
        """The port is in all of them."""
        lost = self.membership.missing(world.host, self.index) if self.index else []
        if lost:
            raise Drift(f"{self.name} is not in VLAN {', '.join(map(str, lost))}")


class VlanGateway(Resource["Interface"]):
    """The node's own port in VLAN `vlan` of a bridge: a pair of which one end is named `<bridge>.<vlan>` and gets the gateway's
    addresses, and the other is a port. Shared like the bridge, so never dropped. `mtu` in bytes, 0: the kernel's choice.
    """

    __slots__ = ("bridge", "keep_default", "mtu", "vlan")

    def __init__(self, bridge: str, vlan: int, *, mtu: int, keep_default: bool) -> None:
        self.bridge = bridge
        self.vlan = vlan
        self.mtu = mtu
        self.keep_default = keep_default

    @property
    def name(self) -> str:
        """What the node calls it."""
        return f"{self.bridge}.{self.vlan}"

    @property
    def port(self) -> str:
        """What the bridge's port is called: a name that depends on nothing but the bridge and the VLAN."""
        from cni_plugins.protocol.attachment import host_name_of

        return host_name_of(self.name.encode())

    def predict(self, world: World, att: Attachment) -> Interface:
        """Its address is only known once it exists."""
        link = world.host.link(name=self.name)
        return Interface(self.name, mac=link.mac if link else "")

    def apply(self, world: World, att: Attachment) -> Interface:
        """Make it unless it is there, and set right what a killed call had not finished; two calls that race for it both succeed."""
        link = world.host.link(name=self.name)
        if link is None:
            self._create(world)
            link = world.host.link(name=self.name)
        if link is None:
            raise Conflict(f"vlan: {self.name!r} was deleted while it was being made")
        if not self._joined(world, link):
            self._join(world, link)
        if not link.up:
            world.host.set_link(link.index, up=True)
        return Interface(self.name, mac=link.mac)

    def _create(self, world: World) -> None:
        try:
            world.host.add_veth(self.name, peer_name=self.port, mtu=self.mtu or None)
        except NetlinkError as error:
            if error.errno != _EEXIST:
                raise KernelRefused(f"vlan: {error}") from None

    def _joined(self, world: World, link: Link) -> bool:
        """Whether the other end is a port of the bridge, up, in the VLAN. One that is not there (another device) is left alone."""
        port = world.host.link(index=link.peer_index) if link.peer_index else None
        bridge = world.host.link(name=self.bridge)
        if port is None or bridge is None:
            return True
        return port.master == bridge.index and port.up and not self._membership.missing(world.host, port.index)

    def _join(self, world: World, link: Link) -> None:
        bridge = world.host.link(name=self.bridge)
        if bridge is None:
            raise Conflict(f"bridge: {self.bridge!r} was deleted while it was being set up")
        try:
            world.host.set_link(link.peer_index, master=bridge.index)
            self._membership.set(world.host, link.peer_index)
            world.host.set_link(link.peer_index, up=True)
        except NetlinkError as error:
            raise KernelRefused(f"vlan: {error}") from None

    @property
    def _membership(self) -> Membership:
        return Membership(self.vlan, keep_default=self.keep_default)

    def verify(self, world: World, att: Attachment) -> Interface:
        """It is there, up, and joined to the bridge in its VLAN."""
        link = world.host.link(name=self.name)
        if link is None or not link.up:
            raise Drift(f"{self.name} is {'down' if link else 'gone'}")
        if not self._joined(world, link):
            raise Drift(f"{self.name} is not joined to bridge {self.bridge} in VLAN {self.vlan}")
        return Interface(self.name, mac=link.mac)
