"""Our chains of type nat, and where they stand among those of others.

The first chain in a hook that has something to say about a connection decides about it. Ours that change destinations stand before
the reference's, which are at dstnat (-100); the one that masquerades stands behind srcnat (100) at all times. nftables cannot change
the priority of a chain that exists, so it is made anew, with its rules, in the transaction that deletes it: it is never absent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cni_plugins.kernel.nft import NftError
from cni_plugins.plan.kinds.nftable import TABLE
from cni_plugins.protocol.errors import KernelRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cni_plugins.kernel.nft import Nft

BEFORE, BEHIND = -101, -99
"""Priorities before and behind those of the reference plugins, for chains that change destinations."""
_LAST = 101
_SOURCE_HOOKS = ("postrouting", "input")


class NatChain:
    """A base chain of type nat: its `name`, `hook`, `priority`, and its `rules` as nftables prints them."""

    __slots__ = ("hook", "name", "priority", "rules")

    def __init__(self, name: str, hook: str, priority: int) -> None:
        self.name = name
        self.hook = hook
        self.priority = priority
        self.rules: list[str] = []

    def moved(self, priority: int) -> str:
        """The commands that put the chain, with its rules, at another priority."""
        make = f"add chain {TABLE} {self.name} {{ type nat hook {self.hook} priority {priority}; policy accept; }}\n"
        rules = "".join(f"add rule {TABLE} {self.name} {rule}\n" for rule in self.rules)
        return f"flush chain {TABLE} {self.name}\ndelete chain {TABLE} {self.name}\n{make}{rules}"


class Move:
    """A chain and the priority that it is to have."""

    __slots__ = ("chain", "priority")

    def __init__(self, chain: NatChain, priority: int) -> None:
        self.chain = chain
        self.priority = priority

    def __str__(self) -> str:
        return f"chain       {TABLE} {self.chain.name}  (hook {self.chain.hook}: priority {self.chain.priority} -> {self.priority})"


def moves(nft: Nft, *, undo: bool) -> list[Move]:
    """Which chains have to move so that the reference's rules come first; with `undo`, so that ours do. Raises KernelRefused."""
    wanted = BEFORE if undo else BEHIND
    found = [Move(chain, _LAST if chain.hook in _SOURCE_HOOKS else wanted) for chain in nat_chains(nft)]
    return [move for move in found if move.chain.priority != move.priority]


def carry_out(nft: Nft, wanted: list[Move]) -> None:
    """Move all of them in one transaction. Raises KernelRefused; then none has moved."""
    if wanted:
        try:
            nft.run("".join(move.chain.moved(move.priority) for move in wanted))
        except NftError as error:
            raise KernelRefused(str(error), error.said) from None


def nat_chains(nft: Nft) -> list[NatChain]:
    """Our base chains of type nat; none when there is no table of ours, or no nftables. Raises KernelRefused."""
    if not nft.installed():
        return []
    try:
        return list(parse(nft.run(f"list table {TABLE}")))
    except NftError as error:
        if error.missing:
            return []
        raise KernelRefused(str(error), error.said) from None


def parse(listing: str) -> Iterator[NatChain]:
    """Read the base chains of type nat out of what `list table` prints."""
    name, chain = "", None
    for line in listing.split("\n"):
        words = line.split()
        if line.startswith("\tchain "):
            name, chain = words[1], None
        elif line == "\t}" and chain is not None:
            yield chain
            chain = None
        elif words[:3] == ["type", "nat", "hook"]:
            chain = NatChain(name, words[3], int(words[words.index("priority") + 1].rstrip(";")))
        elif chain is not None and words:
            chain.rules.append(line.strip())
