"""Sets with their owner sets: as OwnedMap, but for sets that hold keys alone."""

from __future__ import annotations

from cni_plugins.kernel.nft import NftError
from cni_plugins.plan.kinds.nftable import OwnedMap
from cni_plugins.protocol.errors import KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cni_plugins.kernel.nft import Element, Nft


class OwnedSet(OwnedMap):
    """nftables lists sets by another word than maps."""

    __slots__ = ()

    def listed(self, nft: Nft, name: str) -> dict[str, Element]:
        """All elements by their keys; none when there is no table. Raises KernelRefused."""
        try:
            return {" . ".join(one.key): one for one in nft.elements("set", f"{self.table} {name}")}
        except NftError as error:
            if not error.missing:
                raise KernelRefused(str(error), error.said) from None
            return {}


class NameSet(OwnedSet):
    """A set of names of links, which are written in quotes (see `quoted`) and read without."""

    __slots__ = ()

    def listed(self, nft: Nft, name: str) -> dict[str, Element]:
        """As OwnedSet has it, by names in quotes."""
        return {quoted(key): element for key, element in super().listed(nft, name).items()}

    def owners(self, nft: Nft) -> Iterator[tuple[bytes, str]]:
        """As OwnedMap has it, with names in quotes."""
        return ((owner, quoted(key)) for owner, key in super().owners(nft))


def quoted(name: str) -> str:
    """A link's name as nftables takes it, whatever characters it has; quotes are not among them."""
    return f'"{name}"'
