"""The node's end of the pair that a plugin before this one in the list made: where chained plugins shape and filter."""

from __future__ import annotations

from cni_plugins.kernel.links import Link
from cni_plugins.plan.resource import Drift, Resource
from cni_plugins.protocol.errors import InvalidConfig, InvalidEnvironment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.result import Result


class HostSide(Resource["Link"]):
    """The fact: the link, found through the container's end; one with the index 0 where there is none (STATUS, or it drifted).

    `previous` is the result of the plugins before this one, which must list the link.
    """

    __slots__ = ("previous",)

    def __init__(self, previous: Result) -> None:
        self.previous = previous

    def predict(self, world: World, att: Attachment) -> Link:
        """What is there: it was made before. Raises InvalidEnvironment or InvalidConfig when it is not."""
        if not att.netns:
            return Link(0, "")
        inside = world.inside(att).netlink().link(name=att.ifname)
        if inside is None:
            raise InvalidEnvironment(f"CNI_IFNAME: there is no {att.ifname!r} in {att.netns}", "a plugin before this one makes it")
        if inside.kind != "veth":
            raise InvalidEnvironment(f"CNI_IFNAME: {att.ifname!r} is not one end of a veth pair but a {inside.kind or 'device'}")
        host = world.host.link(index=inside.peer_index) if inside.peer_index else None
        if host is None or host.kind != "veth" or host.peer_index != inside.index:
            raise InvalidEnvironment(f"CNI_IFNAME: the other end of {att.ifname!r} is not on the node")
        if not any(one.name == host.name and not one.sandbox for one in self.previous.interfaces):
            raise InvalidConfig(f"prevResult.interfaces: {host.name}, the other end of {att.ifname!r}, is not among them")
        return host

    def apply(self, world: World, att: Attachment) -> Link:
        """What is there."""
        return self.predict(world, att)

    def verify(self, world: World, att: Attachment) -> Link:
        """It is still there."""
        try:
            return self.predict(world, att)
        except (InvalidEnvironment, InvalidConfig) as error:
            raise Drift(error.msg.partition(": ")[2], Link(0, "")) from None
