"""Rules that somebody else wrote in nftables: read with their handles, deleted by them.

A handle may be gone by the time it is used, and is never given to another rule of the same table: a transaction that names one
in vain has changed nothing, and is made again from a fresh look.
"""

from __future__ import annotations

from cni_plugins.kernel.nft import NftError
from cni_plugins.protocol.errors import KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni_plugins.kernel.nft import Nft

_HANDLE = " # handle "
_TRIES = 8


class Rule:
    """A rule as nftables lists it: its `handle`, its `text` without the comment, its `comment`."""

    __slots__ = ("comment", "handle", "text")

    def __init__(self, handle: int, text: str, comment: str) -> None:
        self.handle = handle
        self.text = text
        self.comment = comment

    def jumps_to(self, chain: str) -> bool:
        """Whether the rule sends packets to this chain."""
        return self.text.endswith(f" jump {chain}")

    @property
    def source(self) -> str:
        """The source address or network that the rule asks for; empty if it asks for none."""
        words = self.text.split()
        return words[words.index("saddr") + 1] if "saddr" in words else ""


def listing(nft: Nft, what: str) -> str | None:
    """What `list` prints of a chain or a table ("chain inet cni checks"), with handles; None if it does not exist. Raises KernelRefused."""
    try:
        return nft.run(f"list {what}", handles=True)
    except NftError as error:
        if error.missing:
            return None
        raise KernelRefused(str(error), error.said) from None


def rules(nft: Nft, chain: str) -> list[Rule]:
    """The rules of a chain ("inet cni checks"), none if it does not exist. Raises KernelRefused."""
    return parse_rules(listing(nft, f"chain {chain}") or "")


def parse_rules(text: str) -> list[Rule]:
    """Read the rules out of a listing with handles. What a rule says before its comment never holds free text with blanks."""
    found = []
    for line in text.split("\n"):
        body, _, handle = line.strip().rpartition(_HANDLE)
        if body and handle.isdigit() and not body.endswith("{"):
            says, _, comment = body.partition(' comment "')
            found.append(Rule(int(handle), says, comment.removesuffix('"')))
    return found


def parse_chains(text: str) -> dict[str, int]:
    """Read the names of chains and their handles out of a listing with handles."""
    found = {}
    for line in text.split("\n"):
        name, _, handle = line.strip().removeprefix("chain ").rpartition(" {" + _HANDLE)
        if name and line.startswith("\tchain "):
            found[name] = int(handle)
    return found


def change(nft: Nft, commands: Callable[[], str]) -> None:
    """Execute what `commands()` returns as one transaction, asking again when what it names has changed meanwhile.

    Nothing is done for an empty text. Raises KernelRefused.
    """
    for attempt in range(_TRIES):
        try:
            text = commands()
            if text:
                nft.run(text)
            return
        except NftError as error:
            if attempt + 1 == _TRIES or not (error.missing or error.busy):
                raise KernelRefused(str(error), error.said) from None


def departing(sources: list[str], addresses: list[str]) -> tuple[list[int], bool]:
    """Which of the jumps to a chain are an attachment's, as indices, and whether the chain goes with them.

    The reference's iptables chain belongs to a network and a container, so that two interfaces of one share it, with a jump for
    each address. It goes with the last of them. Without known `addresses` all of it is taken to be the attachment's, as the
    reference does. Jumps from a whole network are those of very old releases; they stay as long as the chain.
    """
    others = [source for source in sources if source and "/" not in source and source not in addresses]
    if not addresses or not others:
        return list(range(len(sources))), True
    return [index for index, source in enumerate(sources) if source in addresses], False
