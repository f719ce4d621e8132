"""Letting a pod's forwarded packets through where somebody's forward chain drops: what it sends, what answers it, and what a port
mapping of this node sends to it. A pod costs an element for each address; chains and rules do not grow with pods.

    table inet cni_plugins
        set accepted4, accepted6         the addresses of pods
        chain accept_begin               before everybody's filter chains: marks their packets
        chain accept_end                 behind them: takes the mark away again
    table ip filter, ip6 filter          iptables: one rule accepts the mark (see filter_table.py)

What one table accepts another may still drop, so the acceptance must stand where the drop does. A node whose own nftables rules drop
can do the same as iptables: `meta mark and 0x1000 == 0x1000 accept`, in a forward chain at any priority between ours.
"""

from __future__ import annotations

from cni_plugins.legacy import rules
from cni_plugins.plan.kinds import filter_table
from cni_plugins.plan.kinds.nftable import TABLE, Claim, OwnedSet, claim, elements, refill, release
from cni_plugins.plan.liveness import owner_is_dead
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.protocol.attachment import network_key
from cni_plugins.protocol.errors import NotReady
from cni_plugins.protocol.ip import parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from cni_plugins.plan.resource import Item, Recorded
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

_WORD = {4: ("ip", "ipv4_addr"), 6: ("ip6", "ipv6_addr")}
_BEGIN, _END = "accept_begin", "accept_end"
_PRIORITY = {_BEGIN: filter_table.BEFORE, _END: filter_table.BEHIND}


def _rules() -> Iterable[tuple[str, str]]:
    """The rules of both chains: (chain, rule)."""
    for family, (word, _) in _WORD.items():
        yield _BEGIN, f"{word} saddr @accepted{family} {filter_table.SET_MARK}"
        yield _BEGIN, f"{word} daddr @accepted{family} ct state established,related {filter_table.SET_MARK}"
        yield _BEGIN, f"{word} daddr @accepted{family} ct status dnat {filter_table.SET_MARK}"
        yield _END, f"{word} saddr @accepted{family} {filter_table.CLEAR_MARK}"
        yield _END, f"{word} daddr @accepted{family} {filter_table.CLEAR_MARK}"


def _setup() -> str:
    lines = [f"add table {TABLE}"]
    for family, (_, addresses) in _WORD.items():
        lines.append(f"add set {TABLE} accepted{family} {{ type {addresses}; }}")
        lines.append(f"add set {TABLE} accepted{family}_owner {{ type ipv6_addr . {addresses}; }}")
    for chain, priority in _PRIORITY.items():
        lines.append(f"add chain {TABLE} {chain} {{ type filter hook forward priority {priority}; policy accept; }}")
        lines.append(f"flush chain {TABLE} {chain}")
    lines += [f"add rule {TABLE} {chain} {rule}" for chain, rule in _rules()]
    return "\n".join(lines) + "\n"


_SETS = {family: OwnedSet(TABLE, f"accepted{family}", types=addresses, setup=_setup) for family, (_, addresses) in _WORD.items()}


class FirewallKind(Kind):
    """Elements by their owner sets; and the rules that the reference has for an address."""

    name = "firewall"

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Take out the elements that are their owner's, and the reference's rules that were found. The static rules stay."""
        for one in owned:
            release(world.nft, one.key, [(_set_of(address), address) for address in one.item.get("addresses", ())])
            if "legacy" in one.item:
                _legacy().drop(world.nft, one.item["legacy"])

    def find(self, world: World, att: Attachment) -> list[Item]:
        """The elements of this owner, and what the reference left for the addresses that the attachment is known to have."""
        if not world.nft.installed():
            return []
        from cni_plugins.plan.addresses import known

        addresses = [address for family in _WORD for owner, address in _SETS[family].owners(world.nft) if owner == att.key]
        items: list[Item] = [{"addresses": addresses}] if addresses else []
        left = _legacy().find(world.nft, known(world, att))
        return items + ([{"legacy": left}] if left else [])

    def marked(self, world: World, network: str) -> Iterable[Owned]:
        """Every element whose owner is of this network."""
        if not world.nft.installed():
            return
        for family in _WORD:
            for owner, address in _SETS[family].owners(world.nft):
                if owner.startswith(network_key(network)):
                    yield Owned(owner, {"kind": self.name, "addresses": [address]})

    def lost(self, world: World) -> bool:
        """Whether a chain of ours is gone, or the static rules from where iptables keeps them."""
        if not world.nft.installed():
            return False
        if not all(world.nft.has_chain(f"{TABLE} {chain}") for chain in _PRIORITY):
            return True
        return any(filter_table.flushed(world.nft, word) and _any(world, family) for family, (word, _) in _WORD.items())

    def lost_unheard(self, world: World) -> bool:
        """Whether the static rules are gone from where iptables keeps them outside of nftables."""
        return any(filter_table.flushed_unheard(word) and _any(world, family) for family, (word, _) in _WORD.items())

    def restore(self, world: World, recorded: Recorded) -> set[bytes]:
        """The elements of the addresses that the records have, and the static rules."""
        wanted = [(att, address, item.get("admin", "")) for att, item in recorded for address in item.get("addresses", ())]
        tables = {(_word_of(address), admin) for _, address, admin in wanted}
        made = {table for table in sorted(tables) if filter_table.ensure(world, *table)}
        cut_off = {att.key for att, address, admin in wanted if (_word_of(address), admin) in made}
        claims = [(att, Claim(_set_of(address), address, "")) for att, address, _ in wanted]
        return cut_off | refill(world.nft, claims, prepare=(), dead=lambda owner: owner_is_dead(world, owner))


KIND = FirewallKind()


class Accepted(Resource["None"]):
    """Forwarded packets of `addresses` pass. `admin` is the chain of iptables that users keep their own rules in.

    `required` says that iptables was asked for by name, and must be there.
    """

    __slots__ = ("addresses", "admin", "required")
    kind = KIND

    def __init__(self, addresses: list[str], *, admin: str, required: bool) -> None:
        self.addresses = addresses
        self.admin = admin
        self.required = required

    def record(self, world: World, att: Attachment) -> Item:
        """The addresses, and the chain, which `restore` needs."""
        return {"addresses": self.addresses, "admin": self.admin}

    def refuse(self, world: World, att: Attachment) -> None:
        """What `ready` says."""
        self.ready(world)

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """An element for each address; the first pod's call makes the chains and the static rules."""
        _accept(world, att, self.addresses, admin=self.admin)

    def verify(self, world: World, att: Attachment) -> None:
        """Each element is there and ours, and all that makes it work; or the reference's rules are, if they made the attachment."""
        said = self._lacking(world, att)
        if said and not _legacy().accepts(world.nft, self.addresses):
            raise Drift("; ".join(said))

    def _lacking(self, world: World, att: Attachment) -> list[str]:
        lost = [address for address in self.addresses if not _set_of(address).holds(world.nft, att.key, address)]
        said = [f"{', '.join(lost)} is not let through any more"] if lost else []
        if self.addresses and not _chains_are_whole(world):
            said.append(f"the chains {_BEGIN} and {_END} of table {TABLE} are not as they were made")
        for word in _words(self.addresses):
            lacking = filter_table.lacking(world.nft, word, self.admin)
            if lacking:
                said.append(f"iptables' filter table lacks {lacking}")
        return said

    def ready(self, world: World) -> None:
        """libnftables must be installed, the kernel have nftables, and iptables be there if it was asked for."""
        reason = world.nft.available()
        if reason is not None:
            raise NotReady(f"firewall: {reason}")
        for word in _words(self.addresses) if self.required else ():
            filter_table.ready(word)


def _accept(world: World, att: Attachment, addresses: Iterable[str], *, admin: str) -> None:
    def dead(owner: bytes) -> bool:
        return owner_is_dead(world, owner)

    for word in _words(addresses):
        filter_table.ensure(world, word, admin)
    claims = [Claim(_set_of(address), address, "") for address in addresses]
    if claims:
        claim(world.nft, att, claims, prepare=lambda: "", dead=dead)


def _any(world: World, family: int) -> bool:
    """Whether any pod's address of this family is let through: for none, nobody needs the static rules."""
    return world.nft.installed() and bool(elements(world.nft, "set", f"{TABLE} accepted{family}"))


def _words(addresses: Iterable[str]) -> list[str]:
    return sorted({_word_of(address) for address in addresses})


def _word_of(address: str) -> str:
    return _WORD[parse_address(address).family][0]


def _set_of(address: str) -> OwnedSet:
    return _SETS[parse_address(address).family]


def _chains_are_whole(world: World) -> bool:
    """Whether each rule is there. nftables prints them in words of its own: they are compared as far as these are the same."""
    for chain in _PRIORITY:
        wanted = sorted(rule.split()[:3] for at, rule in _rules() if at == chain)
        if sorted(rule.text.split()[:3] for rule in rules.rules(world.nft, f"{TABLE} {chain}")) != wanted:
            return False
    return True


def _legacy() -> ModuleType:
    """What the reference leaves: an ADD, and a DEL of what we made ourselves, need not load it."""
    from cni_plugins.legacy import firewall

    return firewall
