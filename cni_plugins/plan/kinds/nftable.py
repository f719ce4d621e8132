"""Our one table in nftables, and how elements of its maps are owned.

    table inet cni_plugins
        map masquerade4, masquerade6     source address -> the verdict of its network (see masquerade.py)
        map hostport4, hostip4, …        port of the node -> the container's address and port (see portmap.py)
        set masquerade4_owner, …         (attachment's key, element): who put it there

Deleting an element ignores what it holds, and adding a key again keeps the old element silently. So ownership is a set beside
each map: `create` fails for both or for none, and a deletion names the owner's element and the map's in one transaction, which fails as
a whole for anybody else. Comments say whose an element is to people; nothing depends on them.

Elements come and go without libnftables, which takes a cold call longer to load than all that they cost; what they stand in is made by it.
"""

from __future__ import annotations

from _socket import AF_INET6, inet_ntop, inet_pton

from cni_plugins.kernel.elements import create, delete, packed, stands
from cni_plugins.kernel.nft import NftError
from cni_plugins.protocol.errors import Conflict, KernelRefused, NotReady

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cni_plugins.kernel.nft import Element, Nft
    from cni_plugins.kernel.rtnl import Request
    from cni_plugins.protocol.attachment import Attachment

    Wanted = list[tuple[Attachment, "Claim"]]

TABLE = "inet cni_plugins"
_COMMENT_MAX = 127
_TRIES = 4


class OwnedMap:
    """A map or set with its owner set, both in `table` ("inet cni_plugins"). `setup` makes the table and all that is in it.

    `types` are those of a key ("inet_proto . inet_service"), `content` those of what the map says of it, empty for a verdict and for a set.
    `beside` names further maps with the same keys, which have the same owners. `shown` says in words which key an error is about.
    """

    __slots__ = ("beside", "content", "name", "setup", "shown", "table", "types")
    _word = "map"

    def __init__(
        self,
        table: str,
        name: str,
        *,
        types: str,
        setup: Callable[[], str],
        content: str = "",
        beside: tuple[str, ...] = (),
        shown: Callable[[str], str] | None = None,
    ) -> None:
        self.table = table
        self.name = name
        self.types = types
        self.content = content
        self.setup = setup
        self.beside = beside
        self.shown = shown or (lambda key: f"{name}: {key}")

    @property
    def names(self) -> tuple[str, ...]:
        """The maps that a key is in."""
        return (self.name, *self.beside)

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
        return f"element {self.table} {self.name}_owner {{ {text_of(owner)} . {key} }}\n"

    def element(self, name: str, key: str) -> str:
        """The element of one of the maps, as commands name it."""
        return f"element {self.table} {name} {{ {key} }}\n"

    def require(self, nft: Nft, what: str) -> None:
        """Raise NotReady, about `what`, if nothing can be put in: libnftables may be missing only where the map is there already."""
        try:
            if stands(nft.netfilter, self.table, self.name):
                return
        except OSError:
            pass  # as much as that there is no nftables
        reason = nft.available()
        if reason is not None:
            raise NotReady(f"{what}: {reason}")

    def deletions(self, owner: bytes, key: str, names: Iterable[str]) -> list[Request]:
        """What takes a key out of the owner set, as this owner's, and out of the maps with these names."""
        packed_key = packed(self.types, key)
        return [delete(self.table, f"{self.name}_owner", owner + packed_key), *[delete(self.table, name, packed_key) for name in names]]

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
        commands = ""
        for name, data, note in self._places(att):
            comment, says = f' comment "{note}"' if note else "", f" : {data}" if data else ""
            commands += f"create element {self.map.table} {name} {{ {self.key}{comment}{says} }}\n"
        return f"{commands}create {self.map.entry(att.key, self.key)}"

    def creations(self, att: Attachment) -> list[Request]:
        """What does the same without libnftables."""
        owned, key = self.map, packed(self.map.types, self.key)
        into = [create(owned.table, name, key, data=data, types=owned.content, comment=note) for name, data, note in self._places(att)]
        return [*into, create(owned.table, f"{owned.name}_owner", att.key + key)]

    def _places(self, att: Attachment) -> Iterator[tuple[str, str, str]]:
        """Each map that it goes into, what that says of it, and the comment that stands there."""
        note = str(att).replace('"', "").encode()[:_COMMENT_MAX].decode(errors="ignore")
        notes = (note, *("" for _ in self.map.beside))
        return zip(self.map.names, self.data, notes, strict=True)


def claim(nft: Nft, att: Attachment, claims: list[Claim], *, prepare: Callable[[], str], dead: Callable[[bytes], bool]) -> None:
    """Put elements in as the attachment's, all or none. `prepare` tells how to make what they refer to, where it is not there yet.

    An element whose owner is `dead` is replaced; Conflict names a live one. Raises KernelRefused, and what `prepare` raises.
    """
    try:
        try:
            nft.change(*[request for one in claims for request in one.creations(att)])
        except NftError as error:
            put = "".join(one.put(att) for one in claims)
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


def refill(nft: Nft, wanted: Wanted, *, prepare: Iterable[str], dead: Callable[[bytes], bool]) -> set[bytes]:
    """Have the elements of many attachments in their maps again, and all that these stand in, in one transaction.

    What is there stays, with whoever has it if that is not `dead`. `prepare` makes what the elements refer to.

    Returns the keys of attachments whose elements were lacking. Raises KernelRefused.
    """
    ground = "".join([*{one.map.setup(): None for _, one in wanted}, *dict.fromkeys(prepare)])
    lacking, remains = wanted, ""
    for attempt in range(_TRIES):
        try:
            nft.run(ground + remains + "".join(one.put(att) for att, one in lacking))
            break
        except NftError as error:
            if attempt + 1 == _TRIES or not (error.exists or error.missing):
                raise KernelRefused(str(error), error.said) from None
            lacking, remains = _what_lacks(nft, wanted, dead)
    return {att.key for att, _ in lacking}


def _what_lacks(nft: Nft, wanted: Wanted, dead: Callable[[bytes], bool]) -> tuple[Wanted, str]:
    """What is not there as its attachment's, and the commands that take away what is left of it."""
    lacking: Wanted = []
    commands = ""
    for owned in {one.map for _, one in wanted}:
        owners: dict[str, list[bytes]] = {}
        for owner, key in owned.owners(nft):
            owners.setdefault(key, []).append(owner)
        held = {name: owned.listed(nft, name) for name in owned.names}
        for att, one in [pair for pair in wanted if pair[1].map is owned]:
            theirs = owners.get(one.key, [])
            there = {name: " . ".join(listed[one.key].data) for name, listed in held.items() if one.key in listed}
            whole = theirs == [att.key] and tuple(there.values()) == one.data
            if not whole and all(owner == att.key or dead(owner) for owner in theirs):
                lacking.append((att, one))
                commands += "".join(f"delete {owned.entry(owner, one.key)}" for owner in theirs)
                commands += "".join(f"delete {owned.element(name, one.key)}" for name in there)
    return lacking, commands


def _take_from_dead(nft: Nft, att: Attachment, claims: list[Claim], dead: Callable[[bytes], bool]) -> str:
    """The commands that take elements from owners who are dead, and from nobody. Raises Conflict when one is alive."""
    commands = []
    for one, owners in rivals(nft, att, claims, dead).items():
        commands += [f"delete {one.map.entry(owner, one.key)}" for owner in owners]
        for name in one.map.names:
            if one.key in one.map.listed(nft, name):
                commands.append(f"delete {one.map.element(name, one.key)}")
    return "".join(commands)


def release(nft: Nft, owner: bytes, keys: list[tuple[OwnedMap, str]]) -> None:
    """Take out those elements that are this owner's; anybody else's stay. Raises KernelRefused.

    All in one transaction; when that fails, somebody has removed some of it, and each goes by itself, with what is left of it.
    """
    if not keys or _deleted(nft, [request for owned, key in keys for request in owned.deletions(owner, key, owned.names)]):
        return
    for owned, key in keys:
        every = [owned.names] if len(keys) > 1 else []
        each = [(name,) for name in owned.names] if owned.beside else []
        for left in (*every, *each, ()):
            if _deleted(nft, owned.deletions(owner, key, left)):
                break


def elements(nft: Nft, kind: str, name: str) -> list[Element]:
    """The elements of a set or map; none when there is no such table. Raises KernelRefused."""
    try:
        return nft.elements(kind, name)
    except NftError as error:
        if error.missing:
            return []
        raise KernelRefused(str(error), error.said) from None


def _deleted(nft: Nft, requests: list[Request]) -> bool:
    """Delete these, all or none; False when one is not there."""
    try:
        nft.change(*requests)
    except NftError as error:
        if not error.missing:
            raise KernelRefused(str(error), error.said) from None
        return False
    return True


def text_of(key: bytes) -> str:
    """An attachment's key as nftables writes 16 bytes: like an IPv6 address."""
    return inet_ntop(AF_INET6, key)
