"""Looking up one element of a set or map of nftables, for the price of one: libnftables would read the whole set for it; and how much
leads to a chain, which libnftables does not tell.

A key is bytes as the kernel compares them: the parts of a concatenation, in network order, each padded to four bytes.
"""

from __future__ import annotations

from errno import ENOENT

from cni_plugins.kernel.attributes import attribute, nested
from cni_plugins.kernel.nfnetlink import Nfnetlink, attributes_of, message

_NFTABLES = 10
_GET_CHAIN, _GET_ELEMENT = 4, 13
_FAMILIES = {"inet": 1, "ip": 2, "bridge": 7, "ip6": 10}
_TABLE, _SET, _ELEMENTS = 1, 2, 3
_ELEMENT, _KEY, _VALUE = 1, 1, 1
_NAME, _USE = 3, 6


def present(netfilter: Nfnetlink, table: str, name: str, *, keys: list[bytes]) -> bool:
    """Whether any of `keys` is in the set or map `name` of `table` ("inet cni_plugins"); not where there is no such table or set.

    Raises NetlinkError.
    """
    family, _, title = table.partition(" ")
    requests = [
        message(
            _NFTABLES,
            _GET_ELEMENT,
            f"look up an element of {name}",
            family=_FAMILIES[family],
            attributes=attribute(_TABLE, title.encode() + b"\0")
            + attribute(_SET, name.encode() + b"\0")
            + nested(_ELEMENTS, nested(_ELEMENT, nested(_KEY, attribute(_VALUE, key)))),
            tolerated=(ENOENT,),
        )
        for key in keys
    ]
    return any(netfilter.ask(*requests))


def uses(netfilter: Nfnetlink, table: str, chain: str) -> int:
    """How many rules and elements lead to a `chain` of `table` ("inet cni_plugins"), plus how many rules are in it.

    0 as well where there is no such chain. Raises NetlinkError.
    """
    family, _, title = table.partition(" ")
    names = attribute(_TABLE, title.encode() + b"\0") + attribute(_NAME, chain.encode() + b"\0")
    what = f"look up the chain {chain}"
    answers = netfilter.ask(message(_NFTABLES, _GET_CHAIN, what, family=_FAMILIES[family], attributes=names, tolerated=(ENOENT,)))[0]
    return int.from_bytes(attributes_of(answers[0])[_USE], "big") if answers else 0
