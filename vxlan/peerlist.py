"""The other nodes of an overlay: what a peer is, and where the list of them comes from."""

from __future__ import annotations

from _blake2 import blake2b

from cni_plugins.kernel import files
from cni_plugins.model import rules
from cni_plugins.model.frozen import parse_json
from cni_plugins.plan.resource import Drift, Resource
from cni_plugins.protocol.errors import CniError, DecodeFailure, InvalidConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.ip import Cidr

_LIMIT = 1 << 24
_KEYS = ("node", "subnet", "mac")


class Peer:
    """A subnet behind a node. `node` is the node's address on the underlay, `mac` that of its VXLAN device, empty for the derived one."""

    __slots__ = ("mac", "node", "subnet")

    def __init__(self, node: Cidr, subnet: Cidr, mac: str = "") -> None:
        self.node = node
        self.subnet = subnet
        self.mac = mac

    def vtep_mac(self, vni: int) -> str:
        """The hardware address of the peer's VXLAN device."""
        return self.mac or vtep_mac(self.node, vni)

    def __str__(self) -> str:
        return f"peer {self.node.address} with {self.subnet}"


def vtep_mac(node: Cidr, vni: int) -> str:
    """The hardware address of a node's VXLAN device, the same whoever works it out: a locally administered one, from a hash (BLAKE2b)
    of the node's address and the VNI. So a device that is made anew is the one that its peers know.
    """
    raw = bytearray(blake2b(f"vtep {node.address} {vni}".encode(), digest_size=6).digest())
    raw[0] = raw[0] & 0xFC | 0x02
    return raw.hex(":")


def complaints(peers: Iterable[Peer], networks: list[Cidr]) -> Iterator[str]:
    """What is wrong with peers, whatever the node: each is named with its reason."""
    for _, reason in _judged(peers, networks):
        if reason:
            yield reason


def usable(peers: Iterable[Peer], networks: list[Cidr]) -> tuple[list[Peer], list[str]]:
    """The peers that can be worked with, and what is wrong with each of the others."""
    judged = list(_judged(peers, networks))
    return [peer for peer, reason in judged if not reason], [reason for _, reason in judged if reason]


def _judged(peers: Iterable[Peer], networks: list[Cidr]) -> Iterator[tuple[Peer, str]]:
    """Each peer, in the order of their subnets, with what is wrong with it (empty: nothing)."""
    last: Peer | None = None
    for peer in sorted(peers, key=lambda one: (one.subnet.family, one.subnet.first, one.subnet.prefix, one.node.value)):
        reason = _reason(peer, networks)
        if not reason and last is not None and last.subnet.overlaps(peer.subnet):
            reason = f"{peer}: {last.subnet} of {last.node.address} is there too"
        if not reason:
            last = peer
        yield peer, reason


def _reason(peer: Peer, networks: list[Cidr]) -> str:
    if peer.node.family != peer.subnet.family:
        return f"{peer}: a node is reached by an address of its subnet's family"
    if not any(network.contains(peer.subnet) for network in networks):
        return f"{peer}: the subnet is not a part of {' or '.join(map(str, networks)) or 'any network'}"
    return ""


class PeerFile(Resource["list[Peer]"]):
    """The list of peers in a file: JSON, `[{"node": …, "subnet": …, "mac": …}, …]`. An entry that says nothing sensible is passed over,
    and named by CHECK: it must not keep the others from being reached.
    """

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def predict(self, world: World, att: Attachment) -> list[Peer]:
        """What the file says. Raises CniError when it cannot be read."""
        return self.read()[0]

    def apply(self, world: World, att: Attachment) -> list[Peer]:
        """What the file says now."""
        return self.read()[0]

    def verify(self, world: World, att: Attachment) -> list[Peer]:
        """Every entry makes sense."""
        try:
            peers, problems = self.read()
        except CniError as error:
            raise Drift(error.msg, []) from None
        if problems:
            raise Drift("; ".join(problems), peers)
        return peers

    def read(self) -> tuple[list[Peer], list[str]]:
        """The peers, and what is wrong with the other entries. Raises IoFailure, DecodeFailure or InvalidConfig."""
        data = files.read(self.path, limit=_LIMIT)
        if data is None:
            raise InvalidConfig(f"peersFile: {self.path} does not exist", "write the list of peers there: [] for none")
        try:
            entries = parse_json(data)
        except DecodeFailure as error:
            raise DecodeFailure(f"peersFile: {self.path}: {error.msg}") from None
        if type(entries) is not list:
            raise InvalidConfig(f"peersFile: {self.path} does not hold a list")
        peers, problems = [], []
        for place, entry in enumerate(entries):
            try:
                peers.append(_peer(entry))
            except ValueError as error:
                problems.append(f"peersFile: {self.path}: [{place}]: {error}")
        return peers, problems


def _peer(entry: object) -> Peer:
    """Read an entry of the file. Raises ValueError."""
    texts = {key: entry.get(key) or "" for key in _KEYS} if isinstance(entry, dict) else {}
    if not texts or any(not isinstance(text, str) for text in texts.values()):
        raise ValueError(f"{entry!r} is not an object with the strings {', '.join(_KEYS)}")
    node = rules.address(texts["node"])
    if node is None or not texts["subnet"]:
        raise ValueError(f"{'subnet' if node else 'node'} is missing")
    return Peer(node, rules.address_with_prefix(texts["subnet"]).network, rules.mac(texts["mac"]))
