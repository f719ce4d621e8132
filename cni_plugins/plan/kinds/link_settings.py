"""Settings of a container's interface that a plugin before made: MAC address, MTU, transmit queue, promiscuous modes.

What was there before is in the attachment's record, and in a file of the format and name that the reference has for it, so that a
node's plugins can be swapped while containers live: the reference's DEL restores from ours, and ours from the reference's.

    <dataDir>/<container ID>_<interface>.json    {"mac": …, "promisc": …, "mtu": …, "allmulti": …, "txQLen": …}

each key only where it was changed. Ours also have `owner`, the attachment's mark, which Go's decoder passes over.
"""

from __future__ import annotations

from cni_plugins.kernel import files
from cni_plugins.model.frozen import dump_json, parse_json
from cni_plugins.plan import originals
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.protocol.attachment import key_of_mark, network_key
from cni_plugins.protocol.errors import DecodeFailure, KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from cni_plugins.kernel.tunables import TunedLink
    from cni_plugins.plan.resource import Item
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

_TYPES = {"mac": str, "promisc": bool, "mtu": int, "allmulti": bool, "txQLen": int}


class LinkSettingsKind(Kind):
    """What was changed, by namespace and interface index; or by what the reference wrote down."""

    name = "link_settings"
    repeatable = True

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Put back what was there before, where the interface is still the same one; then the file goes."""
        for one in owned:
            if one.item.get("before"):
                _restore(world, one.item)
            owner = _owner(files.read(one.item["file"]))
            if owner is None or owner.hex() == one.item.get("owner", one.key.hex()):
                files.withdraw(one.item["file"])

    def find(self, world: World, att: Attachment) -> list[Item]:
        """The file of this container and interface, the reference's or ours.

        As the reference has it, DEL may come under another network's name: no container has two interfaces of one name.
        """
        path = _path(world.conf.data_dir, att)
        data = files.read(path)
        owner = _owner(data)
        if data is None or (owner is not None and owner[8:] != att.key[8:]):
            return []
        item = {"file": path, "netns": world.request.netns, "name": att.ifname, "before": _settings(data)}
        return [item | ({"owner": owner.hex()} if owner else {})]

    def marked(self, world: World, network: str) -> Iterable[Owned]:
        """Every file of ours of this network. The reference's do not tell their network: they go with their own DEL."""
        directory = world.conf.data_dir
        for name in files.names(directory):
            key = _owner(files.read(f"{directory}/{name}")) if name.endswith(".json") else None
            if key is not None and key.startswith(network_key(network)):
                yield Owned(key, {"kind": self.name, "file": f"{directory}/{name}"})


KIND = LinkSettingsKind()


class LinkSettings(Resource["None"]):
    """The container's interface is set as `wanted` says, named as in kernel/tunables.py; `directory` is that of the files."""

    __slots__ = ("directory", "wanted")
    kind = KIND

    def __init__(self, wanted: dict[str, Any], *, directory: str) -> None:
        self.wanted = wanted
        self.directory = directory

    def record(self, world: World, att: Attachment) -> Item:
        """What differs now from what is wanted."""
        link = _link(world, att)
        before = {name: link.tunables[name] for name, value in self.wanted.items() if link.tunables.get(name, value) != value}
        return originals.item_of(world, att, KIND, before, index=link.index, file=_path(self.directory, att))

    def refuse(self, world: World, att: Attachment) -> None:
        """The interface must be there."""
        _link(world, att)

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Write down first what is going to be lost."""
        from cni_plugins.kernel import tunables

        item = self.record(world, att)
        files.make_dirs(self.directory, mode=0o700)
        files.write_atomic(item["file"], dump_json({**item["before"], "owner": att.mark}))
        try:
            tunables.change(world.inside(att).netlink(), _link(world, att), self.wanted)
        except OSError as error:
            raise KernelRefused(f"interface {att.ifname}: {error}") from None

    def verify(self, world: World, att: Attachment) -> None:
        """All of them are as they were set."""
        found = _link(world, att, Drift).tunables
        changed = [f"{name} {found.get(name)}, not {value}" for name, value in self.wanted.items() if found.get(name) != value]
        if changed:
            raise Drift(f"interface {att.ifname} has {', '.join(changed)}")

    def ready(self, world: World) -> None:
        """The files can be written."""
        files.check_writable(self.directory)


def _link(world: World, att: Attachment, error: type[KernelRefused | Drift] = KernelRefused) -> TunedLink:
    from cni_plugins.kernel import tunables

    link = tunables.read(world.inside(att).netlink(), name=att.ifname)
    if link is None:
        raise error(f"CNI_IFNAME: there is no interface {att.ifname} in {att.netns}")
    return link


def _restore(world: World, item: Item) -> None:
    from cni_plugins.kernel import tunables

    netns = originals.place_of(world, item)
    if netns is None:
        return
    where = {"index": item["index"]} if "index" in item else {"name": item["name"]}
    link = tunables.read(netns.netlink(), **where)
    if link is None:
        return
    try:
        tunables.change(netns.netlink(), link, item["before"], tolerated=originals.LOST)
    except OSError as error:
        raise KernelRefused(f"what was there before tuning cannot be restored: {error}") from None


def _path(directory: str, att: Attachment) -> str:
    return f"{directory}/{att.container_id}_{att.ifname}.json"


def _content(data: bytes | None) -> dict[str, Any]:
    """What a file has; nothing when there is none, or only half of one: the reference does not write whole ones."""
    try:
        content = parse_json(data or b"{}")
    except DecodeFailure:
        return {}
    return content if isinstance(content, dict) else {}


def _owner(data: bytes | None) -> bytes | None:
    """The key of the attachment that a file says it is of; None for one of the reference's, or none at all."""
    mark = _content(data).get("owner")
    return key_of_mark(mark) if isinstance(mark, str) else None


def _settings(data: bytes) -> dict[str, Any]:
    """What a file says of an interface, where it is of the right type."""
    content = _content(data)
    return {name: content[name] for name, kind in _TYPES.items() if type(content.get(name)) is kind and content[name] != ""}
