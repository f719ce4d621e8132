"""What the agent knows of an overlay: what it keeps true on the node, and what the plugin and `cnictl` read of it.

    <run>/overlay-state/<name>.json       written by the agent, whole or not at all, when something has changed

While the store is away the file stays as it is, and with it all that works.
"""

from __future__ import annotations

from cni_plugins.kernel import files
from cni_plugins.model.frozen import dump_json, parse_json
from cni_plugins.plan.resource import Resource
from cni_plugins.protocol.errors import DecodeFailure, TryAgain
from cni_plugins.protocol.ip import parse_address, parse_cidr
from vxlan.conf import HOST_GW, VXLAN, Half
from vxlan.peerlist import Peer
from vxlan.sides import Tunnels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_plugins.plan.resource import Item
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

_LIMIT = 1 << 26
_ENDING = ".json"


class Overlay:
    """An overlay as a node has it: its `name` (that of its CNI network), the `store` of its leases, the `underlay`'s name, its address
    families (`halves`), its `tunnels`, its `peers` (None while they are not known). `masquerades` and `forwards` tell whether it is
    masqueraded, and whether what is forwarded from and to it is let through; `about` is for people.
    """

    __slots__ = ("about", "forwards", "halves", "masquerades", "name", "peers", "store", "tunnels", "underlay")

    def __init__(self, name: str, store: str, halves: list[Half], tunnels: Tunnels, *, underlay: str, peers: list[Peer] | None) -> None:
        self.name = name
        self.store = store
        self.halves = halves
        self.tunnels = tunnels
        self.underlay = underlay
        self.peers = peers
        self.masquerades = self.forwards = True
        self.about: dict[str, Any] = {}

    def to_json(self) -> bytes:
        """The file's content."""
        return dump_json({**self.to_item(), "about": self.about})

    def essence(self) -> bytes:
        """What the node is to have: two overlays that do not differ in it need no change."""
        return dump_json(self.to_item())

    def to_item(self) -> Item:
        """As a part of JSON."""
        tunnels = self.tunnels
        return {
            "name": self.name,
            "store": self.store,
            "underlay": self.underlay,
            "backend": VXLAN if tunnels.tunnelled else HOST_GW,
            "vni": tunnels.vni,
            "port": tunnels.port,
            "mtu": tunnels.mtu,
            "directRouting": tunnels.direct,
            "ipMasq": self.masquerades,
            "forwardRules": self.forwards,
            "halves": [_half(half) for half in self.halves],
            "peers": None if self.peers is None else [_peer(peer) for peer in self.peers],
        }

    @classmethod
    def from_json(cls, data: bytes) -> Overlay:
        """Read a file's content. Raises DecodeFailure."""
        return cls.from_item(parse_json(data))

    @classmethod
    def from_item(cls, found: Item) -> Overlay:
        """Read what `to_item` gives. Raises DecodeFailure."""
        try:
            tunnelled = found["backend"] == VXLAN
            tunnels = Tunnels(found["vni"], port=found["port"], mtu=found["mtu"], tunnelled=tunnelled, direct=found["directRouting"])
            halves = [_read_half(one) for one in found["halves"]]
            peers = found["peers"] and [_read_peer(one) for one in found["peers"]]
            overlay = cls(found["name"], found["store"], halves, tunnels, underlay=found["underlay"], peers=peers)
            overlay.masquerades, overlay.forwards = found["ipMasq"], found.get("forwardRules", False)
            overlay.about = dict(found.get("about") or {})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DecodeFailure(f"this is not what the agent writes: {error!r}") from None
        return overlay


def _half(half: Half) -> dict[str, str]:
    return {"network": str(half.network), "subnet": str(half.subnet), "node": half.node.address if half.node else ""}


def _read_half(data: dict[str, str]) -> Half:
    node = parse_address(data["node"]) if data["node"] else None
    return Half(parse_cidr(data["network"]), parse_cidr(data["subnet"]), node)


def _peer(peer: Peer) -> dict[str, str]:
    return {"node": peer.node.address, "subnet": str(peer.subnet), "mac": peer.mac}


def _read_peer(data: dict[str, str]) -> Peer:
    return Peer(parse_address(data["node"]), parse_cidr(data["subnet"]), data["mac"])


def home(run_dir: str) -> str:
    """The directory of the files."""
    return f"{run_dir}/overlay-state"


def path_of(run_dir: str, name: str) -> str:
    """An overlay's file."""
    return f"{home(run_dir)}/{name}{_ENDING}"


def names(run_dir: str) -> list[str]:
    """The overlays that the agent keeps, or has kept since the node was started."""
    return sorted(name.removesuffix(_ENDING) for name in files.names(home(run_dir)) if name.endswith(_ENDING) and name[0] != ".")


def read(run_dir: str, name: str) -> Overlay | None:
    """What the agent knows of an overlay; None when it has not written anything. Raises IoFailure, DecodeFailure."""
    path = path_of(run_dir, name)
    data = files.read(path, limit=_LIMIT)
    if data is None:
        return None
    try:
        return Overlay.from_json(data)
    except DecodeFailure as error:
        raise DecodeFailure(f"{path}: {error.msg}") from None


def write(run_dir: str, overlay: Overlay) -> bool:
    """Write an overlay's file, and say whether that changed it. Raises IoFailure."""
    path, data = path_of(run_dir, overlay.name), overlay.to_json()
    if files.read(path, limit=_LIMIT) == data:
        return False
    files.make_dirs(home(run_dir), mode=0o700)
    files.write_atomic(path, data)
    return True


def forget(run_dir: str, name: str) -> None:
    """Remove an overlay's file. Raises IoFailure."""
    files.withdraw(path_of(run_dir, name))


class FromAgent(Resource["Overlay"]):
    """What the agent knows of the attachment's network, whose leases are in `store`."""

    __slots__ = ("store",)

    def __init__(self, store: str) -> None:
        self.store = store

    def predict(self, world: World, att: Attachment) -> Overlay:
        """Read it. Raises TryAgain while there is nothing to read, or it is of another store."""
        found = read(world.run_dir, att.network)
        if found is None:
            raise TryAgain(
                f"store: the agent does not know the overlay {att.network!r} (yet): there is no {path_of(world.run_dir, att.network)}",
                f"run cni-agent with an [[overlay]] of that name and store = {self.store!r}; its log says what it waits for",
            )
        if found.store != self.store:
            raise TryAgain(f"store: the agent has the leases of {att.network!r} in {found.store!r}, and not in {self.store!r}")
        return found

    def apply(self, world: World, att: Attachment) -> Overlay:
        """What it knows now."""
        return self.predict(world, att)

    def verify(self, world: World, att: Attachment) -> Overlay:
        """It still knows it. Without it nothing else can be compared, so that CHECK ends here."""
        return self.predict(world, att)
