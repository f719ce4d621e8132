"""The interface of an attachment, made by the delegate; what it got is in the state files where no record tells."""

from __future__ import annotations

from cni_plugins.plan.kinds import network
from cni_plugins.plan.kinds.network import Network, NetworkKind
from cni_plugins.plan.resource import Owned
from flannel import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni_plugins.plan.resource import Item, Valid
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment


class FlannelNetworkKind(NetworkKind):
    """Networks by the state files, our own and those of flannel's plugin, and at last by the configuration."""

    def find(self, world: World, att: Attachment) -> list[Item]:
        """What the delegate got, or is likely to have got."""
        conf = state.stored(world.conf, att) or state.reconstructed(world)
        return [network.item(conf, att)] if conf else []

    def marked(self, world: World, network_name: str) -> Iterable[Owned]:
        """Every attachment that a state file speaks of."""
        for att, conf in state.attachments(world, network_name):
            yield Owned(att.key, {"kind": self.name, **network.item(conf, att)})

    def collect(self, world: World, valid: Valid) -> None:
        """Hand the runtime's list on to the delegate, and delete what flannel's own plugin added for containers that are gone."""
        conf = state.reconstructed(world)
        if conf:
            network.collect(world, conf)
        for att, left in state.abandoned(world, valid):
            self.drop(world, [Owned(att.key, network.item(left, att))])


KIND = FlannelNetworkKind()


class FlannelNetwork(Network):
    """The interface and all that belongs to it."""

    __slots__ = ()
    kind = KIND
