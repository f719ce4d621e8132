"""The bridge that an overlay's containers are joined to. One that is made for the overlay goes with it; one that was there stays."""

from __future__ import annotations

from cni_plugins.kernel.rtnl import NetlinkError
from cni_plugins.plan.kinds.bridge import Bridge
from cni_plugins.protocol.attachment import network_key
from cni_plugins.protocol.errors import Conflict
from vxlan.device import quiet
from vxlan.marks import PLUGIN, draft_name, mark_of, overlay_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.netlink import Link
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.result import Interface

_EEXIST = 17


class OverlayBridge(Bridge):
    """The bridge `name` of the overlay of `network`."""

    __slots__ = ("network",)

    def __init__(self, name: str, network: str) -> None:
        super().__init__(name, mtu=0, promisc=False, vlans=False)
        self.network = network

    def apply(self, world: World, att: Attachment) -> Interface:
        """Make it unless it is there."""
        with overlay_lock(world, network_key(self.network)):
            return super().apply(world, att)

    def _create(self, world: World) -> Link:
        """Make it as a draft, which gets its name and the mark in one request."""
        draft = draft_name(network_key(self.network), "br")
        try:
            made = world.host.add_bridge(draft, up=False)
        except NetlinkError as error:
            left = world.host.link(name=draft)
            if error.errno != _EEXIST or left is None:
                raise
            made = left
        try:
            # Its address is set to what it is, so that the kernel keeps it as ports come and go (plugins#60).
            world.host.set_link(made.index, name=self.name, alias=mark_of(self.network, PLUGIN), mac=made.mac)
        except BaseException as error:
            world.host.delete_link(made.index)
            if not isinstance(error, NetlinkError) or error.errno != _EEXIST:
                raise
        quiet(self.name)
        link = self._checked(world.host.link(name=self.name))
        if link is None:
            raise Conflict(f"bridge: {self.name!r} was deleted while it was being made")
        return link
