"""Whether the attachment that something belongs to is still there: what a dead one owned is replaced, never obeyed."""

from __future__ import annotations

from cni_plugins.plan import records
from cni_plugins.protocol.attachment import host_name_of, key_of_mark
from cni_plugins.protocol.errors import InvalidEnvironment, UnknownContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.records import Record
    from cni_plugins.plan.world import World


def owner_is_dead(world: World, owner: bytes) -> bool:
    """Whether nothing is left of the attachment with the 16-byte key `owner`.

    A link of ours proves its life. Where another plugin made the link, the records of those chained to it name its interface.
    """
    link = world.host.link(name=host_name_of(owner))
    if link is not None and key_of_mark(link.alias) == owner:
        return False
    return not any(_interface_is_there(world, record) for record in records.of_owner(world.run_dir, owner))


def with_links(world: World) -> set[bytes]:
    """The keys of all attachments that a link of ours proves to be alive, by one look at all links."""
    return {key for link in world.host.links() if (key := key_of_mark(link.alias)) is not None}


def _interface_is_there(world: World, record: Record) -> bool:
    if not record.att.netns or any(item.get("kind") == "veth" for item in record.items):
        return False  # a record of a pair of ours says nothing that its mark did not say
    try:
        return world.sandbox(record.att.netns).netlink().link(name=record.att.ifname) is not None
    except (UnknownContainer, InvalidEnvironment):
        return False
