"""Limits to what an interface receives and sends: a token bucket on the node's end of its pair, and one on an ifb.

What the container receives is what the node's end sends, and is limited there. What the container sends comes in at the node's end,
where nothing can be shaped: all of it is redirected to an intermediate device (ifb) of the attachment's own, and limited on that.

Marks: an ifb carries its owner in its alias, a token bucket in its handle.
"""

from __future__ import annotations

from cni_plugins.kernel.rtnl import NetlinkError
from cni_plugins.legacy import bandwidth as legacy
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.protocol.attachment import key_of_mark, mac_of, network_key
from cni_plugins.protocol.errors import Conflict, InvalidEnvironment, KernelRefused, UnknownContainer
from cni_plugins.protocol.result import Interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cni_plugins.kernel.netlink import Link, Netlink
    from cni_plugins.kernel.shaping import Bucket
    from cni_plugins.plan.resource import Item
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

_EEXIST = 17
_END = "ifb"
"""Which of an attachment's addresses its ifb has."""


class ShaperKind(Kind):
    """Token buckets by their handles, ifbs by their names and marks; and the reference's ifb for a container.

    An item has the node's end as `host` (index and name), the `handle` of its token bucket, and the names that the ifb may have.
    """

    name = "shaper"
    bulk = True

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Take the limits off the node's ends that are still there, then delete the ifbs, in one request."""
        indexes = []
        for one in owned:
            ifb = next((link for link in _links(world, one.item.get("ifb", ())) if _is_dropped(link, one)), None)
            _release(world, one.item, ifb.index if ifb else 0)
            if ifb is not None:
                indexes.append(ifb.index)
        world.handles.delete_links(indexes)

    def find(self, world: World, att: Attachment) -> list[Item]:
        """Our ifb, or the reference's unless it serves another interface of the container.

        Limits on a pair's end go with the pair: they are worth a look only where there is an ifb.
        """
        links = list(_links(world, _names(att)))
        ours = [link.name for link in links if _is_mine(link, att.key)]
        if ours:
            return [{"host": _host_end(world, att, _handle(att.key)), "handle": _handle(att.key), "ifb": ours}]
        foreign = [link for link in links if not link.alias and link.name == legacy.ifb_name(att.network, att.container_id)]
        if foreign and not _serves_another(world, att, foreign[0].index):
            return [{"host": _host_end(world, att, legacy.HANDLE), "handle": legacy.HANDLE, "ifb": [foreign[0].name], "legacy": True}]
        return []

    def marked(self, world: World, network: str) -> Iterable[Owned]:
        """Every ifb whose alias says that it is of this network."""
        prefix = network_key(network)
        for link in world.host.links(kind="ifb"):
            key = key_of_mark(link.alias)
            if key is not None and key.startswith(prefix):
                yield Owned(key, {"kind": self.name, "ifb": [link.name]})

    def alive(self, world: World, item: Item) -> bool:
        """Whether the node's end is there, and the token bucket or the ifb that the record speaks of."""
        from cni_plugins.plan.kinds import token_bucket

        host = _host_of(world, item)
        if host is None:
            return False
        if "handle" in item:
            return token_bucket.has_limit(world, host, item["handle"])
        return any(link.kind == "ifb" and key_of_mark(link.alias) is not None for link in _links(world, item["ifb"]))


KIND = ShaperKind()


class Receiving(Resource["None"]):
    """A limit to what the container receives. `below` names the discipline that sorts what waits, empty for the kernel's choice."""

    __slots__ = ("below", "bucket", "host")
    kind = KIND

    def __init__(self, host: Link, bucket: Bucket, *, below: str = "") -> None:
        self.host = host
        self.bucket = bucket
        self.below = below

    def record(self, world: World, att: Attachment) -> Item:
        """The node's end, and the handle."""
        return {"host": [self.host.index, self.host.name], "handle": _handle(att.key)}

    def refuse(self, world: World, att: Attachment) -> None:
        """Nobody else may shape that link."""
        from cni_plugins.kernel import shaping
        from cni_plugins.plan.kinds import token_bucket

        token_bucket.refuse_other(world, self.host, shaping.ROOT)

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """A token bucket on the node's end."""
        from cni_plugins.plan.kinds import token_bucket

        token_bucket.limit(world, self.host, self.bucket, handle=_handle(att.key), below=self.below)

    def verify(self, world: World, att: Attachment) -> None:
        """The token bucket is there, as it was made."""
        from cni_plugins.plan.kinds import token_bucket

        if self.host.index:
            _raise(list(token_bucket.problems(world, self.host, self.bucket, self.below)))

    def ready(self, world: World) -> None:
        """The kernel must have token buckets."""
        from cni_plugins.plan.kinds import token_bucket

        token_bucket.require("sch_tbf", *token_bucket.module_of(self.below))


class Sending(Resource["Interface"]):
    """A limit to what the container sends; the fact is the ifb. `below` as for `Receiving`."""

    __slots__ = ("below", "bucket", "host")
    kind = KIND

    def __init__(self, host: Link, bucket: Bucket, *, below: str = "") -> None:
        self.host = host
        self.bucket = bucket
        self.below = below

    def record(self, world: World, att: Attachment) -> Item:
        """The node's end, and both names that the ifb may come to have."""
        return {"host": [self.host.index, self.host.name], "ifb": list(_names(att))}

    def refuse(self, world: World, att: Attachment) -> None:
        """Nobody else may work on what that link receives, and a name must be free."""
        from cni_plugins.kernel import shaping
        from cni_plugins.plan.kinds import token_bucket

        token_bucket.refuse_other(world, self.host, shaping.INGRESS)
        taken = list(_links(world, _names(att)))
        if len(taken) == len(_names(att)) and not any(_is_mine(link, att.key) for link in taken):
            raise Conflict(f"links named {' and '.join(_names(att))} already exist and are not this attachment's")

    def predict(self, world: World, att: Attachment) -> Interface:
        """The first name that nobody else has, and the derived address."""
        others = {link.name for link in _links(world, _names(att)) if not _is_mine(link, att.key)}
        name = next((name for name in _names(att) if name not in others), "")
        return Interface(name, mac=att.mac(_END))

    def apply(self, world: World, att: Attachment) -> Interface:
        """An ifb with a token bucket, and then the redirection to it. One of ours that a killed ADD left is replaced."""
        from cni_plugins.kernel import shaping
        from cni_plugins.plan.kinds import token_bucket

        ifb = self._create(world, att)
        token_bucket.limit(world, ifb, self.bucket, handle=_handle(att.key), below=self.below)
        shaping.add_redirect(world.host, self.host.index, ifb.index)
        return Interface(ifb.name, mac=ifb.mac)

    def _create(self, world: World, att: Attachment) -> Link:
        from cni_plugins.kernel import shaping

        for name in _names(att):
            left = world.host.link(name=name)
            if left is not None and _is_mine(left, att.key):
                world.host.delete_link(left.index)
            elif left is not None:
                continue
            try:
                return shaping.add_ifb(world.host, name, mtu=self.host.mtu, mac=att.mac(_END), alias=att.mark)
            except NetlinkError as error:
                if error.errno != _EEXIST:
                    raise KernelRefused(f"egressRate: {error}", "the node's kernel must have ifb") from None
        raise Conflict(f"links named {' and '.join(_names(att))} already exist and are not this attachment's")

    def verify(self, world: World, att: Attachment) -> Interface:
        """Ifb, token bucket and redirection are there; also those that the reference made."""
        from cni_plugins.kernel import shaping
        from cni_plugins.plan.kinds import token_bucket

        ours = (link for link in _links(world, _names(att)) if _is_mine(link, att.key) or not link.alias)
        ifb = next(ours, None)
        if ifb is None:
            raise Drift(f"the ifb that limits what {att.ifname} sends is gone")
        problems = list(token_bucket.problems(world, ifb, self.bucket, self.below))
        if not ifb.up:
            problems.append(f"{ifb.name} is down")
        if self.host.index and ifb.index not in shaping.redirects(world.host, self.host.index):
            problems.append(f"what {self.host.name} receives is not redirected to {ifb.name} any more")
        _raise(problems, Interface(ifb.name, mac=ifb.mac))
        return Interface(ifb.name, mac=ifb.mac)

    def ready(self, world: World) -> None:
        """The kernel must have all that it takes."""
        from cni_plugins.plan.kinds import token_bucket

        token_bucket.require("ifb", "sch_tbf", "sch_ingress", "cls_u32", "act_mirred", *token_bucket.module_of(self.below))


def _names(att: Attachment) -> tuple[str, str]:
    """The reference's name, by which its DEL finds the ifb too; and one of the attachment's own, for a container's further interfaces."""
    return legacy.ifb_name(att.network, att.container_id), "bwp" + mac_of(att.key, _END).replace(":", "")


def _handle(key: bytes) -> int:
    """The handle of an attachment's token buckets; the kernel hands out those above by itself."""
    return (int.from_bytes(key[8:10], "big") & 0x7FFF or 1) << 16


def _links(world: World, names: Iterable[str]) -> Iterator[Link]:
    for name in names:
        link = world.host.link(name=name)
        if link is not None:
            yield link


def _is_mine(link: Link, key: bytes) -> bool:
    """Whether an ifb is this attachment's. A killed ADD may not have set the alias: then its derived MAC tells."""
    if link.kind != "ifb":
        return False
    return key_of_mark(link.alias) == key or (not link.alias and link.mac == mac_of(key, _END))


def _is_dropped(link: Link, one: Owned) -> bool:
    return _is_mine(link, one.key) or ("legacy" in one.item and link.kind == "ifb" and not link.alias)


def _host_of(world: World, item: Item) -> Link | None:
    index, name = item.get("host") or (0, "")
    link = world.host.link(index=index) if index else None
    return link if link is not None and link.name == name else None


def _host_end(world: World, att: Attachment, handle: int) -> list[object] | None:
    """Index and name of the node's end, found through the container's, or else as one in prevResult that has our limit; None if gone."""
    from cni_plugins.plan.kinds import token_bucket

    netlink = _inside(world, att)
    inside = netlink.link(name=att.ifname) if netlink else None
    host = world.host.link(index=inside.peer_index) if inside is not None and inside.peer_index else None
    if host is None and world.prev is not None:
        listed = _links(world, [one.name for one in world.prev.interfaces if not one.sandbox])
        host = next((link for link in listed if link.kind == "veth" and token_bucket.has_limit(world, link, handle)), None)
    return [host.index, host.name] if host is not None and host.kind == "veth" else None


def _inside(world: World, att: Attachment) -> Netlink | None:
    try:
        return world.inside(att).netlink() if att.netns else None
    except (UnknownContainer, InvalidEnvironment):
        return None


def _serves_another(world: World, att: Attachment, ifb: int) -> bool:
    inside = _inside(world, att)
    return inside is not None and legacy.serves_another(world.host, inside, att, ifb=ifb)


def _release(world: World, item: Item, ifb: int) -> None:
    """Take the limits off the node's end: the token bucket with the owner's handle, and what redirects to its ifb alone."""
    host = _host_of(world, item)
    if host is None:
        return
    from cni_plugins.kernel import shaping

    if "handle" in item:
        shaping.delete_qdisc(world.host, host.index, "tbf", parent=shaping.ROOT, handle=item["handle"])
    if "ifb" in item and set(shaping.redirects(world.host, host.index)) <= {0, ifb}:
        shaping.delete_qdisc(world.host, host.index, "ingress", parent=shaping.INGRESS, handle=shaping.INGRESS_HANDLE)


def _raise(problems: list[str], fact: object = None) -> None:
    if problems:
        raise Drift("; ".join(problems), fact)
