"""The bridge that containers are joined to, and the gateway's addresses on it. Both are shared: made when missing, verified,
never dropped, since other attachments and other programs may use them.
"""

from __future__ import annotations

from cni_plugins.kernel import sysctl
from cni_plugins.kernel.rtnl import NetlinkError
from cni_plugins.plan.resource import Drift, Resource
from cni_plugins.protocol.errors import Conflict
from cni_plugins.protocol.result import Interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.netlink import Link
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

_EEXIST = 17


class Bridge(Resource["Interface"]):
    """A bridge named `name`, up. `mtu` in bytes (0: the kernel's choice) counts only when it is made; `vlans` makes it VLAN-aware."""

    __slots__ = ("mtu", "name", "promisc", "vlans")

    def __init__(self, name: str, *, mtu: int, promisc: bool, vlans: bool) -> None:
        self.name = name
        self.mtu = mtu
        self.promisc = promisc
        self.vlans = vlans

    def refuse(self, world: World, att: Attachment) -> None:
        """Something else may have the name."""
        self._checked(world.host.link(name=self.name))

    def predict(self, world: World, att: Attachment) -> Interface:
        """Its address is only known once it exists."""
        link = world.host.link(name=self.name)
        return Interface(self.name, mac=link.mac if link else "")

    def apply(self, world: World, att: Attachment) -> Interface:
        """Make it unless it is there; two calls that race for it both succeed."""
        link = self._checked(world.host.link(name=self.name))
        if link is None:
            link = self._create(world)
        if not link.up or (self.promisc and not link.promisc):
            world.host.set_link(link.index, up=True, promisc=True if self.promisc else None)
        return Interface(self.name, mac=link.mac)

    def verify(self, world: World, att: Attachment) -> Interface:
        """A bridge, up, promiscuous as configured, with the address that prevResult has."""
        link = world.host.link(name=self.name)
        if link is None:
            raise Drift(f"bridge {self.name} is gone")
        if link.kind != "bridge":
            raise Drift(f"{self.name} is not a bridge but a {link.kind or 'device'}")
        if not link.up:
            raise Drift(f"bridge {self.name} is down")
        if bool(link.promisc) != self.promisc:
            raise Drift(f"bridge {self.name} is {'not ' * self.promisc}promiscuous")
        known = next((one.mac for one in (world.prev.interfaces if world.prev else ()) if one.name == self.name and not one.sandbox), "")
        if known and known != link.mac:
            raise Drift(f"bridge {self.name} has the address {link.mac}, not {known}")
        return Interface(self.name, mac=link.mac)

    def ready(self, world: World) -> None:
        """Nothing else may have the name."""
        self._checked(world.host.link(name=self.name))

    def _checked(self, link: Link | None) -> Link | None:
        if link is not None and link.kind != "bridge":
            raise Conflict(f"bridge: {self.name!r} exists already but is not a bridge", "remove it, or choose another name")
        return link

    def _create(self, world: World) -> Link:
        """Create it, and then set the address that the kernel gave it: so the kernel keeps it as ports come and go (plugins#60).

        Not at creation: a bridge that is created with an address starts without carrier, and gets no IPv6 link-local address.
        """
        try:
            world.host.add_bridge(self.name, mtu=self.mtu or None, vlan_filtering=self.vlans or None, up=True)
        except NetlinkError as error:
            if error.errno != _EEXIST:
                raise
        sysctl.write(f"net/ipv6/conf/{self.name}/accept_ra", "0", optional=True)  # its routes are ours to make
        link = self._checked(world.host.link(name=self.name))
        if link is None:
            raise Conflict(f"bridge: {self.name!r} was deleted while it was being made")
        world.host.set_link(link.index, mac=link.mac)
        return link
