"""Network sysctls in the container's network namespace, those of its interface among them.

Which ones may be set is up to the node: /etc/cni/tuning/allowlist.conf has regular expressions, one a line, of which one must be
found in the key as the configuration has it. Without that file all may. The file is the reference's, and so is its reading.
"""

from __future__ import annotations

from _socket import AF_INET6, inet_pton
from errno import EACCES, EIO

from cni_plugins.kernel import files, sysctl
from cni_plugins.model.frozen import dump_json
from cni_plugins.plan import originals
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.protocol.errors import InvalidConfig, IoFailure, KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cni_plugins.plan.resource import Item
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

ALLOWLIST = "/etc/cni/tuning/allowlist.conf"
_GO = {
    "[:alpha:]": "a-zA-Z",
    "[:digit:]": "0-9",
    "[:alnum:]": "a-zA-Z0-9",
    "[:lower:]": "a-z",
    "[:upper:]": "A-Z",
    "[:word:]": r"\w",
    "[:space:]": r"\s",
    "[:punct:]": r"!-/:-@\[-`{-~",
    r"\z": r"\Z",
}
"""What Go's expressions have and Python's write otherwise."""


class SysctlsKind(Kind):
    """What was changed, by namespace."""

    name = "sysctls"
    repeatable = True

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Put back what was there before, unless the namespace has gone; so may single ones, with their interface.

        Setting one may change others (forwarding does): what is not as it was after the first round is set in the second.
        """
        for one in owned:
            netns = originals.place_of(world, one.item)
            if netns is None:
                continue
            with netns.inside():
                for name, value in [*one.item["before"].items()] * 2:
                    _restore(name, value)


KIND = SysctlsKind()


class Sysctls(Resource["None"]):
    """Each sysctl has its value. `wanted` maps keys of the configuration to values; see `name_of`."""

    __slots__ = ("wanted",)
    kind = KIND

    def __init__(self, wanted: Mapping[str, str]) -> None:
        self.wanted = wanted

    def record(self, world: World, att: Attachment) -> Item:
        """What differs now from what is wanted. What cannot be read (some can only be written) cannot be put back either."""
        with world.inside(att).inside():
            found = {name: _read(name) for _, name, _ in self._named(att)}
        before = {name: found[name] for _, name, value in self._named(att) if found[name] not in (None, value)}
        return originals.item_of(world, att, KIND, before)

    def refuse(self, world: World, att: Attachment) -> None:
        """Each must be allowed on this node, given once, and be there."""
        self.ready(world)
        twice = _given_twice(world.request.stdin, self.wanted)
        if twice:
            raise InvalidConfig(f"sysctl: {twice!r} is duplicated: which of its values is meant?")
        with world.inside(att).inside():
            for key, name, _ in self._named(att):
                if not files.exists(f"/proc/sys/{name}"):
                    raise KernelRefused(f"sysctl: {key!r}: this kernel does not have it, or the interface does not exist")

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Set them, in the order of the configuration."""
        with world.inside(att).inside():
            for _, name, value in self._named(att):
                if _read(name) is None:
                    files.append(f"/proc/sys/{name}", value.encode())
                else:
                    sysctl.write(name, value)

    def verify(self, world: World, att: Attachment) -> None:
        """Each has its value, however the kernel writes it."""
        with world.inside(att).inside():
            found = [(key, value, _read(name), files.exists(f"/proc/sys/{name}")) for key, name, value in self._named(att)]
        problems = [f"{key} is gone" for key, _, _, there in found if not there]
        problems += [f"{key} is {now}, not {value}" for key, value, now, _ in found if now is not None and _plain(now) != _plain(value)]
        if problems:
            raise Drift(f"sysctl: {', '.join(problems)}")

    def ready(self, world: World) -> None:
        """Each must be allowed on this node."""
        lines = files.read(ALLOWLIST)
        if lines is None:
            return
        patterns = [line.strip() for line in lines.decode("utf-8", "replace").split("\n") if line.strip()]
        for key in self.wanted:
            if not _allowed(key, patterns):
                raise InvalidConfig(f"sysctl: {key!r} is not allowed on this node", f"{ALLOWLIST} allows {', '.join(patterns)}")

    def _named(self, att: Attachment) -> Iterable[tuple[str, str, str]]:
        """Key, name and value of each."""
        for key, value in self.wanted.items():
            yield key, name_of(key).replace("IFNAME", att.ifname, 1), value


def name_of(key: str) -> str:
    """The name that a key of the configuration stands for: dots count as slashes, wherever they are, as the reference has it.

    The first IFNAME in it stands for the container's interface, whose name may hold dots. Raises ValueError for what is no
    network sysctl.
    """
    parts = [part for part in key.replace(".", "/").split("/") if part]
    if len(parts) < 2 or parts[0] != "net" or "\0" in key:
        raise ValueError(f"{key!r} is not a network sysctl: those begin with net.")
    return "/".join(parts)


def _given_twice(stdin: bytes, keys: Iterable[str]) -> str:
    """The first of `keys` that an object of the configuration has twice, which a parsed one does not tell; empty when none."""
    if all(stdin.count(dump_json(key)) < 2 for key in keys):
        return ""
    import _json

    found: list[str] = []

    def look(pairs: list[tuple[str, object]]) -> None:
        names = [name for name, _ in pairs]
        found.extend(key for key in keys if names.count(key) > 1)

    _json.make_scanner(_Reading(look))(stdin.decode().lstrip(), 0)  # type: ignore[arg-type]
    return found[0] if found else ""


class _Reading:
    """What the scanner of `json` asks its decoder for."""

    strict = False
    object_hook = None
    parse_float = parse_int = parse_constant = str

    def __init__(self, look: Callable[[list[tuple[str, object]]], None]) -> None:
        self.object_pairs_hook = look


def _read(name: str) -> str | None:
    """A sysctl's value; None for one that is not there, or can only be written, or has no value before it gets one."""
    try:
        return sysctl.read(name)
    except KernelRefused as error:
        reason = _errno(error)
        if reason == EACCES or (reason == EIO and name.endswith("/stable_secret")):
            return None
        raise


def _plain(value: str) -> list[object]:
    """A value without its notation: the kernel's spaces, numbers and addresses look different from what people write."""
    return [_number(word) for word in value.split()]


def _number(word: str) -> object:
    try:
        return inet_pton(AF_INET6, word) if ":" in word else int(word, 0)
    except (OSError, ValueError):
        return word


def _restore(name: str, value: str) -> None:
    """Set a sysctl to what it was. An empty value takes a line end: writing nothing changes nothing."""
    try:
        sysctl.write(name, value or "\n", optional=True)
    except KernelRefused as error:
        if _errno(error) not in originals.LOST:
            raise


def _errno(error: KernelRefused) -> int | None:
    return error.__cause__.errno if isinstance(error.__cause__, OSError) else None


def _allowed(key: str, patterns: Iterable[str]) -> bool:
    import re

    for pattern in patterns:
        translated = pattern
        for theirs, ours in _GO.items():
            translated = translated.replace(theirs, ours)
        try:
            if re.search(translated, key):
                return True
        except re.error as error:
            raise IoFailure(f"{ALLOWLIST}: {pattern!r} is not a regular expression: {error}") from None
    return False
