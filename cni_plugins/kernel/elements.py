"""Elements of sets and maps of nftables, one by one: looked up for the price of one, where libnftables would read the whole set; put in
and taken out without libnftables; and how much leads to a chain, which that does not tell.

A table is named as commands name it, "inet cni_plugins". The kernel compares keys as bytes: see `packed`.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton
from _struct import pack
from errno import ENOENT

from cni_plugins.kernel.attributes import attribute, nested
from cni_plugins.kernel.nfnetlink import NFTABLES, Nfnetlink, attributes_of, message
from cni_plugins.kernel.rtnl import NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni_plugins.kernel.rtnl import Request

_GET_CHAIN, _GET_SET, _NEW_ELEMENT, _GET_ELEMENT, _DELETE_ELEMENT = 4, 10, 12, 13, 14
_FAMILIES = {"inet": 1, "ip": 2, "bridge": 7, "ip6": 10}
_TABLE, _SET, _ELEMENTS, _CHAIN_NAME, _CHAIN_USE = 1, 2, 3, 3, 6
_ELEMENT, _KEY, _DATA, _COMMENT = 1, 1, 2, 6
_VALUE, _VERDICT, _CODE, _CHAIN = 1, 2, 1, 2
_VERBS = {_NEW_ELEMENT: "create", _GET_ELEMENT: "look up", _DELETE_ELEMENT: "delete"}
_VERDICTS = {"jump": -3, "goto": -4}
_PACKERS: dict[str, Callable[[str], bytes]] = {
    "ipv4_addr": lambda text: inet_pton(AF_INET, text),
    "ipv6_addr": lambda text: inet_pton(AF_INET6, text),
    "inet_proto": lambda text: pack("B3x", int(text)),
    "inet_service": lambda text: pack(">H2x", int(text)),
    "ifname": lambda text: text.strip('"').encode().ljust(16, b"\0"),
}


def packed(types: str, text: str) -> bytes:
    """A key as the kernel has it: parts in network order, each padded to four bytes.

    `text` is as commands have it ("6 . 8080"), `types` as the set declares it ("inet_proto . inet_service").
    """
    return b"".join([_PACKERS[kind](part) for kind, part in zip(types.split(" . "), text.split(" . "), strict=True)])


def create(table: str, name: str, key: bytes, *, data: str = "", types: str = "", comment: str = "") -> Request:
    """Put an element into a set or map, which is refused where it is there; a part of a transaction.

    `data` is what a map holds: a verdict ("goto CHAIN"), or a value of `types` as in `packed`.
    """
    content = nested(_KEY, attribute(_VALUE, key))
    if data:
        content += nested(_DATA, _verdict(data) or attribute(_VALUE, packed(types, data)))
    if comment:
        said = _text(comment)
        content += attribute(_COMMENT, bytes([0, len(said)]) + said)
    return _request(_NEW_ELEMENT, table, name, content, flags=NLM_F_CREATE | NLM_F_EXCL)


def delete(table: str, name: str, key: bytes) -> Request:
    """Take an element out, whatever it holds, which is refused where it is not there; a part of a transaction."""
    return _request(_DELETE_ELEMENT, table, name, nested(_KEY, attribute(_VALUE, key)), flags=0)


def present(netfilter: Nfnetlink, table: str, name: str, *, keys: list[bytes]) -> bool:
    """Whether any of `keys` is in the set or map `name` of `table`; not where there is no such table or set. Raises NetlinkError."""
    return any(netfilter.ask(*[_request(_GET_ELEMENT, table, name, nested(_KEY, attribute(_VALUE, key))) for key in keys]))


def stands(netfilter: Nfnetlink, table: str, name: str) -> bool:
    """Whether there is a set or map of this name. Raises NetlinkError."""
    return netfilter.ask(_about(_GET_SET, f"look up {name}", table, attribute(_SET, _text(name))))[0] is not None


def uses(netfilter: Nfnetlink, table: str, chain: str) -> int:
    """How many rules and elements lead to a `chain` of `table`, plus how many rules are in it. Raises NetlinkError.

    0 as well where there is no such chain.
    """
    answers = netfilter.ask(_about(_GET_CHAIN, f"look up the chain {chain}", table, attribute(_CHAIN_NAME, _text(chain))))[0]
    return int.from_bytes(attributes_of(answers[0])[_CHAIN_USE], "big") if answers else 0


def _request(kind: int, table: str, name: str, element: bytes, *, flags: int = NLM_F_ACK) -> Request:
    """A request about one element."""
    what = f"{_VERBS[kind]} an element of {name}"
    return _about(kind, what, table, attribute(_SET, _text(name)) + nested(_ELEMENTS, nested(_ELEMENT, element)), flags=flags)


def _about(kind: int, what: str, table: str, attributes: bytes, *, flags: int = NLM_F_ACK) -> Request:
    """A request about something in a table, whose absence is an answer."""
    family, _, title = table.partition(" ")
    named = attribute(_TABLE, _text(title)) + attributes
    return message(NFTABLES, kind, what, family=_FAMILIES[family], attributes=named, flags=flags, tolerated=(ENOENT,))


def _verdict(data: str) -> bytes:
    """Where an element leads to, if it does to a chain."""
    word, _, chain = data.partition(" ")
    code = _VERDICTS.get(word)
    return nested(_VERDICT, attribute(_CODE, pack(">i", code)), attribute(_CHAIN, _text(chain))) if code else b""


def _text(name: str) -> bytes:
    return name.encode() + b"\0"
