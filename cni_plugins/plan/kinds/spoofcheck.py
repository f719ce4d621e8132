"""Dropping frames that do not carry the container's own MAC address (`macspoofchk`), in one bridge table of ours: a pod
costs an element in each of two sets.

    table bridge cni_plugins
        set guarded { ifname }              ports that are watched
        set allowed { ifname . ether_addr } what may come in there
"""

from __future__ import annotations

from cni_plugins.kernel.nft import NftError
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.protocol.attachment import key_of_mark, network_key
from cni_plugins.protocol.errors import KernelRefused, NotReady

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from cni_plugins.plan.kinds.veth import Pair
    from cni_plugins.plan.resource import Item, Recorded
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

TABLE = "bridge cni_plugins"
_SETUP = f"""\
add table {TABLE}
add set {TABLE} guarded {{ type ifname; }}
add set {TABLE} allowed {{ type ifname . ether_addr; }}
add chain {TABLE} prerouting {{ type filter hook prerouting priority -300; policy accept; }}
flush chain {TABLE} prerouting
add rule {TABLE} prerouting iifname @guarded iifname . ether saddr != @allowed drop
"""


class SpoofKind(Kind):
    """Elements by the port's derived name; and the reference's chains for an attachment."""

    name = "spoofcheck"

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Take the port out of both sets. Its name is derived from the owner, so an element is nobody else's."""
        for one in owned:
            if "port" in one.item:
                _delete(world, "allowed", f'"{one.item["port"]}" . {one.item["mac"]}')
                _delete(world, "guarded", f'"{one.item["port"]}"')
            if "legacy" in one.item:
                _legacy().drop(world.nft, one.item["legacy"])

    def find(self, world: World, att: Attachment) -> list[Item]:
        """Elements of the derived port name, and the reference's chains."""
        if not world.nft.installed():
            return []
        items: list[Item] = [{"port": port, "mac": mac} for port, mac in _allowed(world) if port == att.host_name]
        left = _legacy().find(world.nft, att)
        return items + ([{"legacy": left}] if left else [])

    def lost(self, world: World) -> bool:
        """Whether our chain is gone."""
        return world.nft.installed() and not world.nft.has_chain(f"{TABLE} prerouting")

    def restore(self, world: World, recorded: Recorded) -> set[bytes]:
        """Limit the ports again to the addresses that the records have."""
        held = set(_allowed(world))
        lacking = [(att, item) for att, item in recorded if "port" in item and (item["port"], item["mac"]) not in held]
        elements = [_elements(item["port"], item["mac"]) for _, item in recorded if "port" in item]
        _run(world, _SETUP + "".join(elements))
        return {att.key for att, _ in lacking}

    def marked(self, world: World, network: str) -> Iterable[Owned]:
        """Elements whose port's alias says that it is of this network; for any network also those whose port is gone, as nobody's."""
        if not world.nft.installed():
            return
        for port, mac in _allowed(world):
            link = world.host.link(name=port)
            key = key_of_mark(link.alias) if link else b""
            if key is not None and key.startswith(network_key(network)):
                yield Owned(key, {"kind": self.name, "port": port, "mac": mac})


KIND = SpoofKind()


class SpoofCheck(Resource["None"]):
    """Only frames from the container's own MAC address come in through its port."""

    __slots__ = ("mac", "port")
    kind = KIND

    def __init__(self, pair: Pair) -> None:
        self.port = pair.host.name
        self.mac = pair.container.mac

    def record(self, world: World, att: Attachment) -> Item:
        """The port and the address."""
        return {"port": self.port, "mac": self.mac}

    def refuse(self, world: World, att: Attachment) -> None:
        """nftables must be usable."""
        self.ready(world)

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Both elements in one transaction; the first pod's call makes the table."""
        _allow(world, self.port, self.mac)

    def verify(self, world: World, att: Attachment) -> None:
        """The port is watched for this address, by us or by the reference if that made the attachment."""
        if (self.port, self.mac) not in _allowed(world) and not _legacy().find(world.nft, att):
            raise Drift(f"macspoofchk: {self.port} is not limited to {self.mac} any more")

    def ready(self, world: World) -> None:
        """libnftables must be installed, and the kernel have nftables."""
        reason = world.nft.available()
        if reason is not None:
            raise NotReady(f"macspoofchk: {reason}")


def _allow(world: World, port: str, mac: str) -> None:
    try:
        world.nft.run(_elements(port, mac))
    except NftError as error:
        if not error.missing:
            raise KernelRefused(str(error), error.said) from None
        _run(world, _SETUP + _elements(port, mac))


def _elements(port: str, mac: str) -> str:
    return f'add element {TABLE} allowed {{ "{port}" . {mac} }}\nadd element {TABLE} guarded {{ "{port}" }}\n'


def _run(world: World, commands: str) -> None:
    try:
        world.nft.run(commands)
    except NftError as error:
        raise KernelRefused(str(error), error.said) from None


def _allowed(world: World) -> list[tuple[str, str]]:
    try:
        return [(one.key[0].strip('"'), one.key[1]) for one in world.nft.elements("set", f"{TABLE} allowed")]
    except NftError as error:
        if error.missing:
            return []
        raise KernelRefused(str(error), error.said) from None


def _delete(world: World, name: str, key: str) -> None:
    try:
        world.nft.run(f"delete element {TABLE} {name} {{ {key} }}")
    except NftError as error:
        if not error.missing:
            raise KernelRefused(str(error), error.said) from None


def _legacy() -> ModuleType:
    """What the reference leaves: an ADD, and a DEL of what we made ourselves, need not load it."""
    from cni_plugins.legacy import spoofcheck

    return spoofcheck
