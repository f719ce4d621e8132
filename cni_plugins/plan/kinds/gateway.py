"""The gateway's addresses on a bridge or on one of its VLANs, and forwarding: shared, so never dropped."""

from __future__ import annotations

from cni_plugins.kernel import sysctl
from cni_plugins.kernel.rtnl import NetlinkError
from cni_plugins.plan.resource import Drift, Resource
from cni_plugins.protocol.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.netlink import Link
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.ip import Cidr

_EEXIST = 17
_FORWARD = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


class GatewayAddresses(Resource["None"]):
    """`addresses` (with their networks' prefixes) on the link `name`.

    Beside them no other IPv4 address may be there, nor an IPv6 address of an overlapping network: one is refused, or replaced when
    `force` is set.
    """

    __slots__ = ("addresses", "force", "name")

    def __init__(self, name: str, addresses: list[Cidr], *, force: bool) -> None:
        self.name = name
        self.addresses = addresses
        self.force = force

    def refuse(self, world: World, att: Attachment) -> None:
        """An address in the way is refused now, as far as the addresses are known."""
        link = world.host.link(name=self.name)
        if link is not None:
            self._in_the_way(world, link)

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Add what is missing. The address is usable at once: nobody else can have it on a bridge of ours."""
        link = world.host.link(name=self.name)
        if link is None:
            raise Conflict(f"bridge: {self.name!r} was deleted while it was being set up")
        for old in self._in_the_way(world, link):
            world.host.delete_address(link.index, old)
        present = {address.cidr for address in world.host.addresses(link.index)}
        missing = [address for address in self.addresses if address not in present]
        if missing:
            # Set to what it is, so that the kernel keeps it: else it takes the lowest of its ports' as they come and go.
            world.host.set_link(link.index, mac=link.mac)
        for address in missing:
            self._add(world, link.index, address)

    def verify(self, world: World, att: Attachment) -> None:
        """All of them are there."""
        link = world.host.link(name=self.name)
        present = {address.cidr for address in world.host.addresses(link.index)} if link else set()
        missing = [str(address) for address in self.addresses if address not in present]
        if missing:
            raise Drift(f"{self.name} lacks the gateway address {', '.join(missing)}")

    def _add(self, world: World, index: int, address: Cidr) -> None:
        try:
            world.host.add_address(index, address, nodad=address.family == 6)
        except NetlinkError as error:
            if error.errno != _EEXIST:
                raise

    def _in_the_way(self, world: World, link: Link) -> list[Cidr]:
        """Addresses that `force` allows to replace; without it the first of them is an error."""
        old = []
        for present in world.host.addresses(link.index):
            for wanted in self.addresses:
                if _clash(present.cidr, wanted) and present.cidr not in self.addresses:
                    if not self.force:
                        raise Conflict(
                            f"bridge: {self.name!r} already has an IP address different from {wanted}: {present.cidr}",
                            "set forceAddress to replace it, or give the network another bridge",
                        )
                    old.append(present.cidr)
                    break
        return old


class Forwarding(Resource["None"]):
    """The node forwards packets of these address families (4, 6)."""

    __slots__ = ("families",)

    def __init__(self, families: set[int]) -> None:
        self.families = families

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Switch it on where it is off. Nobody switches it off again: who else needs it cannot be known."""
        for family in sorted(self.families):
            sysctl.write(_FORWARD[family], "1")

    def verify(self, world: World, att: Attachment) -> None:
        """It is on."""
        off = [_FORWARD[family] for family in sorted(self.families) if sysctl.read(_FORWARD[family]) == "0"]
        if off:
            raise Drift(f"forwarding is off: {', '.join(off)} is 0")


def _clash(present: Cidr, wanted: Cidr) -> bool:
    if present.family != wanted.family:
        return False
    return present.family == 4 or present.overlaps(wanted)
