"""What the attachments of a network share on this node, and who still needs it: bridge, VXLAN devices, routes, masquerading.

Each attachment leaves a small file beside the records, `<run>/overlays/<key>.<digest>`, before it uses anything of it, and takes it
away at its end; who finds none of the network's left removes everything that bears the network's mark. Both is done under the
network's lock, so that nothing is removed that another call is about to use. The digest tells what the file speaks of: networks that no
other attachment needs any more go with the last that did, when a configuration was changed meanwhile.
"""

from __future__ import annotations

from _blake2 import blake2b

from cni_plugins.kernel import files, vxlan
from cni_plugins.model.frozen import dump_json, parse_json
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.protocol.attachment import Attachment, network_key
from cni_plugins.protocol.errors import CniError, KernelRefused, NotReady
from cni_plugins.protocol.ip import parse_cidr
from vxlan import forwarding
from vxlan.forwarding import Forwarded
from vxlan.marks import PLUGIN, drafts, overlay_lock, read_mark
from vxlan.nat import Translation, chains_are_there, marked
from vxlan.peers import delete_routes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni_plugins.kernel.netlink import Link
    from cni_plugins.kernel.vxlan import Vxlan
    from cni_plugins.plan.resource import Item, Recorded, Valid
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.ip import Cidr

_KEY_DIGITS = 32
_PARTS = ("accepted", "masqueraded", "networks")


class OverlayKind(Kind):
    """Users of overlays by their files; what the users of a network share, by its mark, when the last of them has gone."""

    name = "overlay"

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Take away the users' files, and what nobody needs any more."""
        for one in owned:
            with overlay_lock(world, one.key[:8]):
                leave(world, one.key, one.item)

    def find(self, world: World, att: Attachment) -> list[Item]:
        """Whatever its file says; without one it may be the one that was killed while it removed the last."""
        return [_read(world, name) for name in _users(world, att.key)] or [{}]

    def marked(self, world: World, network: str) -> Iterable[Owned]:
        """Every attachment of this network that has a file; the agent is none, and no GC may take it for one."""
        for name in _attachments(_users(world, network_key(network))):
            yield Owned(bytes.fromhex(name[:_KEY_DIGITS]), {"kind": self.name, **_read(world, name)})

    def collect(self, world: World, valid: Valid) -> None:
        """Finish a removal that was killed."""
        key = network_key(world.conf.name)
        if valid is not None:
            with overlay_lock(world, key):
                if not _attachments(_users(world, key)):
                    _dismantle(world, key)
                    _sweep(world, key)

    def lost(self, world: World) -> bool:
        """Whether a chain of ours is gone, or the rules by which iptables accepts what is forwarded."""
        return world.nft.installed() and (not chains_are_there(world.nft) or forwarding.flushed(world))

    def lost_unheard(self, world: World) -> bool:
        """Whether these rules are gone from where iptables keeps them outside of nftables."""
        return forwarding.flushed_unheard(world)

    def restore(self, world: World, recorded: Recorded) -> set[bytes]:
        """The overlays' elements in the sets of networks, once for all attachments that say the same."""
        lacking = set()
        for network, item in {(att.network, dump_json(item)): (att.network, item) for att, item in recorded}.values():
            translation = _translation(item)
            with overlay_lock(world, network_key(network)):
                if translation.missing(world.nft, network) or self.lost(world):
                    lacking.add(network)
                translation.put(world.nft, network)
            Forwarded((accepted.family for accepted in translation.accepted), ahead=False).apply(world, agent_of(network))
        return {att.key for att, _ in recorded if att.network in lacking}


KIND = OverlayKind()


class Share(Resource["None"]):
    """An attachment's part in what its network has on this node, of these `networks`; traffic from `masqueraded` subnets to outside of
    all overlays gets the node's own address, and what is forwarded from and to networks that are `accepted` passes. `follow` is what an
    agent needs to follow the list of peers, where that is in a file.
    """

    __slots__ = ("accepted", "follow", "masqueraded", "networks")
    kind = KIND

    def __init__(
        self, networks: list[Cidr], masqueraded: list[Cidr], accepted: list[Cidr] | None = None, *, follow: Item | None = None
    ) -> None:
        self.networks = networks
        self.masqueraded = masqueraded
        self.accepted = accepted or []
        self.follow = follow

    def record(self, world: World, att: Attachment) -> Item:
        """The networks, as they have to be taken out again, and whether nftables has them."""
        item: Item = {part: [str(one) for one in getattr(self, part)] for part in _PARTS}
        if self.follow is not None:
            item["follow"] = self.follow
        return {**item, "sets": world.nft.available() is None}

    def refuse(self, world: World, att: Attachment) -> None:
        """nftables must be usable where it is needed, and no other overlay may have an overlapping network."""
        self.ready(world)
        if world.nft.available() is None:
            self._translation.missing(world.nft, att.network)

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Become a user first: from now on nobody takes away what is there."""
        self.ready(world)
        with overlay_lock(world, network_key(att.network)):
            join(world, att.key, self.record(world, att))
            if world.nft.available() is None:
                self._translation.put(world.nft, att.network)

    def verify(self, world: World, att: Attachment) -> None:
        """The networks are in the sets."""
        if world.nft.available() is not None:
            if self.masqueraded:
                raise Drift(f"ipMasq: {world.nft.available()}")
            return
        try:
            absent = self._translation.missing(world.nft, att.network)
        except CniError as error:
            raise Drift(error.msg) from None
        if absent or not chains_are_there(world.nft):
            lost = ", ".join(dict.fromkeys(str(element) for _, element in absent)) or "everything"
            raise Drift(f"nftables: {lost} is not told from what is outside of the overlays any more")

    def ready(self, world: World) -> None:
        """Where it is to masquerade, libnftables must be installed, and the kernel have nftables."""
        reason = world.nft.available() if self.masqueraded else None
        if reason is not None:
            raise NotReady(f"ipMasq: {reason}")

    @property
    def _translation(self) -> Translation:
        return Translation(self.networks, self.masqueraded, self.accepted)


def agent_of(network: str) -> Attachment:
    """The agent's place among an overlay's users: no attachment, but like one."""
    return Attachment(network, "", "agent")


def join(world: World, key: bytes, item: Item) -> None:
    """Note a user of an overlay: an attachment's key, or the agent's."""
    files.make_dirs(_home(world), mode=0o700)
    files.write_atomic(f"{_home(world)}/{key.hex()}.{_digest(item)}", dump_json(item))


def leave(world: World, key: bytes, item: Item) -> None:
    """Strike a user off, and remove what nobody needs any more. Raises CniError or NetlinkError; it may be tried again."""
    for name in {*_users(world, key), f"{key.hex()}.{_digest(item)}"}:
        files.withdraw(f"{_home(world)}/{name}")
    others = _users(world, key[:8])
    if all(not name.endswith(f".{_digest(item)}") for name in others):
        _forget(world, key[:8], item, others)
    if not _attachments(others):
        _dismantle(world, key[:8])
    if not item.get("networks"):
        _sweep(world, key[:8])


def become(world: World, key: bytes, item: Item) -> None:
    """Be a user by this item alone: what an earlier one spoke of goes, where no other user speaks of it. Raises CniError."""
    with overlay_lock(world, key[:8]):
        present, wanted = _users(world, key), f"{key.hex()}.{_digest(item)}"
        if wanted not in present:
            join(world, key, item)
        for name in present:
            if name != wanted:
                earlier = _read(world, name)
                files.withdraw(f"{_home(world)}/{name}")
                _forget(world, key[:8], earlier, _users(world, key[:8]))


def clear(world: World, network: str, networks: list[Cidr]) -> bool:
    """Remove what was made for a network that has no attachments (any more), and say whether it has none.

    Raises CniError or NetlinkError.
    """
    key = network_key(network)
    with overlay_lock(world, key):
        if used(world, network):
            return False
        delete_routes(world, networks)
        _dismantle(world, key)
        return True


def used(world: World, network: str) -> bool:
    """Whether a network has attachments; who holds its lock knows that it stays so."""
    return bool(_attachments(_users(world, network_key(network))))


def items_of(world: World, key: bytes) -> list[Item]:
    """What a user's files say."""
    return [_read(world, name) for name in _users(world, key)]


def networks_of_agent(world: World) -> set[bytes]:
    """The keys of the networks that the agent is a user of."""
    ours = agent_of("").key[8:].hex()
    return {bytes.fromhex(name[:16]) for name in _users(world, b"") if name[16:_KEY_DIGITS] == ours}


def _attachments(names: list[str]) -> list[str]:
    """Those of users' files that are attachments'."""
    ours = agent_of("").key[8:].hex()
    return [name for name in names if name[16:_KEY_DIGITS] != ours]


def _forget(world: World, key: bytes, item: Item, others: list[str]) -> None:
    """Remove routes and elements of networks that `item` speaks of and the `others` do not."""
    kept = [_read(world, name) for name in {name.partition(".")[2]: name for name in others}.values()]
    alone = {part: [text for text in item.get(part, ()) if all(text not in one.get(part, ()) for one in kept)] for part in _PARTS}
    if alone["networks"]:
        delete_routes(world, map(parse_cidr, alone["networks"]))
    wholes = {str(whole) for whole in _translation(item).wholes} - {str(whole) for one in kept for whole in _translation(one).wholes}
    if wholes or any(alone.values()):
        reason = world.nft.available()
        if reason is None:
            _translation(alone, wholes).remove(world.nft, key)
        elif item.get("sets"):
            raise KernelRefused(f"the networks of the overlay cannot be taken out of nftables: {reason}")


def _dismantle(world: World, key: bytes) -> None:
    """Remove the links that the plugin made for a network that has no users; what is still in use stays, and so does an agent's."""
    bridges = [link.index for link in world.host.links(kind="bridge") if _is_plugins(link, key)]
    if any(world.host.links(master=index) for index in bridges):
        return
    devices = [device.index for device in vxlan.devices(world.host) if _is_plugins(device, key)]
    world.host.delete_links([*bridges, *devices])


def _sweep(world: World, key: bytes) -> None:
    """Remove routes and elements of a network that has no users, by the elements' mark: a user's file may have been unreadable."""
    if not _users(world, key) and world.nft.available() is None:
        left = marked(world.nft, key)
        delete_routes(world, left.networks)
        left.remove(world.nft, key)


def _is_plugins(link: Link | Vxlan, key: bytes) -> bool:
    return read_mark(link.alias) == (key, PLUGIN) or link.name in drafts(key)


def home(run_dir: str) -> str:
    """The directory of the users' files."""
    return f"{run_dir}/overlays"


def _home(world: World) -> str:
    return home(world.run_dir)


def _users(world: World, key: bytes) -> list[str]:
    """The names of the files of one user, or of all that share the network's part of the key."""
    return [name for name in files.names(_home(world)) if name.startswith(key.hex()) and name[_KEY_DIGITS : _KEY_DIGITS + 1] == "."]


def _read(world: World, name: str) -> Item:
    """What a user's file says; nothing when it cannot be read: then its networks go with the last user."""
    data = files.read(f"{_home(world)}/{name}")
    try:
        found = parse_json(data or b"")
        return {**{part: list(map(str, found.get(part, ()))) for part in _PARTS}, "sets": bool(found.get("sets"))}
    except (CniError, AttributeError, TypeError):
        return {}


def _digest(item: Item) -> str:
    return blake2b(dump_json([item.get(part, []) for part in _PARTS]), digest_size=4).hexdigest()


def _translation(item: Item, wholes: Iterable[str] | None = None) -> Translation:
    networks, masqueraded, accepted = (map(parse_cidr, item.get(part, ())) for part in ("networks", "masqueraded", "accepted"))
    return Translation(networks, masqueraded, accepted, wholes=None if wholes is None else map(parse_cidr, wholes))
