"""What each delegate got, kept in files that outlive a reboot, so that its DEL gets the same.

One file an attachment in `dataDir`, `<container ID>:<interface>`. Beside it stands `<container ID>` with the same bytes, which is
where flannel's own plugin keeps its state: it finds ours there, and we find its. That name tells no interface, so a file of that name
which has something else in it belongs to another attachment of the container, and is left alone.
"""

from __future__ import annotations

from cni_plugins.kernel import files
from cni_plugins.plan.kinds import delegate
from cni_plugins.plan.kinds.network import NetworkConf
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.protocol.attachment import Attachment
from cni_plugins.protocol.errors import CniError, DecodeFailure
from flannel import subnet_env
from flannel.conf import delegate_conf, delegate_conf_for_removal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni_plugins.plan.resource import Item, Valid
    from cni_plugins.plan.world import World
    from flannel.conf import FlannelConf, FlannelReleaseConf

_SEPARATOR = ":"  # neither a container's ID nor an interface's name can have it
_FIRST = "eth0"


class StateKind(Kind):
    """State files, by their names; they stay as long as the delegate has not taken its DEL."""

    name = "state"
    parent = True

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Remove the file, and before it the one for flannel's own plugin when it has the same in it, or was cut off."""
        for one in owned:
            path, twin = one.item["path"], one.item["path"].rpartition(_SEPARATOR)[0]
            if one.item["shared"]:
                mine = files.read(path)
                if mine is not None and mine.startswith(files.read(twin) or b""):
                    files.withdraw(twin)
            files.withdraw(path)

    def find(self, world: World, att: Attachment) -> list[Item]:
        """The attachment's file, which may be there; without it the one that flannel's own plugin left."""
        found = [_item(world.conf, att)]
        if _usable(found[0]["path"], att.network) is None:
            plain = f"{world.conf.dataDir}/{att.container_id}"
            if _usable(plain, att.network) is not None:
                found.append({"path": plain, "shared": False})
        return found

    def marked(self, world: World, network: str) -> Iterable[Owned]:
        """Every file of ours that speaks of this network."""
        for att, _ in attachments(world, network):
            yield Owned(att.key, {"kind": self.name, **_item(world.conf, att)})

    def collect(self, world: World, valid: Valid) -> None:
        """Remove what flannel's own plugin left of containers that are gone."""
        for att, _ in abandoned(world, valid):
            files.withdraw(f"{world.conf.dataDir}/{att.container_id}")


KIND = StateKind()


class State(Resource["NetworkConf"]):
    """The configuration that the delegate gets, written down: the fact is that configuration."""

    __slots__ = ("conf",)
    kind = KIND

    def __init__(self, conf: FlannelConf) -> None:
        self.conf = conf

    def predict(self, world: World, att: Attachment) -> NetworkConf:
        """What the subnet file and the configuration make."""
        return delegate_conf(self.conf, subnet_env.read(self.conf.subnetFile))

    def apply(self, world: World, att: Attachment) -> NetworkConf:
        """Write it down."""
        made, path = self.predict(world, att), _path(self.conf, att)
        files.make_dirs(self.conf.dataDir.rstrip("/").rpartition("/")[0] or "/")
        files.make_dirs(self.conf.dataDir, mode=0o700)
        files.write_atomic(path, made.stdin)
        plain = path.rpartition(_SEPARATOR)[0]
        if not files.exists(plain):
            files.write_atomic(plain, made.stdin)
        return made

    def verify(self, world: World, att: Attachment) -> NetworkConf:
        """What was written down."""
        kept = stored(self.conf, att)
        if kept is None:
            raise Drift(f"the state of {att} in {self.conf.dataDir} is gone", reconstructed(world))
        return kept

    def ready(self, world: World) -> None:
        """Files can be written; that the subnet file can be used is found out by foretelling. Raises IoFailure."""
        files.check_writable(self.conf.dataDir)

    def record(self, world: World, att: Attachment) -> Item:
        """The file's path, and that flannel's own plugin has one beside it."""
        return _item(self.conf, att)


def stored(conf: FlannelReleaseConf, att: Attachment) -> NetworkConf | None:
    """What the delegate of an attachment got, by our file or the one of flannel's own plugin; None when neither can be used."""
    return _usable(_path(conf, att), att.network) or _usable(f"{conf.dataDir}/{att.container_id}", att.network)


def reconstructed(world: World) -> NetworkConf | None:
    """What a delegate is likely to have got: by the configuration with the subnet file, or with the addresses that prevResult has.

    None when neither tells a subnet and the delegate is not our own: others refuse an `ipam` without ranges whatever the verb.
    """
    try:
        return delegate_conf(world.conf, subnet_env.read(world.conf.subnetFile))
    except CniError:
        ips = world.prev.ips if world.prev else ()
    subnets = list(dict.fromkeys(ip.address.network for ip in ips))
    known = subnets or delegate.find(world, world.conf.delegate_type, field="delegate.type").own
    return delegate_conf_for_removal(world.conf, subnets) if known else None


def attachments(world: World, network: str) -> Iterable[tuple[Attachment, NetworkConf]]:
    """The attachments of a network that have a file of ours, and what their delegates got."""
    for name in files.names(world.conf.dataDir):
        container, separator, ifname = name.partition(_SEPARATOR)
        if separator and not files.name_of_draft(name):
            kept = _usable(f"{world.conf.dataDir}/{name}", network)
            if kept is not None:
                yield Attachment(network, container, ifname), kept


def abandoned(world: World, valid: Valid) -> list[tuple[Attachment, NetworkConf]]:
    """What flannel's own plugin wrote of this network for containers that have no valid attachment, and no file of ours.

    It does not say for which interface: the one that every runtime makes first is assumed.
    """
    if valid is None:
        return []
    kept = {container for container, _ in valid} | {att.container_id for att, _ in attachments(world, world.conf.name)}
    names = [name for name in files.names(world.conf.dataDir) if _SEPARATOR not in name and name not in kept]
    found = {name: _usable(f"{world.conf.dataDir}/{name}", world.conf.name) for name in names if not files.name_of_draft(name)}
    return [(Attachment(world.conf.name, name, _FIRST), conf) for name, conf in found.items() if conf is not None]


def _usable(path: str, network: str) -> NetworkConf | None:
    """What a file has, when it is a configuration of this network; a power failure may have left anything in it."""
    data = files.read(path)
    if data is None:
        return None
    try:
        conf = NetworkConf(data)
    except DecodeFailure:
        return None
    return conf if conf.name == network else None


def _path(conf: FlannelReleaseConf, att: Attachment) -> str:
    return f"{conf.dataDir}/{att.container_id}{_SEPARATOR}{att.ifname}"


def _item(conf: FlannelReleaseConf, att: Attachment) -> Item:
    return {"path": _path(conf, att), "shared": True}
