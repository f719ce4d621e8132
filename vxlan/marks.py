"""How what an overlay makes on a node is recognised again: links by their alias, routes by their protocol number.

cni-plugins:overlay:5d41402abc4b2a76 plugin pods     the network's key, who made it, the network's name
"""

from __future__ import annotations

from cni_plugins.plan.locks import AttachmentLock
from cni_plugins.protocol.attachment import MARK, network_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.world import World

PROTOCOL = 110
"""The protocol number of our routes (rtnetlink(7), rtm_protocol): one that nobody has asked iproute2 for."""
PLUGIN, AGENT = "plugin", "agent"
_PREFIX = f"{MARK}overlay:"
_ALIAS_MAX = 255
_DRAFT_DIGITS = 10


def mark_of(network: str, maker: str) -> str:
    """The alias of the links of a network's overlay; `maker` is PLUGIN or AGENT: the plugin removes only what it has made."""
    return f"{_PREFIX}{network_key(network).hex()} {maker} {network}".encode()[:_ALIAS_MAX].decode("utf-8", "ignore")


def read_mark(alias: str) -> tuple[bytes, str] | None:
    """The network's key and the maker in a link's alias; None when the link is no overlay's."""
    if not alias.startswith(_PREFIX):
        return None
    key, _, rest = alias[len(_PREFIX) :].partition(" ")
    try:
        return bytes.fromhex(key), rest.partition(" ")[0]
    except ValueError:
        return None


def is_of(alias: str, network: str) -> bool:
    """Whether an alias is that of this network's overlay, whoever made it."""
    found = read_mark(alias)
    return found is not None and found[0] == network_key(network)


def draft_name(key: bytes, what: str) -> str:
    """What a link of a network (its 8-byte `key`) is called while it is made; `what` is "br", "4" or "6".

    The kernel takes no alias while it makes a link: so it is made under this name, and gets its own together with the mark, in one
    request. Whatever is killed in between leaves something that is known for ours.
    """
    return f"vx{what}-{key.hex()[:_DRAFT_DIGITS]}"


def drafts(key: bytes) -> tuple[str, ...]:
    """All names that a network's links may have while they are made."""
    return tuple(draft_name(key, what) for what in ("br", "4", "6"))


def overlay_lock(world: World, key: bytes) -> AttachmentLock:
    """What is done to the overlay of a network (its 8-byte `key`) on this node is done by one call at a time."""
    return AttachmentLock(world.run_dir, "overlay", key)
