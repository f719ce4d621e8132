"""Masquerading what leaves a network: a source address leads to a verdict of its network, which leaves the network's own
traffic and multicast alone. A pod costs an element in a map; chains and rules do not grow with pods.

    map masquerade4 { 10.1.0.5 : goto to-10.1.0.0/16 }
    chain to-10.1.0.0/16 { ip daddr { 10.1.0.0/16, 224.0.0.0/4 } return; masquerade }

Both of the reference's back ends lead here: what a packet meets is the same.
"""

from __future__ import annotations

from cni_plugins.plan.kinds.nftable import TABLE, Claim, OwnedMap, refill
from cni_plugins.plan.liveness import owner_is_dead
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.protocol.attachment import network_key
from cni_plugins.protocol.errors import InvalidEnvironment, NotReady, UnknownContainer
from cni_plugins.protocol.ip import parse_either

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from cni_plugins.plan.resource import Item, Recorded, Valid
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.ip import Cidr

_WORD = {4: ("ip", "ipv4_addr", "224.0.0.0/4"), 6: ("ip6", "ipv6_addr", "ff00::/8")}
_PRIORITY = 101  # after the chains at srcnat (100): of equal priorities the last one registered would win


def _setup() -> str:
    lines = [f"add table {TABLE}", f"add chain {TABLE} postrouting {{ type nat hook postrouting priority {_PRIORITY}; }}"]
    lines.append(f"flush chain {TABLE} postrouting")
    for family, (word, addresses, _) in _WORD.items():
        lines += [
            f"add map {TABLE} masquerade{family} {{ type {addresses} : verdict; }}",
            f"add set {TABLE} masquerade{family}_owner {{ type ipv6_addr . {addresses}; }}",
            f"add rule {TABLE} postrouting {word} saddr vmap @masquerade{family}",
        ]
    return "\n".join(lines) + "\n"


_MAPS = {family: OwnedMap(TABLE, f"masquerade{family}", types=addresses, setup=_setup) for family, (_, addresses, _) in _WORD.items()}


class MasqueradeKind(Kind):
    """Elements by their owner sets; and what the reference plugins leave for an attachment in iptables or in their own table."""

    name = "masquerade"

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Take out the elements that are their owner's, and the reference's rules that were found."""
        for one in owned:
            for address in one.item.get("addresses", ()):
                bare = parse_either(address).address
                _MAPS[parse_either(address).family].delete(world.nft, one.key, bare)
            if "legacy" in one.item:
                _legacy().drop(world.nft, one.item["legacy"])

    def find(self, world: World, att: Attachment) -> list[Item]:
        """Addresses that our owner sets, prevResult or the container's interface name; the reference's chains by their computed names.

        Whatever the configuration says now: it may have been another one at the time of ADD.
        """
        if not world.nft.installed():
            return []
        ours = {key for owned in _MAPS.values() for owner, key in owned.owners(world.nft) if owner == att.key}
        addresses = sorted({*ours, *_prev_addresses(world), *_live_addresses(world, att)})
        items: list[Item] = [{"addresses": addresses}] if addresses else []
        left = _legacy().find(world.nft, att, addresses)
        return items + ([{"legacy": left}] if left else [])

    def collect(self, world: World, valid: Valid) -> None:
        """Remove the reference's stale rules, in the form of its that names the network."""
        if valid is not None and world.nft.installed():
            left = _legacy().stale(world.nft, world.conf.name, valid)
            if left:
                _legacy().drop(world.nft, left)

    def lost(self, world: World) -> bool:
        """Whether our chain is gone."""
        return world.nft.installed() and not world.nft.has_chain(f"{TABLE} postrouting")

    def restore(self, world: World, recorded: Recorded) -> set[bytes]:
        """The elements of the addresses that the records have, and their networks' chains."""
        wanted = [(att, parse_either(address)) for att, item in recorded for address in item.get("addresses", ())]
        claims = [(att, Claim(_MAPS[cidr.family], cidr.address, f"goto {_chain(cidr)}")) for att, cidr in wanted]
        prepare = [_chain_setup(cidr, _chain(cidr)) for _, cidr in wanted]
        return refill(world.nft, claims, prepare=prepare, dead=lambda owner: owner_is_dead(world, owner))

    def marked(self, world: World, network: str) -> Iterable[Owned]:
        """Every element whose owner is of this network."""
        if not world.nft.installed():
            return
        for family in _WORD:
            for owner, address in _MAPS[family].owners(world.nft):
                if owner.startswith(network_key(network)):
                    yield Owned(owner, {"kind": self.name, "addresses": [address]})


KIND = MasqueradeKind()


class Masquerade(Resource["None"]):
    """Masquerading of `addresses` (with their networks' prefixes) towards everything but their own networks and multicast."""

    __slots__ = ("addresses",)
    kind = KIND

    def __init__(self, addresses: list[Cidr]) -> None:
        self.addresses = addresses

    def record(self, world: World, att: Attachment) -> Item:
        """The addresses, with the prefixes of their networks: what `restore` needs."""
        return {"addresses": [str(cidr) for cidr in self.addresses]}

    def refuse(self, world: World, att: Attachment) -> None:
        """nftables must be usable."""
        for cidr in self.addresses:
            _MAPS[cidr.family].require(world.nft, "ipMasq")

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """An element for each address; a network's first also makes its chain."""
        _masquerade(world, att, self.addresses)

    def verify(self, world: World, att: Attachment) -> None:
        """Each element is there and ours, or the reference's rules are, if they made the attachment."""
        lost = [cidr.address for cidr in self.addresses if not _MAPS[cidr.family].holds(world.nft, att.key, cidr.address)]
        if lost and not _legacy().find(world.nft, att):
            raise Drift(f"{', '.join(lost)} is not masqueraded any more")

    def ready(self, world: World) -> None:
        """libnftables must be installed, and the kernel have nftables."""
        reason = world.nft.available()
        if reason is not None:
            raise NotReady(f"ipMasq: {reason}")


def _masquerade(world: World, att: Attachment, addresses: list[Cidr]) -> None:
    def dead(owner: bytes) -> bool:
        return owner_is_dead(world, owner)

    for cidr in addresses:
        chain = _chain(cidr)
        _MAPS[cidr.family].create(world.nft, att, key=cidr.address, data=f"goto {chain}", prepare=_chain_setup(cidr, chain), dead=dead)


def _chain(cidr: Cidr) -> str:
    return "to-" + str(cidr.network).replace(":", "-")


def _chain_setup(cidr: Cidr, chain: str) -> str:
    word, _, multicast = _WORD[cidr.family]
    return (
        f"add chain {TABLE} {chain}\n"
        f"flush chain {TABLE} {chain}\n"
        f"add rule {TABLE} {chain} {word} daddr {{ {cidr.network}, {multicast} }} return\n"
        f"add rule {TABLE} {chain} masquerade\n"
    )


def _prev_addresses(world: World) -> Iterable[str]:
    return [ip.address.address for ip in world.prev.ips] if world.prev else []


def _live_addresses(world: World, att: Attachment) -> Iterable[str]:
    if not att.netns:
        return []
    try:
        netlink = world.inside(att).netlink()
    except (UnknownContainer, InvalidEnvironment):
        return []
    link = netlink.link(name=att.ifname)
    return [one.cidr.address for one in netlink.addresses(link.index)] if link else []


def _legacy() -> ModuleType:
    """What the reference leaves: an ADD, and a DEL of what we made ourselves, need not load it."""
    from cni_plugins.legacy import masquerade

    return masquerade
