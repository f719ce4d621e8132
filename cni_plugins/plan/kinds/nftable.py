"""Our one table in nftables, and how elements of its maps are owned.

    table inet cni_plugins
        map masquerade4, masquerade6     source address -> the verdict of its network (see masquerade.py)
        map hostport4, hostip4, …        port of the node -> the container's address and port (see portmap.py)
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

    from cni_plugins.kernel.nft import Element, Nft
    from cni_plugins.protocol.attachment import Attachment

TABLE = "inet cni_plugins"
_COMMENT_MAX = 127


class OwnedMap:
    """A map or set with its owner set, both in `table` ("inet cni_plugins"). `setup` makes the table and all that is in it.

    `beside` names further maps with the same keys, which have the same owners. `shown` says in words which key an error is about.
    """

    __slots__ = ("beside", "name", "setup", "shown", "table")
    _word = "map"

    def __init__(
        self,
        table: str,
        name: str,
        *,
        setup: Callable[[], str],
        beside: tuple[str, ...] = (),
        shown: Callable[[str], str] | None = None,
    ) -> None:
        self.table = table
        self.name = name
        self.setup = setup
        self.beside = beside
        self.shown = shown or (lambda key: f"{name}: {key}")

    def create(self, nft: Nft, att: Attachment, *, key: str, data: str, prepare: str = "", dead: Callable[[bytes], bool]) -> None:
        """Put an element in as the attachment's. `data` is what the map holds (empty for a set), `prepare` makes what it refers to.

        An element whose owner is `dead` is replaced; Conflict names a live one. Raises KernelRefused.
        """
        claim(nft, att, [Claim(self, key, data)], prepare=lambda: prepare, dead=dead)

    def delete(self, nft: Nft, owner: bytes, key: str) -> None:
        """Take an element out if it is this owner's; anybody else's stays. Raises KernelRefused."""
        release(nft, owner, [(self, key)])

    def entry(self, owner: bytes, key: str) -> str:
        """The owner's entry for a key, as commands name it."""
        return f"element {self.table} {self.name}_owner {{ {_text(owner)} . {key} }}\n"

    def element(self, name: str, key: str) -> str:
        """The element of one of the maps, as commands name it."""
        return f"element {self.table} {name} {{ {key} }}\n"

    def listed(self, nft: Nft, name: str) -> dict[str, Element]:
        """All elements of one of the maps by their keys; none when there is no table. Raises KernelRefused."""
        return {self._key(one.key): one for one in elements(nft, self._word, f"{self.table} {name}")}

    def owners(self, nft: Nft) -> Iterator[tuple[bytes, str]]:
        """Every (attachment's key, element) of the owner set; none when there is no table. Raises KernelRefused."""
        for element in elements(nft, "set", f"{self.table} {self.name}_owner"):
            yield inet_pton(AF_INET6, element.key[0]), self._key(element.key[1:])

    def _key(self, parts: tuple[str, ...]) -> str:
        """A key as commands have it, out of a listing."""
        return " . ".join(parts)

    def holds(self, nft: Nft, owner: bytes, key: str) -> bool:
        """Whether the element is there and this owner's. Raises KernelRefused."""
        return (owner, key) in self.owners(nft) and key in self.listed(nft, self.name)


class OwnedSet(OwnedMap):
    """A set with its owner set: keys alone."""

    __slots__ = ()
    _word = "set"


class Claim:
    """An element that an attachment wants in a map: its key, and what the map and then those beside it hold (nothing for a set)."""

    __slots__ = ("data", "key", "map")

    def __init__(self, owned: OwnedMap, key: str, *data: str) -> None:
        self.map = owned
        self.key = key
        self.data = data

    def put(self, att: Attachment) -> str:
        """The commands that put it in, and fail where it is."""
        comment = str(att).replace('"', "")[:_COMMENT_MAX]
        notes = (f' comment "{comment}"', *("" for _ in self.map.beside))
        lines = [
            f"create element {self.map.table} {name} {{ {self.key}{note}{f' : {data}' if data else ''} }}\n"
            for name, note, data in zip((self.map.name, *self.map.beside), notes, self.data, strict=True)
        ]
        return "".join(lines) + f"create {self.map.entry(att.key, self.key)}"


def claim(nft: Nft, att: Attachment, claims: list[Claim], *, prepare: Callable[[], str], dead: Callable[[bytes], bool]) -> None:
    """Put elements in as the attachment's, all or none. `prepare` tells how to make what they refer to, where it is not there yet.

    An element whose owner is `dead` is replaced; Conflict names a live one. Raises KernelRefused, and what `prepare` raises.
    """
    put = "".join(one.put(att) for one in claims)
    try:
        try:
            nft.run(put)
        except NftError as error:
            if error.exists:
                put = _take_from_dead(nft, att, claims, dead) + put
            elif not error.missing:
                raise
            nft.run("".join(setup() for setup in {one.map.setup for one in claims}) + prepare() + put)
    except NftError as error:
        if error.exists:
            keys = ", ".join(one.map.shown(one.key) for one in claims)
            raise Conflict(f"{keys}: taken by another attachment meanwhile") from None
        raise KernelRefused(str(error), error.said) from None


def rivals(nft: Nft, att: Attachment, claims: list[Claim], dead: Callable[[bytes], bool]) -> dict[Claim, list[bytes]]:
    """Who has an entry for what is claimed, the attachment itself included. Raises Conflict when another who is alive has one."""
    found: dict[Claim, list[bytes]] = {}
    for owned in {one.map for one in claims}:
        owners = list(owned.owners(nft))
        for one in claims:
            if one.map is owned:
                found[one] = [owner for owner, key in owners if key == one.key]
                if any(owner != att.key and not dead(owner) for owner in found[one]):
                    comment = getattr(owned.listed(nft, owned.name).get(one.key), "comment", "")
                    advice = "an element has one owner at a time: DEL that one first"
                    raise Conflict(f"{owned.shown(one.key)} belongs to {comment}", advice)
    return found


def _take_from_dead(nft: Nft, att: Attachment, claims: list[Claim], dead: Callable[[bytes], bool]) -> str:
    """The commands that take elements from owners who are dead, and from nobody. Raises Conflict when one is alive."""
    commands = []
    for one, owners in rivals(nft, att, claims, dead).items():
        commands += [f"delete {one.map.entry(owner, one.key)}" for owner in owners]
        for name in (one.map.name, *one.map.beside):
            if one.key in one.map.listed(nft, name):
                commands.append(f"delete {one.map.element(name, one.key)}")
    return "".join(commands)


def release(nft: Nft, owner: bytes, keys: list[tuple[OwnedMap, str]]) -> None:
    """Take out those elements that are this owner's; anybody else's stay. Raises KernelRefused.

    All in one transaction; when that fails, somebody has removed some of it, and each goes by itself, with what is left of it.
    """
    if not keys or _deleted(nft, [line for owned, key in keys for line in (owned.entry(owner, key), *_lines(owned, key))]):
        return
    for owned, key in keys:
        elements = _lines(owned, key)
        every = [elements] if len(keys) > 1 else []
        each = [[element] for element in elements] if len(elements) > 1 else []
        for left in (*every, *each, []):
            if _deleted(nft, [owned.entry(owner, key), *left]):
                break


def elements(nft: Nft, kind: str, name: str) -> list[Element]:
    """The elements of a set or map; none when there is no such table. Raises KernelRefused."""
    try:
        return nft.elements(kind, name)
    except NftError as error:
        if error.missing:
            return []
        raise KernelRefused(str(error), error.said) from None


def _lines(owned: OwnedMap, key: str) -> list[str]:
    return [owned.element(name, key) for name in (owned.name, *owned.beside)]


def _deleted(nft: Nft, lines: list[str]) -> bool:
    """Delete these, all or none; False when one is not there."""
    try:
        nft.run("".join(f"delete {line}" for line in lines))
    except NftError as error:
        if not error.missing:
            raise KernelRefused(str(error), error.said) from None
        return False
    return True


def _text(key: bytes) -> str:
    """An attachment's key as nftables writes 16 bytes: like an IPv6 address."""
    return inet_ntop(AF_INET6, key)
