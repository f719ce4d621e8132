"""Ports of the node that lead to a container's (`portMappings`): elements in maps (see hostports.py), owned like all in our table.

What the kernel remembers of UDP flows is forgotten when a mapping comes or goes: it would be obeyed before the mapping, for as long as
packets keep coming (containernetworking/plugins#1190).
"""

from __future__ import annotations

from cni_plugins.kernel import sysctl
from cni_plugins.kernel.elements import packed, present
from cni_plugins.plan.kinds.hostports import HOOKS, MAPS, UDP, Mapping, Profile, from_element, from_item, profile_from_item
from cni_plugins.plan.kinds.nftable import TABLE, claim, refill, release, rivals
from cni_plugins.plan.liveness import owner_is_dead
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.protocol.attachment import network_key
from cni_plugins.protocol.errors import InvalidEnvironment, NotReady, UnknownContainer
from cni_plugins.protocol.ip import parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

    from cni_plugins.plan.resource import Item, Recorded, Valid
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.ip import Cidr

_ROUTE_LOCALNET = "net/ipv4/conf/{}/route_localnet"
_NOWHERE = {4: "0.0.0.0 . 0", 6: ":: . 0"}
"""In the place of what an element held that somebody took away, but not its owner's entry."""


class PortMapKind(Kind):
    """Elements by their owner sets; and the reference's chains and rules for an attachment."""

    name = "portmap"

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Take out the elements that are their owner's, all in one transaction, and the reference's rules that were found."""
        for one in owned:
            mappings = [from_item(mapping) for mapping in one.item.get("ports", ())]
            release(world.nft, one.key, [(mapping.map, mapping.key) for mapping in mappings])
            _forget(world, mappings, of_containers=True)
            if "legacy" in one.item:
                _legacy().drop(world.nft, one.item["legacy"])

    def find(self, world: World, att: Attachment) -> list[Item]:
        """The elements of this owner, and the reference's chains by their computed names."""
        if not world.nft.installed():
            return []
        from cni_plugins.plan.addresses import known

        items = [one.item for one in _owned(world, att.key)]
        left = _legacy().find(world.nft, att, known(world, att))
        return items + ([{"legacy": left}] if left else [])

    def marked(self, world: World, network: str) -> Iterable[Owned]:
        """Every element whose owner is of this network."""
        return _owned(world, network_key(network)) if world.nft.installed() else ()

    def collect(self, world: World, valid: Valid) -> None:
        """Remove the reference's stale chains, whose comments name their network and container."""
        if valid is not None and world.nft.installed():
            left = _legacy().stale(world.nft, world.conf.name, valid)
            if left:
                _legacy().drop(world.nft, left)

    def lost(self, world: World) -> bool:
        """Whether a chain of ours is gone."""
        return world.nft.installed() and not all(world.nft.has_chain(f"{TABLE} {chain}") for chain in HOOKS)

    def restore(self, world: World, recorded: Recorded) -> set[bytes]:
        """The elements that the records have, and their chains."""
        wanted = [(att, profile_from_item(item), from_item(port)) for att, item in recorded for port in item.get("ports", ())]
        chains = {profile.chain(mapping): (profile, mapping) for _, profile, mapping in wanted}
        prepare = [profile.commands([mapping]) for profile, mapping in chains.values()]
        return refill(world.nft, [(att, profile.claim(mapping)) for att, profile, mapping in wanted], prepare=prepare, dead=_dead(world))

    def alive(self, world: World, item: Item) -> bool:
        """Whether the container's interface is there."""
        path, ifname = item.get("interface", ("", ""))
        try:
            return bool(path) and world.sandbox(path).netlink().link(name=ifname) is not None
        except (UnknownContainer, InvalidEnvironment):
            return False


KIND = PortMapKind()


class PortMap(Resource["None"]):
    """Ports of the node lead to the container's, as the network's `profile` says."""

    __slots__ = ("mappings", "profile")
    kind = KIND

    def __init__(self, mappings: list[Mapping], profile: Profile) -> None:
        self.mappings = mappings
        self.profile = profile

    def record(self, world: World, att: Attachment) -> Item:
        """The ports, and how they are mapped: what `restore` needs."""
        ports = [mapping.to_item() for mapping in self.mappings]
        return {"interface": [att.netns, att.ifname], "ports": ports, **(self.profile.to_item() if ports else {})}

    def refuse(self, world: World, att: Attachment) -> None:
        """nftables must be usable, and no port anybody's who is alive."""
        if not self.mappings:
            return
        self.mappings[0].map.require(world.nft, "portMappings")
        if self._taken(world):
            rivals(world.nft, att, [self.profile.claim(mapping) for mapping in self.mappings], _dead(world))

    def _taken(self, world: World) -> bool:
        for owned in {mapping.map for mapping in self.mappings}:
            keys = [packed(owned.types, mapping.key) for mapping in self.mappings if mapping.map is owned]
            if present(world.nft.netfilter, TABLE, owned.name, keys=keys):
                return True
        return False

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """All elements in one transaction; a network's first also makes its chains. Then the kernel may forget who was asked before."""
        _map(world, att, self.mappings, self.profile)
        _forget(world, self.mappings, of_containers=False)

    def verify(self, world: World, att: Attachment) -> None:
        """Each element is there, ours, and leads where it did; or the reference's rules are there, if they made the attachment."""
        if not self.mappings:
            return
        lost = [mapping.map.shown(mapping.key) for mapping in self.mappings if not self._holds(world, att, mapping)]
        if lost and not _legacy().find(world.nft, att):
            raise Drift(f"portMappings: {', '.join(lost)} does not lead to the container any more")
        if not lost and KIND.lost(world):
            raise Drift("portMappings: a chain of nftables that they need is gone")

    def _holds(self, world: World, att: Attachment, mapping: Mapping) -> bool:
        owned, wanted = mapping.map, self.profile.claim(mapping).data
        if (att.key, mapping.key) not in owned.owners(world.nft):
            return False
        found = [owned.listed(world.nft, name).get(mapping.key) for name in (owned.name, *owned.beside)]
        return [" . ".join(one.data) if one else "" for one in found] == list(wanted)

    def ready(self, world: World) -> None:
        """libnftables must be installed, and the kernel have nftables."""
        reason = world.nft.available()
        if reason is not None:
            raise NotReady(f"portMappings: {reason}")


class RouteLocalnet(Resource["None"]):
    """What the node sends from 127.0.0.1 may be routed to the container at `address`, which is what `snat` masquerades then.

    The link that leads there is shared or dies with the container: nobody switches it off again.
    """

    __slots__ = ("address",)

    def __init__(self, address: Cidr) -> None:
        self.address = address

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Switch it on where it is off. Without a route to the container nothing could be sent anyhow."""
        name = self._link(world)
        if name:
            sysctl.write(_ROUTE_LOCALNET.format(name), "1")

    def verify(self, world: World, att: Attachment) -> None:
        """It is on."""
        name = self._link(world)
        if name and sysctl.read(_ROUTE_LOCALNET.format(name)) == "0":
            raise Drift(f"{_ROUTE_LOCALNET.format(name)} is 0: the ports do not answer on 127.0.0.1")

    def _link(self, world: World) -> str:
        from cni_plugins.kernel.destination import destination

        found = destination(world.host, self.address)
        link = world.host.link(index=found.index) if found and found.index and not found.local else None
        return link.name if link else ""


def _dead(world: World) -> Callable[[bytes], bool]:
    def dead(owner: bytes) -> bool:
        return owner_is_dead(world, owner)

    return dead


def _map(world: World, att: Attachment, mappings: list[Mapping], profile: Profile) -> None:
    if mappings:
        claims = [profile.claim(mapping) for mapping in mappings]
        claim(world.nft, att, claims, prepare=lambda: profile.commands(mappings), dead=_dead(world))


def _owned(world: World, start: bytes) -> Iterable[Owned]:
    """The elements of every owner whose key starts so, as its record would have them."""
    ports: dict[bytes, list[Mapping]] = {}
    for (family, _), owned in MAPS.items():
        mine = [(owner, key) for owner, key in owned.owners(world.nft) if owner.startswith(start)]
        elements = owned.listed(world.nft, owned.name) if mine else {}
        for owner, key in mine:
            target = " . ".join(elements[key].data) if key in elements else _NOWHERE[family]
            ports.setdefault(owner, []).append(from_element(owned, key, target))
    for owner, mappings in ports.items():
        yield Owned(owner, {"kind": KIND.name, "ports": [mapping.to_item() for mapping in mappings]})


def _forget(world: World, mappings: list[Mapping], *, of_containers: bool) -> None:
    """Forget the UDP flows that would go past these mappings, or (`of_containers`) those that still go where they led."""
    mapped = [mapping for mapping in mappings if mapping.protocol == UDP]
    if not mapped:
        return
    from cni_plugins.kernel import conntrack

    netfilter = world.nft.netfilter
    found = []
    for family in sorted({mapping.family for mapping in mapped}):
        found += conntrack.flows(netfilter, family, {mapping.host_port for mapping in mapped if mapping.family == family})
    meant = {
        flow.identity: flow
        for flow in found
        for mapping in mapped
        if (flow.family, flow.port) == (mapping.family, mapping.host_port)
        and (flow.answerer == mapping.address.address) == of_containers
        and (of_containers or _is_for(world, mapping, flow.to))
    }
    conntrack.forget(netfilter, list(meant.values()))


def _is_for(world: World, mapping: Mapping, address: str) -> bool:
    """Whether what was sent to an address is what the mapping is about."""
    if mapping.host:
        return mapping.host == address
    from cni_plugins.kernel.destination import destination

    found = destination(world.host, parse_address(address))
    return bool(found and found.local)


def _legacy() -> ModuleType:
    """What the reference leaves: an ADD, and a DEL of what we made ourselves, need not load it."""
    from cni_plugins.legacy import portmap

    return portmap
