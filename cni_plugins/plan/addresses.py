"""Which addresses an attachment has, when no record tells."""

from __future__ import annotations

from cni_plugins.protocol.errors import InvalidEnvironment, UnknownContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

_LEASES = "/var/lib/cni/networks"
"""Where host-local keeps leases unless told otherwise; a chained plugin does not see what it was told."""


def known(world: World, att: Attachment) -> list[str]:
    """The addresses without prefixes: those in prevResult and on the container's interface, or else those that host-local leased."""
    found = {ip.address.address for ip in world.prev.ips} if world.prev else set()
    found |= _on_interface(world, att)
    return sorted(found or _leased(att))


def _on_interface(world: World, att: Attachment) -> set[str]:
    if not att.netns:
        return set()
    try:
        netlink = world.inside(att).netlink()
        link = netlink.link(name=att.ifname)
        return {one.cidr.address for one in netlink.addresses(link.index)} if link else set()
    except (InvalidEnvironment, UnknownContainer):
        return set()


def _leased(att: Attachment) -> set[str]:
    from cni_plugins.ipam.store import Store

    return {cidr.address for cidr in Store(_LEASES, att.network).held((att.container_id, att.ifname))}
