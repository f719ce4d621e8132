"""The addresses of containers on an overlay: host-local's, from this node's subnet. The configuration has no `ipam`, or only what is to
be different of it; host-local is handed one that is complete.
"""

from __future__ import annotations

from cni_plugins.model.base import folded
from cni_plugins.model.frozen import dump_json, parse_json
from cni_plugins.plan.kinds import lease
from cni_plugins.plan.world import World
from vxlan.conf import HOST_LOCAL, VxlanConf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cni_plugins.plan.resource import Item, Valid
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.result import Result
    from vxlan.conf import Half

_EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


class SubnetLeaseKind(lease.LeaseKind):
    """As all leases, with the `ipam` that the configuration stands for."""

    def find(self, world: World, att: Attachment) -> list[Item]:
        """host-local may hold a lease."""
        return super().find(_told(world), att)

    def collect(self, world: World, valid: Valid) -> None:
        """Hand the runtime's list on to host-local."""
        super().collect(_told(world), valid)


KIND = SubnetLeaseKind()


class SubnetLease(lease.Lease):
    """An address from this node's subnet in each of an overlay's `halves`, and the routes that go with them."""

    __slots__ = ("halves",)
    kind = KIND

    def __init__(self, halves: list[Half]) -> None:
        super().__init__(HOST_LOCAL)
        self.halves = halves

    def refuse(self, world: World, att: Attachment) -> None:
        """host-local must be there and accept its configuration."""
        super().refuse(_told(world, self.halves), att)

    def predict(self, world: World, att: Attachment) -> Result:
        """What it would give."""
        return super().predict(_told(world, self.halves), att)

    def apply(self, world: World, att: Attachment) -> Result:
        """Its ADD."""
        return super().apply(_told(world, self.halves), att)

    def verify(self, world: World, att: Attachment) -> Result:
        """Its CHECK."""
        return super().verify(_told(world, self.halves), att)

    def ready(self, world: World) -> None:
        """Its STATUS."""
        super().ready(_told(world, self.halves))

    def record(self, world: World, att: Attachment) -> Item:
        """The bytes that it gets."""
        return super().record(_told(world, self.halves), att)


def _told(world: World, halves: Sequence[Half] = ()) -> World:
    """The same call, with the configuration that host-local is to see."""
    request = world.request.for_delegate(world.request.plugin, dump_json(_with_ipam(world, halves)))
    request.args = world.request.args
    return World(world.handles, request, world.conf, world.prev)


def _with_ipam(world: World, halves: Sequence[Half]) -> dict[str, Any]:
    data: dict[str, Any] = parse_json(world.request.stdin)
    conf = world.conf
    ipam = {"type": HOST_LOCAL, **(conf.ipam or {})}
    if isinstance(conf, VxlanConf):
        given = folded(ipam, "ranges") or folded(ipam, "subnet")
        if not given:
            ipam["ranges"] = [[{"subnet": str(half.subnet)}] for half in halves]
        if folded(ipam, "routes") is None:
            ipam["routes"] = [{"dst": _destination(conf, half.network.family, str(half.network))} for half in halves]
    return {**{key: value for key, value in data.items() if key.lower() != "ipam"}, "ipam": ipam}


def _destination(conf: VxlanConf, family: int, network: str) -> str:
    return _EVERYWHERE[family] if conf.isDefaultGateway else network
