"""Our one table in nftables, and how elements of its maps are owned.

    table inet cni_plugins
        map masquerade4, masquerade6     source address -> the verdict of its network (see masquerade.py)
        set masquerade4_owner, …         (attachment's key, element): who put it there

Asking for one element costs as much as the whole map, deleting one ignores what it holds, and adding a key again keeps
the old element silently. So ownership is a set beside each map: `create` fails for both or for none, and a deletion names the
owner's element and the map's in one transaction, which fails as a whole for anybody else. Comments say whose an element is to
people; nothing depends on them.
"""

from __future__ import annotations

from _socket import AF_INET6, inet_ntop, inet_pton

from cni_plugins.kernel.nft import NftError
from cni_plugins.protocol.errors import Conflict, KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cni_plugins.kernel.nft import Nft
    from cni_plugins.protocol.attachment import Attachment

TABLE = "inet cni_plugins"
_COMMENT_MAX = 127


class OwnedMap:
    """A map or set with its owner set, both in `table` ("inet cni_plugins"). `setup` makes the table and all that is in it."""

    def __init__(self, table: str, name: str, *, setup: Callable[[], str]) -> None:
        self.table = table
        self.name = name
        self._setup = setup

    def create(self, nft: Nft, att: Attachment, *, key: str, data: str, prepare: str = "", dead: Callable[[bytes], bool]) -> None:
        """Put an element in as the attachment's. `data` is what the map holds (empty for a set), `prepare` makes what it refers to.

        An element whose owner is `dead` is replaced; Conflict names a live one. Raises KernelRefused.
        """
        comment = str(att).replace('"', "")[:_COMMENT_MAX]
        verdict = f" : {data}" if data else ""
        put = (
            f'create element {self.table} {self.name} {{ {key} comment "{comment}"{verdict} }}\n'
            f"create element {self.table} {self.name}_owner {{ {_text(att.key)} . {key} }}\n"
        )
        try:
            try:
                nft.run(put)
            except NftError as error:
                if error.exists:
                    put = self._take_from_dead(nft, att, key, dead) + put
                elif not error.missing:
                    raise
                nft.run(self._setup() + prepare + put)
        except NftError as error:
            if error.exists:
                raise Conflict(f"{self.name}: {key} was taken by another attachment meanwhile") from None
            raise KernelRefused(str(error), error.said) from None

    def _take_from_dead(self, nft: Nft, att: Attachment, key: str, dead: Callable[[bytes], bool]) -> str:
        """The commands that take an element from owners who are dead. Raises Conflict when one is alive."""
        owners = [owner for owner, owned in self.owners(nft) if owned == key]
        if any(owner != att.key and not dead(owner) for owner in owners):
            comments = [one.comment for one in nft.elements("map", f"{self.table} {self.name}") if one.key == (key,)]
            raise Conflict(f"{self.name}: {key} belongs to {''.join(comments)}", "an element has one owner at a time: DEL that one first")
        drops = [f"delete element {self.table} {self.name}_owner {{ {_text(owner)} . {key} }}\n" for owner in owners]
        return f"delete element {self.table} {self.name} {{ {key} }}\n" + "".join(drops)

    def delete(self, nft: Nft, owner: bytes, key: str) -> None:
        """Take an element out if it is this owner's; anybody else's stays. Raises KernelRefused.

        The owner's entry goes by itself where somebody else has removed only the element.
        """
        entry = f"delete element {self.table} {self.name}_owner {{ {_text(owner)} . {key} }}\n"
        for commands in (f"{entry}delete element {self.table} {self.name} {{ {key} }}\n", entry):
            try:
                nft.run(commands)
                return
            except NftError as error:
                if not error.missing:
                    raise KernelRefused(str(error), error.said) from None

    def owners(self, nft: Nft) -> Iterator[tuple[bytes, str]]:
        """Every (attachment's key, element) of the owner set; none when there is no table."""
        try:
            elements = nft.elements("set", f"{self.table} {self.name}_owner")
        except NftError as error:
            if not error.missing:
                raise KernelRefused(str(error), error.said) from None
            return
        for element in elements:
            yield inet_pton(AF_INET6, element.key[0]), " . ".join(element.key[1:])

    def holds(self, nft: Nft, owner: bytes, key: str) -> bool:
        """Whether the element is there and this owner's. Raises KernelRefused."""
        if (owner, key) not in self.owners(nft):
            return False
        try:
            return any(one.key == (key,) for one in nft.elements("map", f"{self.table} {self.name}"))
        except NftError as error:
            if not error.missing:
                raise KernelRefused(str(error), error.said) from None
            return False


def _text(key: bytes) -> str:
    """An attachment's key as nftables writes 16 bytes: like an IPv6 address."""
    return inet_ntop(AF_INET6, key)
