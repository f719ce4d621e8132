"""Keeping bridges apart (`ingressPolicy`): a bridge costs an element in each of two or three sets, a pod one more.

    table inet cni_plugins
        set bridges, same, closed        names of bridges; pairs of one name, so that a packet's way in and out can be compared
        chain isolation                  what stays on a bridge passes unless that is closed; from one to another nothing does
        map holders                      attachment's key -> goto a chain of its bridge
        chain apart-BRIDGE, closed-BRIDGE
    table bridge cni_plugins
        set isolated                     ports of closed bridges: frames between them never meet the other table without br_netfilter

A bridge's elements stay as long as one of its pods does. Nobody counts: each pod's element in `holders`, which no packet ever meets, refers
to a chain of the bridge (which is empty), and one transaction deletes chain and elements; while any pod is there the kernel
refuses it as a whole.
"""

from __future__ import annotations

from _socket import AF_INET6, inet_pton

from cni_plugins.kernel.nft import NftError
from cni_plugins.legacy import rules
from cni_plugins.plan.kinds.nftable import TABLE, Claim, OwnedSet, claim, elements, refill, release, text_of
from cni_plugins.plan.liveness import owner_is_dead
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.protocol.attachment import network_key
from cni_plugins.protocol.errors import InvalidConfig, KernelRefused, NotReady

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from cni_plugins.kernel.nft import Nft
    from cni_plugins.plan.resource import Item, Recorded
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

_PORTS_TABLE = "bridge cni_plugins"
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")
_RULES = ("iifname . oifname @closed drop", "iifname . oifname @same accept", "iifname @bridges oifname @bridges drop")
_PORT_RULE = "iifname @isolated oifname @isolated"
_SETUP = (
    f"add table {TABLE}\n"
    f"add set {TABLE} bridges {{ type ifname; }}\n"
    f"add set {TABLE} same {{ type ifname . ifname; }}\n"
    f"add set {TABLE} closed {{ type ifname . ifname; }}\n"
    f"add map {TABLE} holders {{ type ipv6_addr : verdict; }}\n"
    f"add chain {TABLE} isolation {{ type filter hook forward priority -11; policy accept; }}\n"
    f"flush chain {TABLE} isolation\n"
) + "".join(f"add rule {TABLE} isolation {rule}\n" for rule in _RULES)


def _ports_setup() -> str:
    return (
        f"add table {_PORTS_TABLE}\n"
        f"add set {_PORTS_TABLE} isolated {{ type ifname; }}\n"
        f"add set {_PORTS_TABLE} isolated_owner {{ type ipv6_addr . ifname; }}\n"
        f"add chain {_PORTS_TABLE} isolation {{ type filter hook forward priority -200; policy accept; }}\n"
        f"flush chain {_PORTS_TABLE} isolation\n"
        f"add rule {_PORTS_TABLE} isolation {_PORT_RULE} ether type {{ ip, ip6 }} drop\n"
    )


class _NameSet(OwnedSet):
    """A set of names of links, which are written in quotes and read without."""

    __slots__ = ()

    def _key(self, parts: tuple[str, ...]) -> str:
        return _quoted(super()._key(parts))


_PORTS = _NameSet(_PORTS_TABLE, "isolated", types="ifname", setup=_ports_setup)


class IsolationKind(Kind):
    """A pod's hold on its bridge, and with the last one the bridge's elements; and the reference's rules for a bridge without pods."""

    name = "isolation"

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Take out the ports and the hold that are their owner's, then what nobody holds any more, then what the reference left."""
        for one in owned:
            release(world.nft, one.key, [(_PORTS, _quoted(port)) for port in one.item.get("ports", ())])
            if one.item.get("bridge"):
                _let_go(world.nft, one.key, one.item)
            if "legacy" in one.item:
                _legacy().drop(world.nft, one.item["legacy"])

    def find(self, world: World, att: Attachment) -> list[Item]:
        """What is this owner's, and the reference's rules for the bridge in prevResult if this attachment is its last pod."""
        if not world.nft.installed():
            return []
        interfaces = [one.name for one in world.prev.interfaces if not one.sandbox] if world.prev else []
        left = _legacy().find(world.nft, bridge=interfaces[0]) if interfaces and not _others(world, *interfaces) else None
        return [one.item for one in _all(world.nft) if one.key == att.key] + ([{"legacy": left}] if left else [])

    def marked(self, world: World, network: str) -> Iterable[Owned]:
        """Every hold and port whose owner is of this network."""
        if world.nft.installed():
            for one in _all(world.nft):
                if one.key.startswith(network_key(network)):
                    yield Owned(one.key, {"kind": self.name, **one.item})

    def lost(self, world: World) -> bool:
        """Whether our chain is gone."""
        return world.nft.installed() and not world.nft.has_chain(f"{TABLE} isolation")

    def restore(self, world: World, recorded: Recorded) -> set[bytes]:
        """The holds, the bridges' elements and the ports that the records speak of."""
        lacking = {att.key for att, _ in recorded} - {one.key for one in _holders(world.nft)}
        _hold(world.nft, recorded, anew=True)
        ports = [(att, Claim(_PORTS, _quoted(port), "")) for att, item in recorded for port in item["ports"]]
        return lacking | refill(world.nft, ports, prepare=(), dead=lambda owner: owner_is_dead(world, owner))


KIND = IsolationKind()


class Isolation(Resource["None"]):
    """The bridge among `interfaces` is kept apart from others that are; `closed`, its pods also from each other.

    `interfaces` are those of prevResult that are on the node: the bridge is the first, the others are the pod's ports.
    """

    __slots__ = ("closed", "interfaces")
    kind = KIND

    def __init__(self, interfaces: list[str], *, closed: bool) -> None:
        self.interfaces = interfaces
        self.closed = closed

    def record(self, world: World, att: Attachment) -> Item:
        """The bridge and the ports."""
        return {"bridge": self.interfaces[0], "closed": self.closed, "ports": self.interfaces[1:] if self.closed else []}

    def refuse(self, world: World, att: Attachment) -> None:
        """There must be a bridge, with a name that nftables can write."""
        self.ready(world)
        if not self.interfaces:
            raise InvalidConfig("ingressPolicy: prevResult.interfaces has none on the node: it works on bridges, behind such a plugin")
        for name in self.interfaces:
            if not 0 < len(name.encode("utf-8", "replace")) <= 15 or any(char in '"*\\/:' or char.isspace() for char in name):
                raise InvalidConfig(f"prevResult.interfaces: {name!r} cannot be the name of a bridge or its port in nftables")

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """A pod's hold, the bridge's elements, and for a closed bridge the pod's ports."""
        item = self.record(world, att)
        _hold(world.nft, [(att, item)])
        claims = [Claim(_PORTS, _quoted(port), "") for port in item["ports"]]
        if claims:
            claim(world.nft, att, claims, prepare=lambda: "", dead=lambda owner: owner_is_dead(world, owner))

    def verify(self, world: World, att: Attachment) -> None:
        """All of it is there; or the reference's rules are, if they made the attachment."""
        if not self.interfaces:
            raise Drift("ingressPolicy: prevResult.interfaces has none on the node")
        lost = _lacking(world.nft, att, self.record(world, att))
        if lost and not _legacy().isolates(world.nft, self.interfaces[0], closed=self.closed):
            raise Drift(f"ingressPolicy: {self.interfaces[0]} is not kept apart any more: {', '.join(lost)} lost")

    def ready(self, world: World) -> None:
        """libnftables must be installed, and the kernel have nftables."""
        reason = world.nft.available()
        if reason is not None:
            raise NotReady(f"ingressPolicy: {reason}")


def _hold(nft: Nft, recorded: Recorded, *, anew: bool = False) -> None:
    """Put in the pods' holds, and what their bridges have; `anew` with all that these stand in, which else is made where it is missing."""
    setups, elements = zip(*(_bridge(item) for _, item in recorded), strict=True)
    prepare = "".join(dict.fromkeys([_SETUP, *setups]))
    put = "".join([*(_hold_of(att, item) for att, item in recorded), *dict.fromkeys(elements)])
    try:
        try:
            nft.run(prepare + put if anew else put)
        except NftError as error:
            if not (error.exists or error.missing):
                raise
            held = {text_of(one.key) for one in _holders(nft)} & {text_of(att.key) for att, _ in recorded} if error.exists else ()
            nft.run("".join([prepare, *(f"delete element {TABLE} holders {{ {key} }}\n" for key in held), put]))
    except NftError as error:
        raise KernelRefused(str(error), error.said) from None


def _hold_of(att: Attachment, item: Item) -> str:
    comment = str(att).replace('"', "")[:127]
    return f'create element {TABLE} holders {{ {text_of(att.key)} comment "{comment}" : goto {_chains(item["bridge"])[item["closed"]]} }}\n'


def _bridge(item: Item) -> tuple[str, str]:
    """The commands for a bridge's chains, and those for its elements."""
    chains, bridge = _chains(item["bridge"]), _quoted(item["bridge"])
    closed, setup = f"{TABLE} {chains[True]}", f"add chain {TABLE} {chains[False]}\n"
    put = f"add element {TABLE} bridges {{ {bridge} }}\nadd element {TABLE} same {{ {bridge} . {bridge} }}\n"
    if item["closed"]:
        setup += f"add chain {closed}\nflush chain {closed}\nadd rule {closed} goto {chains[False]}\n"
        put += f"add element {TABLE} closed {{ {bridge} . {bridge} }}\n"
    return setup, put


def _let_go(nft: Nft, owner: bytes, item: Item) -> None:
    """Take out a pod's hold, then the bridge's elements with the last one.

    The kernel would refuse the second while there is another, but to take a transaction back it makes everybody wait: so it is asked.
    """
    from cni_plugins.kernel.elements import uses

    bridge, chains = _quoted(item["bridge"]), _chains(item["bridge"])
    _delete(nft, f"delete element {TABLE} holders {{ {text_of(owner)} }}\n")
    if item.get("closed") and uses(nft.netfilter, TABLE, chains[True]) <= 1:  # its own rule, which leads to the other
        _delete(nft, _gone(f"element {TABLE} closed {{ {bridge} . {bridge} }}") + f"delete chain {TABLE} {chains[True]}\n")
    if not uses(nft.netfilter, TABLE, chains[False]):
        gone = _gone(f"element {TABLE} bridges {{ {bridge} }}") + _gone(f"element {TABLE} same {{ {bridge} . {bridge} }}")
        _delete(nft, f"{gone}delete chain {TABLE} {chains[False]}\n")


def _gone(what: str) -> str:
    """The commands to delete an element that somebody may have taken out already: that must not keep the rest."""
    return f"add {what}\ndelete {what}\n"


def _delete(nft: Nft, commands: str) -> None:
    """Carry out a deletion, unless what it names is gone, or held by another pod meanwhile."""
    try:
        nft.run(commands)
    except NftError as error:
        if not (error.missing or error.busy):
            raise KernelRefused(str(error), error.said) from None


def _lacking(nft: Nft, att: Attachment, item: Item) -> list[str]:
    """What is not there of all that a pod needs, named for people."""
    bridge = item["bridge"]
    wanted = {("bridges", (bridge,)), ("same", (bridge, bridge))} | ({("closed", (bridge, bridge))} if item["closed"] else set())
    lost = [f"{name} of {bridge}" for name, key in sorted(wanted) if key not in _keys(nft, f"{TABLE} {name}")]
    if not any(one.key == att.key and one.item["bridge"] == bridge for one in _holders(nft)):
        lost.append("this pod's hold")
    texts = [rule.text for rule in rules.rules(nft, f"{TABLE} isolation")]
    lost += [f"rule {rule}" for rule in _RULES if rule not in texts]
    ports = {(owner, key.strip('"')) for owner, key in _PORTS.owners(nft)} if item["ports"] else set()
    lost += [
        f"port {port}" for port in item["ports"] if (att.key, port) not in ports or (port,) not in _keys(nft, f"{_PORTS_TABLE} isolated")
    ]
    if item["ports"] and not any(rule.text.startswith(_PORT_RULE) for rule in rules.rules(nft, f"{_PORTS_TABLE} isolation")):
        lost.append(f"rule {_PORT_RULE}")
    return lost


def _all(nft: Nft) -> list[Owned]:
    """Every hold, and every port, with its owner."""
    ports = [Owned(owner, {"ports": [port.strip('"')]}) for owner, port in _PORTS.owners(nft)]
    return _holders(nft) + ports


def _holders(nft: Nft) -> list[Owned]:
    found = []
    for one in elements(nft, "map", f"{TABLE} holders"):
        kind, _, name = one.data[0].removeprefix("goto ").partition("-")
        item = {"bridge": _bridge_named(name), "closed": kind == "closed", "ports": []}
        found.append(Owned(inet_pton(AF_INET6, one.key[0]), item))
    return found


def _keys(nft: Nft, name: str) -> set[tuple[str, ...]]:
    return {one.key for one in elements(nft, "set", name)}


def _quoted(name: str) -> str:
    """A link's name as nftables takes it, whatever characters it has; quotes are not among them."""
    return f'"{name}"'


def _chains(bridge: str) -> dict[bool, str]:
    """The chains that stand for a bridge: with other characters than a chain's name may have written as their numbers."""
    name = "".join(chr(byte) if byte in _PLAIN else f"/{byte:02x}" for byte in bridge.encode("utf-8", "surrogateescape"))
    return {False: f"apart-{name}", True: f"closed-{name}"}


def _bridge_named(name: str) -> str:
    """The bridge that a chain stands for."""
    first, *others = name.split("/")
    data = first.encode() + b"".join(bytes.fromhex(one[:2]) + one[2:].encode() for one in others)
    return data.decode("utf-8", "surrogateescape")


def _others(world: World, bridge: str, *ports: str) -> bool:
    """Whether other ports than these are on a bridge."""
    link = world.host.link(name=bridge)
    return link is not None and any(port.name not in ports for port in world.host.links(master=link.index))


def _legacy() -> ModuleType:
    """What the reference leaves: an ADD, and a DEL of what we made ourselves, need not load it."""
    from cni_plugins.legacy import firewall

    return firewall
