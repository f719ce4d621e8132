"""The addresses of an attachment, from an IPAM plugin that the configuration names. A lease is taken before anything else is
made, and given back when everything else is gone.
"""

from __future__ import annotations

from cni_plugins.plan.kinds import delegate
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.protocol.errors import CniError, InvalidConfig
from cni_plugins.protocol.result import Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.resource import Item, Valid
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.request import Request

_FIELD = "ipam.type"
_OURS = ("MAC",)
"""Keys of CNI_ARGS that the interface plugins read: an IPAM plugin would stumble over them."""


class LeaseKind(Kind):
    """Leases by their delegate's DEL, with the configuration that its ADD got, and the prevResult that came with our own DEL."""

    name = "lease"
    parent = True

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Call the delegate's DEL for each."""
        for one in owned:
            item = one.item
            container_id, ifname, netns = item["attachment"]
            request = world.request.for_delegate(
                item["type"],
                delegate.with_prev_result(item["conf"].encode("utf-8", "surrogatepass"), world.conf.prevResult),
                without=_OURS,
                CNI_COMMAND="DEL",
                CNI_CONTAINERID=container_id,
                CNI_IFNAME=ifname,
                CNI_NETNS=netns,
            )
            delegate.find(world, item["type"], field=_FIELD).call(world, request)

    def find(self, world: World, att: Attachment) -> list[Item]:
        """The delegate that the configuration names may hold a lease: after a reboot nothing else tells."""
        ipam = world.conf.ipam_type
        return [_item(world, att, ipam)] if ipam else []

    def collect(self, world: World, valid: Valid) -> None:
        """Hand the runtime's list on to the delegate; one too old to know GC has nothing to collect."""
        ipam = world.conf.ipam_type
        if ipam:
            request = world.request.for_delegate(ipam, world.request.stdin, without=_OURS)
            delegate.find(world, ipam, field=_FIELD).call_newer(world, request)


KIND = LeaseKind()


class Lease(Resource["Result"]):
    """What the IPAM plugin `ipam` gives: the fact is its result (addresses, routes, DNS settings)."""

    __slots__ = ("atomic", "ipam")
    kind = KIND

    def __init__(self, ipam: str) -> None:
        self.ipam = ipam
        self.atomic = False

    def refuse(self, world: World, att: Attachment) -> None:
        """The delegate must be there, and if it is our own it must accept its configuration."""
        found = delegate.find(world, self.ipam, field=_FIELD)
        self.atomic = found.own

    def predict(self, world: World, att: Attachment) -> Result:
        """Ask a delegate of our own what it would give; a foreign one cannot be asked."""
        found = delegate.find(world, self.ipam, field=_FIELD)
        if not found.own:
            return Result()
        return found.call(world, self._request(world, "PREDICT")) or Result()

    def apply(self, world: World, att: Attachment) -> Result:
        """The delegate's ADD. One of our own undoes its own failure; a foreign one is sent a DEL by the undo (SPEC section 4)."""
        found = delegate.find(world, self.ipam, field=_FIELD)
        self.atomic = found.own
        result = found.call(world, self._request(world, "ADD")) or Result()
        if not result.ips:
            self.atomic = False  # it did succeed: whatever it holds has to be given back
            raise InvalidConfig(f"{_FIELD}: {self.ipam} gave no address")
        return result

    def verify(self, world: World, att: Attachment) -> Result:
        """The delegate's CHECK; the fact is what prevResult says, drift or not: other things are compared with that."""
        prev = world.prev or Result()
        mine = {index for index, one in enumerate(prev.interfaces) if one.name == att.ifname and one.sandbox}
        ips = [ip for ip in prev.ips if ip.interface is None or ip.interface in mine]
        fact = Result(ips=ips, routes=prev.routes, dns=prev.dns)
        try:
            delegate.find(world, self.ipam, field=_FIELD).call(world, self._request(world, "CHECK"))
        except CniError as error:
            raise Drift(f"lease: {error.msg}", fact) from None
        return fact

    def ready(self, world: World) -> None:
        """The delegate's STATUS."""
        delegate.find(world, self.ipam, field=_FIELD).call(world, self._request(world, "STATUS"))

    def record(self, world: World, att: Attachment) -> Item:
        """The delegate and the exact bytes that it gets."""
        return _item(world, att, self.ipam)

    def _request(self, world: World, command: str) -> Request:
        return world.request.for_delegate(self.ipam, world.request.stdin, without=_OURS, CNI_COMMAND=command)


def _item(world: World, att: Attachment, ipam: str) -> Item:
    return {
        "type": ipam,
        "conf": world.request.stdin.decode("utf-8", "surrogatepass"),
        "attachment": [att.container_id, att.ifname, att.netns],
    }
