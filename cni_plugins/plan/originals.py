"""What was there before an attachment was tuned, and whether that which it was taken from is still the same thing.

A second tuning of one attachment (a list may hold two) finds what the first one set: what that one found is the original.
"""

from __future__ import annotations

from errno import EINVAL, ENODEV, EOPNOTSUPP, ERANGE

from cni_plugins.plan import records
from cni_plugins.protocol.errors import InvalidEnvironment, UnknownContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_plugins.kernel.netns import Netns
    from cni_plugins.plan.resource import Item, Kind
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment


LOST = (EINVAL, ENODEV, EOPNOTSUPP, ERANGE)
"""What the kernel says of an old value that cannot be had any more, however often one asks: that must keep no container."""


def item_of(world: World, att: Attachment, kind: Kind, before: dict[str, Any], **keys: Any) -> Item:
    """The item of a record: where the attachment is (path and cookie), what was there `before` anybody tuned it, and `keys`.

    Values of an earlier item go before these where the `keys` say that it is about the same thing.
    """
    from cni_plugins.kernel.tunables import cookie

    place = {"netns": att.netns, "cookie": cookie(world.inside(att)), **keys}
    for item in records.load(world.run_dir, world.request.plugin, att).items:
        if item.get("kind") == kind.name and all(item.get(key) == value for key, value in place.items()):
            before = before | item["before"]
    return {**place, "before": before}


def place_of(world: World, item: Item) -> Netns | None:
    """The network namespace that an item speaks of; None when it has gone, whatever has its path now.

    Raises InvalidEnvironment when it could not be opened: it may be there.
    """
    from cni_plugins.kernel.tunables import cookie

    try:
        netns = world.sandbox(item["netns"])
    except UnknownContainer:
        return None
    except InvalidEnvironment as error:
        if isinstance(error.__context__, OSError):
            raise
        return None
    return netns if "cookie" not in item or cookie(netns) == item["cookie"] else None
