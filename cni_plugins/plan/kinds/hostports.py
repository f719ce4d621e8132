"""Ports of the node that lead to ports of containers, in the words of nftables: maps in our one table, and a chain for each way
in which a network wants its ports mapped. A pod costs an element in each of two maps for a port; chains and rules do not grow with pods.

    map hostport4_gate { tcp . 8080 : jump mapped-… }           how: the chain of the pod's network
    map hostport4      { tcp . 8080 : 10.1.0.5 . 80 }           where to
    map hostip4_gate, hostip4 { 192.0.2.2 . tcp . 8080 : … }    the same for one address of the node: asked first, so that it wins
    chain mapped-…
        ip saddr { 10.1.0.0/16, 127.0.0.0/8 } meta mark set meta mark or 0x2000
        dnat ip to meta l4proto . th dport map @hostport4

The mark lives from there to postrouting, where what has it is masqueraded: it could not be answered otherwise. A chain is named after all
that it does, so that nothing ever has to be changed in one that other networks may use. All of it is the same in IPv6.

Routing 127.0.0.1 to containers (`route_localnet`) would let them send to the node's own 127.0.0.1, too: `localnet` forbids that.
"""

from __future__ import annotations

from _blake2 import blake2b

from cni_plugins.plan.kinds.nftable import TABLE, Claim, OwnedMap
from cni_plugins.protocol.ip import Cidr, parse_address, parse_cidr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_plugins.plan.resource import Item

UDP = 17
PROTOCOLS = {"tcp": 6, "udp": UDP, "sctp": 132}
"""What has ports that can be mapped, as IP numbers it."""
HOOKS = {"hostports_in": "prerouting", "hostports_out": "output"}
"""Our chains and where they stand: for what arrives, and for what the node sends."""

_WORD = {4: ("ip", "ipv4_addr"), 6: ("ip6", "ipv6_addr")}
_KEY_TYPE = "inet_proto . inet_service"
_KEY = "meta l4proto . th dport"
_LOOPBACK = "127.0.0.0/8"
_BEFORE, _AFTER, _RAW = -101, 101, -300


class Mapping:
    """A port of the node, of the address `host` or (empty) of any, that leads to a `port` of the container at `address`.

    `address` has its network's prefix; `protocol` is a number of PROTOCOLS.
    """

    __slots__ = ("address", "host", "host_port", "port", "protocol")

    def __init__(self, address: Cidr, *, protocol: int, host: str, host_port: int, port: int) -> None:
        self.address = address
        self.protocol = protocol
        self.host = host
        self.host_port = host_port
        self.port = port

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.address.family

    @property
    def map(self) -> OwnedMap:
        """The map that it belongs in."""
        return MAPS[self.family, bool(self.host)]

    @property
    def key(self) -> str:
        """Its key there, as nftables prints it."""
        return f"{self.host} . {self.protocol} . {self.host_port}" if self.host else f"{self.protocol} . {self.host_port}"

    @property
    def target(self) -> str:
        """What the map holds under that key."""
        return f"{self.address.address} . {self.port}"

    def to_item(self) -> list[Any]:
        """As records have it."""
        return [str(self.address), self.protocol, self.host, self.host_port, self.port]


def from_item(one: list[Any]) -> Mapping:
    """A mapping out of a record."""
    address, protocol, host, host_port, port = one
    return Mapping(parse_cidr(address), protocol=protocol, host=host, host_port=host_port, port=port)


def from_element(owned: OwnedMap, key: str, target: str) -> Mapping:
    """A mapping out of a map; the container's network is not to be seen there."""
    *host, protocol, host_port = key.split(" . ")
    address, port = target.split(" . ")
    cidr = parse_address(address)
    return Mapping(cidr, protocol=int(protocol), host="".join(host), host_port=int(host_port), port=int(port))


class Profile:
    """How a network wants its ports mapped: masquerading what needs it (`snat`) or everything, by the mark with this `bit`.

    `conditions` are by families, as they were written: in words of nftables or arguments of iptables.
    """

    __slots__ = ("bit", "conditions", "everything", "snat")

    def __init__(self, *, snat: bool, everything: bool, bit: int, conditions: dict[int, list[str]]) -> None:
        self.snat = snat
        self.everything = everything
        self.bit = bit
        self.conditions = {family: [word for word in words if word] for family, words in conditions.items()}

    def to_item(self) -> Item:
        """As records have it."""
        return {"snat": self.snat, "everything": self.everything, "bit": self.bit, "conditions": [self.conditions[4], self.conditions[6]]}

    def claim(self, mapping: Mapping) -> Claim:
        """What a mapping puts into the maps."""
        return Claim(mapping.map, mapping.key, mapping.target, f"jump {self.chain(mapping)}")

    def chain(self, mapping: Mapping) -> str:
        """The chain that a mapping goes through, named after all that the chain depends on."""
        said = (mapping.map.name, self._sources(mapping), self.bit, *self.conditions[mapping.family])
        return "mapped-" + blake2b(repr(said).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()

    def commands(self, mappings: list[Mapping]) -> str:
        """What makes the chains of mappings. Raises InvalidConfig for conditions that nftables has no words for."""
        chains = {self.chain(mapping): mapping for mapping in mappings}
        return "".join(self._commands(chain, mapping) for chain, mapping in chains.items())

    def _commands(self, chain: str, mapping: Mapping) -> str:
        word, _ = _WORD[mapping.family]
        key = f"{word} daddr . {_KEY}" if mapping.host else _KEY
        conditions = self._conditions(mapping.family)
        lines = [f"add chain {TABLE} {chain}", f"flush chain {TABLE} {chain}"]
        if self.snat:
            mark, masquerade = f"{1 << self.bit:#x}", f"mapped_masquerade_{self.bit}"
            lines.append(f"add rule {TABLE} {chain} {conditions}{self._sources(mapping)}meta mark set meta mark or {mark}")
            lines.append(f"add chain {TABLE} {masquerade} {{ type nat hook postrouting priority {_AFTER}; }}")
            lines.append(f"flush chain {TABLE} {masquerade}")
            lines.append(f"add rule {TABLE} {masquerade} ct status dnat meta mark and {mark} == {mark} masquerade")
        lines.append(f"add rule {TABLE} {chain} {conditions}dnat {word} to {key} map @{mapping.map.name}")
        return "\n".join(lines) + "\n"

    def _sources(self, mapping: Mapping) -> str:
        """Whose packets are to be masqueraded: those of neighbours, whom the container answers past the node, and the node's 127.0.0.1."""
        if not self.snat:
            return "nobody's "
        if self.everything:
            return ""
        networks = [str(mapping.address.network), *([_LOOPBACK] if mapping.family == 4 else ())]
        return f"{_WORD[mapping.family][0]} saddr {{ {', '.join(networks)} }} "

    def _conditions(self, family: int) -> str:
        words = self.conditions[family]
        if not words:
            return ""
        if words[0].startswith(("-", "!")):
            from cni_plugins.kernel.iptables_words import translate

            return translate(_WORD[family][0], words, key=f"conditionsV{family}") + " "
        return " ".join(words) + " "


def profile_from_item(item: Item) -> Profile:
    """A profile out of a record."""
    first, second = item["conditions"]
    return Profile(snat=item["snat"], everything=item["everything"], bit=item["bit"], conditions={4: first, 6: second})


def _shown(key: str) -> str:
    """A key of a map in words."""
    *host, protocol, port = key.split(" . ")
    name = {str(number): name for name, number in PROTOCOLS.items()}.get(protocol, protocol)
    return f"hostPort: {port}/{name}" + "".join(f" of {address}" for address in host)


def _setup() -> str:
    lines = [f"add table {TABLE}", f"add chain {TABLE} hostports"]
    for hook_chain, hook in HOOKS.items():
        # Made anew, since one that `cnictl handover` has moved has another priority, and that cannot be changed.
        lines += [f"{verb} chain {TABLE} {hook_chain}" for verb in ("add", "flush", "delete")]
        lines.append(f"add chain {TABLE} {hook_chain} {{ type nat hook {hook} priority {_BEFORE}; }}")
        lines.append(f"add rule {TABLE} {hook_chain} fib daddr type local jump hostports")
    lines.append(f"flush chain {TABLE} hostports")
    for owned in MAPS.values():
        lines.append(f"add map {TABLE} {owned.name} {{ type {owned.types} : {owned.content}; }}")
        lines.append(f"add map {TABLE} {owned.name}_gate {{ type {owned.types} : verdict; }}")
        lines.append(f"add set {TABLE} {owned.name}_owner {{ type ipv6_addr . {owned.types}; }}")
    for family, (word, _) in _WORD.items():
        lines.append(f"add rule {TABLE} hostports {word} daddr . {_KEY} vmap @hostip{family}_gate")
        lines.append(f"add rule {TABLE} hostports meta nfproto ipv{family} {_KEY} vmap @hostport{family}_gate")
    lines.append(f"add chain {TABLE} localnet {{ type filter hook prerouting priority {_RAW}; policy accept; }}")
    lines.append(f"flush chain {TABLE} localnet")
    lines.append(f'add rule {TABLE} localnet iifname != "lo" meta iifkind != "vrf" ip daddr {_LOOPBACK} drop')
    return "\n".join(lines) + "\n"


def _map(family: int, *, specific: bool) -> OwnedMap:
    addresses = _WORD[family][1]
    name, types = (f"hostip{family}", f"{addresses} . {_KEY_TYPE}") if specific else (f"hostport{family}", _KEY_TYPE)
    content = f"{addresses} . inet_service"
    return OwnedMap(TABLE, name, types=types, content=content, setup=_setup, beside=(f"{name}_gate",), shown=_shown)


MAPS = {(family, specific): _map(family, specific=specific) for family in _WORD for specific in (True, False)}
"""By family, and by whether one address of the node is meant."""
