"""What the plugins before this one in the list made: chained plugins stand on it, and hand it on (SPEC section 3)."""

from __future__ import annotations

from cni_plugins.plan.resource import Resource
from cni_plugins.protocol.errors import InvalidConfig
from cni_plugins.protocol.result import Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment


class Previous(Resource["Result"]):
    """The result of the plugin before this one; an empty one where nothing was called yet (STATUS)."""

    __slots__ = ()

    def refuse(self, world: World, att: Attachment) -> None:
        """There must be one."""
        if world.prev is None:
            raise InvalidConfig(f"prevResult: missing: {world.request.plugin} works on what a plugin before it in the list made")

    def predict(self, world: World, att: Attachment) -> Result:
        """What prevResult says."""
        return world.prev or Result()

    def apply(self, world: World, att: Attachment) -> Result:
        """What prevResult says."""
        return self.predict(world, att)

    def verify(self, world: World, att: Attachment) -> Result:
        """What prevResult says."""
        return self.predict(world, att)
