"""A pair of virtual Ethernet ends: one in the container, the other on the node, as a port of a bridge or by itself."""

from __future__ import annotations

from cni_plugins.kernel.rtnl import NetlinkError
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.protocol.attachment import key_of_mark, mac_of, network_key
from cni_plugins.protocol.errors import Conflict, InvalidEnvironment, KernelRefused, UnknownContainer
from cni_plugins.protocol.result import Interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni_plugins.kernel.netlink import Link
    from cni_plugins.plan.resource import Item
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

_EEXIST = 17


class VethKind(Kind):
    """Pairs by the host end's derived name and its alias, or by the container end's name in the container."""

    name = "veth"
    bulk = True

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Delete the host ends that carry their owner's mark, in one request, then container ends that were found there."""
        indexes = []
        for one in owned:
            link = world.host.link(name=one.item["name"]) if "name" in one.item else None
            if link is not None and _is_mine(link, one.key):
                indexes.append(link.index)
        world.handles.delete_links(indexes)
        for one in owned:
            if "inside" in one.item:
                self._drop_inside(world, one)

    def _drop_inside(self, world: World, one: Owned) -> None:
        try:
            netlink = world.sandbox(one.item["netns"]).netlink()
        except (UnknownContainer, InvalidEnvironment):
            return  # the namespace went meanwhile, and the pair with it
        link = netlink.link(name=one.item["inside"])
        if link is not None and link.kind == "veth":
            netlink.delete_link(link.index)

    def find(self, world: World, att: Attachment) -> list[Item]:
        """The host end by its name; else what the container calls CNI_IFNAME, unless it is another attachment's."""
        link = world.host.link(name=att.host_name)
        if link is not None and _is_mine(link, att.key):
            return [{"name": att.host_name}]
        key = _key_inside(world, att)
        return [{"inside": att.ifname, "netns": att.netns}] if key in (b"", att.key) else []

    def marked(self, world: World, network: str) -> Iterable[Owned]:
        """Every pair whose alias says that it is of this network."""
        prefix = network_key(network)
        for link in world.host.links(kind="veth"):
            key = key_of_mark(link.alias)
            if key is not None and key.startswith(prefix):
                yield Owned(key, {"kind": self.name, "name": link.name})

    def alive(self, world: World, item: Item) -> bool:
        """Whether the host end is there."""
        return "name" in item and world.host.link(name=item["name"]) is not None


KIND = VethKind()


class Pair:
    """The fact: both ends as the result lists them, and the host end's index (0 while it is only predicted)."""

    __slots__ = ("container", "host", "index")

    def __init__(self, host: Interface, container: Interface, index: int = 0) -> None:
        self.host = host
        self.container = container
        self.index = index


class Veth(Resource["Pair"]):
    """A pair whose host end is derived from the attachment. `master` names the bridge that it is a port of, empty for none;
    `mtu` in bytes, 0 leaves it to the kernel; `mac` is for the container's end, empty for a derived one.
    """

    __slots__ = ("hairpin", "isolated", "mac", "master", "mtu")
    kind = KIND

    def __init__(self, *, master: str = "", mtu: int = 0, mac: str = "", hairpin: bool = False, isolated: bool = False) -> None:
        self.master = master
        self.mtu = mtu
        self.mac = mac
        self.hairpin = hairpin
        self.isolated = isolated

    def record(self, world: World, att: Attachment) -> Item:
        """The host end's name."""
        return {"name": att.host_name}

    def refuse(self, world: World, att: Attachment) -> None:
        """The name must be free in the container, and the host end's name not somebody else's."""
        if world.inside(att).netlink().link(name=att.ifname) is not None:
            raise Conflict(f"CNI_IFNAME: {att.ifname!r} already exists in {att.netns}", "DEL it first, or use another CNI_IFNAME")
        link = world.host.link(name=att.host_name)
        if link is not None and not _is_mine(link, att.key):
            raise Conflict(f"a link named {att.host_name} already exists and is not this attachment's", f"its alias is {link.alias!r}")

    def predict(self, world: World, att: Attachment) -> Pair:
        """Names and addresses are all derived."""
        host = Interface(att.host_name, mac=att.mac("host"))
        return Pair(host, Interface(att.ifname, mac=self.mac or att.mac("container"), sandbox=att.netns))

    def apply(self, world: World, att: Attachment) -> Pair:
        """Create both ends where they belong, in one request. An end of ours that a killed ADD left is replaced."""
        pair = self.predict(world, att)
        try:
            link = self._create(world, att, pair)
        except NetlinkError as error:
            left = world.host.link(name=att.host_name)
            if error.errno != _EEXIST or left is None or not _is_mine(left, att.key):
                raise KernelRefused(f"interface {att.ifname}: {error}") from None
            world.host.delete_link(left.index)
            link = self._create(world, att, pair)
        pair.index = link.index
        return pair

    def _create(self, world: World, att: Attachment, pair: Pair) -> Link:
        master = world.host.link(name=self.master) if self.master else None
        return world.host.add_veth(
            att.host_name,
            peer_name=att.ifname,
            peer_netns=world.inside(att).fd,
            mtu=self.mtu or None,
            mac=pair.host.mac,
            peer_mac=pair.container.mac,
            master=master.index if master else None,
            alias=att.mark,
            hairpin=self.hairpin if self.master else None,
            isolated=self.isolated if self.master else None,
        )

    def verify(self, world: World, att: Attachment) -> Pair:
        """Both ends are there, belong together and to the bridge, with the addresses and the size that ADD gave them.

        The host end is found through the container's, so that an attachment which the reference made can be checked too.
        """
        inside = world.inside(att).netlink().link(name=att.ifname)
        if inside is None:
            raise Drift(f"interface {att.ifname} is not in {att.netns}")
        if inside.kind != "veth":
            raise Drift(f"interface {att.ifname} is not one end of a veth pair but a {inside.kind or 'device'}")
        host = world.host.link(index=inside.peer_index) if inside.peer_index else None
        if host is None or host.kind != "veth":
            raise Drift(f"the host end of {att.ifname} is gone")
        pair = Pair(Interface(host.name, mac=host.mac), Interface(att.ifname, mac=inside.mac, sandbox=att.netns), host.index)
        problems = [*self._port_problems(world, host), *self._end_problems(world, att, inside, host)]
        if problems:
            raise Drift("; ".join(problems), pair)
        return pair

    def _port_problems(self, world: World, host: Link) -> Iterable[str]:
        if not host.up:
            yield f"{host.name} is down"
        if not self.master:
            return
        master = world.host.link(index=host.master) if host.master else None
        if master is None or master.name != self.master:
            yield f"{host.name} is not a port of bridge {self.master}" + (f", but of {master.name}" if master else "")
            return
        for key, wanted, present in (("hairpinMode", self.hairpin, host.hairpin), ("portIsolation", self.isolated, host.isolated)):
            if wanted and not present:
                yield f"{host.name} has lost {key}"

    def _end_problems(self, world: World, att: Attachment, inside: Link, host: Link) -> Iterable[str]:
        known = world.prev.interfaces if world.prev else []
        for one in known:
            link = inside if one.sandbox and one.name == att.ifname else host if one.name == host.name and not one.sandbox else None
            if link is not None and one.mac and one.mac.lower() != link.mac:
                yield f"{link.name} has the address {link.mac}, not {one.mac}"
        for link in (inside, host):
            if self.mtu and link.mtu != self.mtu:
                yield f"{link.name} has an mtu of {link.mtu}, not {self.mtu}"


def _is_mine(link: Link, key: bytes) -> bool:
    """Whether a link with a derived name is this attachment's. A killed ADD may not have set the alias: then its derived MAC tells."""
    if link.kind != "veth":
        return False
    return key_of_mark(link.alias) == key or (not link.alias and link.mac == mac_of(key, "host"))


def _key_inside(world: World, att: Attachment) -> bytes | None:
    """Whose pair the container's CNI_IFNAME is: the key in its host end's mark, empty for one without; None when there is no pair."""
    if not att.netns:
        return None
    try:
        link = world.inside(att).netlink().link(name=att.ifname)
    except (UnknownContainer, InvalidEnvironment):
        return None
    if link is None or link.kind != "veth":
        return None
    host = world.host.link(index=link.peer_index) if link.peer_index else None
    return (key_of_mark(host.alias) if host else None) or b""
