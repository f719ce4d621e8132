"""Letting what is forwarded from and to an overlay pass where iptables' FORWARD drops, as flanneld does. In our own table

    set overlay_accepted4            the whole networks of the overlays that this is done for
    chain overlay_begin              before everybody's filter chains: marks their packets
    chain overlay_end                behind them: takes the mark away again

and in iptables' filter table the rule that accepts the mark, which the firewall plugin has too: see `plan.kinds.filter_table`. An overlay
costs an element, a container none.
"""

from __future__ import annotations

from cni_plugins.plan.kinds import filter_table
from cni_plugins.plan.kinds.nftable import TABLE, elements
from cni_plugins.plan.resource import Drift, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

SET = "overlay_accepted"
_WORD = {4: "ip", 6: "ip6"}
_RULES = {
    f"{TABLE} overlay_begin": (filter_table.BEFORE, filter_table.SET_MARK),
    f"{TABLE} overlay_end": (filter_table.BEHIND, filter_table.CLEAR_MARK),
}
CHAINS = tuple(_RULES)


def setup() -> Iterator[str]:
    """The commands that make both chains, in a table that has the sets."""
    for chain, (priority, does) in _RULES.items():
        yield f"add chain {chain} {{ type filter hook forward priority {priority}; policy accept; }}"
        yield f"flush chain {chain}"
        for family, word in _WORD.items():
            yield from (f"add rule {chain} {word} {end} @{SET}{family} {does}" for end in ("saddr", "daddr"))


class Forwarded(Resource["None"]):
    """The rules in iptables' filter table that an overlay of these address `families` (4, 6) needs, once for all overlays and for good.

    `ahead` puts them also where iptables has no FORWARD yet: whoever comes later with a policy of DROP finds them.
    """

    __slots__ = ("ahead", "families")

    def __init__(self, families: Iterable[int], *, ahead: bool) -> None:
        self.families = sorted(set(families))
        self.ahead = ahead

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Put in what is lacking. On a node without nftables there is nothing that marks packets."""
        for family in self._usable(world):
            filter_table.ensure(world, _WORD[family], filter_table.ADMIN, ahead=self.ahead)

    def verify(self, world: World, att: Attachment) -> None:
        """Nothing is lacking."""
        for family in self._usable(world):
            lacking = filter_table.lacking(world.nft, _WORD[family], filter_table.ADMIN, ahead=self.ahead)
            if lacking:
                raise Drift(f"iptables' filter table lacks {lacking}")

    def _usable(self, world: World) -> list[int]:
        return self.families if world.nft.available() is None else []


def flushed(world: World) -> bool:
    """Whether the rules are gone from a filter table that is there, and an overlay needs them."""
    return any(filter_table.flushed(world.nft, word) and _is_needed(world, family) for family, word in _WORD.items())


def flushed_unheard(world: World) -> bool:
    """The same of x_tables, whose changes the kernel does not announce."""
    return any(filter_table.flushed_unheard(word) and _is_needed(world, family) for family, word in _WORD.items())


def _is_needed(world: World, family: int) -> bool:
    return world.nft.installed() and bool(elements(world.nft, "set", f"{TABLE} {SET}{family}"))
