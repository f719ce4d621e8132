"""The container's own `lo`."""

from __future__ import annotations

from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.protocol.errors import Conflict, InvalidEnvironment, KernelRefused, UnknownContainer
from cni_plugins.protocol.result import Interface, Ip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.netlink import Link, Netlink
    from cni_plugins.plan.resource import Item
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

_NAME = "lo"
_NO_MAC = "00:00:00:00:00:00"


class LoopbackKind(Kind):
    """`lo` is put down again, as the reference does."""

    name = "loopback"
    repeatable = True

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Bring it down, unless it was up before we came, or the container has gone."""
        for one in owned:
            if one.item.get("was_up"):
                continue
            try:
                netlink = world.sandbox(one.item["netns"]).netlink()
            except (UnknownContainer, InvalidEnvironment):
                continue
            link = netlink.link(name=_NAME)
            if link is not None and link.up:
                netlink.set_link(link.index, up=False)

    def find(self, world: World, att: Attachment) -> list[Item]:
        """Every container has one."""
        return [{"netns": att.netns}] if att.netns else []


KIND = LoopbackKind()


class Loopback(Resource["tuple[Interface, list[Ip]]"]):
    """`lo` is up. The fact: how the result lists it, and its addresses."""

    __slots__ = ()
    kind = KIND

    def record(self, world: World, att: Attachment) -> Item:
        """Where it is, and whether it was up before."""
        return {"netns": att.netns, "was_up": _lo(_netlink(world, att)).up}

    def refuse(self, world: World, att: Attachment) -> None:
        """Addresses that are no loopback addresses have no business there."""
        _addresses(_netlink(world, att), _lo(_netlink(world, att)))

    def predict(self, world: World, att: Attachment) -> tuple[Interface, list[Ip]]:
        """Its addresses come when it is up."""
        return Interface(_NAME, mac=_NO_MAC, sandbox=att.netns), []

    def apply(self, world: World, att: Attachment) -> tuple[Interface, list[Ip]]:
        """Bring it up."""
        netlink = _netlink(world, att)
        link = _lo(netlink)
        netlink.set_link(link.index, up=True)
        return Interface(_NAME, mac=_NO_MAC, sandbox=att.netns), _addresses(netlink, link)

    def verify(self, world: World, att: Attachment) -> tuple[Interface, list[Ip]]:
        """It is up."""
        netlink = _netlink(world, att)
        link = _lo(netlink)
        if not link.up:
            raise Drift(f"{_NAME} is down")
        return Interface(_NAME, mac=_NO_MAC, sandbox=att.netns), _addresses(netlink, link)


def _netlink(world: World, att: Attachment) -> Netlink:
    return world.inside(att).netlink()


def _lo(netlink: Netlink) -> Link:
    link = netlink.link(name=_NAME)
    if link is None:
        raise KernelRefused(f"the container has no {_NAME}")
    return link


def _addresses(netlink: Netlink, link: Link) -> list[Ip]:
    """The first address of each family. Raises Conflict for one that is not a loopback address."""
    found: dict[int, Ip] = {}
    for address in netlink.addresses(link.index):
        cidr = address.cidr
        if not (cidr.value >> 24 == 127 if cidr.family == 4 else cidr.value == 1):
            raise Conflict(f"loopback interface found with non-loopback address {cidr.address}")
        found.setdefault(cidr.family, Ip(cidr, interface=0))
    return [found[family] for family in sorted(found)]
