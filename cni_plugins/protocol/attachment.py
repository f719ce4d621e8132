"""An attachment: one interface of one container on one network. Everything that is made belongs to one (SPEC section 1, "Terminology")."""

from __future__ import annotations

from _blake2 import blake2b

MARK = "cni-plugins:"
_ALIAS_MAX = 255  # IFALIASZ less the terminating zero
_NAME_BYTES = 5


class Attachment:
    """Whose something is. `netns` is a path, empty when there is none (any more); `args` are the pairs of CNI_ARGS.

    Names, MAC addresses and marks on the host are derived from the identity, never drawn: the same attachment finds its own
    things again without a record, and a second try meets what a killed first one left.
    """

    __slots__ = ("args", "container_id", "ifname", "netns", "network")

    def __init__(self, network: str, container_id: str, ifname: str, netns: str = "", *, args: dict[str, str] | None = None) -> None:
        self.network = network
        self.container_id = container_id
        self.ifname = ifname
        self.netns = netns
        self.args = args or {}

    @property
    def key(self) -> bytes:
        """16 bytes: 8 for the network, 8 for container and interface, so that all of one network share a prefix."""
        return _hash(self.network) + _hash(f"{self.container_id}\0{self.ifname}")

    @property
    def host_name(self) -> str:
        """The name of the host end of a pair of ours: 14 of the 15 characters that Linux allows."""
        return host_name_of(self.key)

    @property
    def mark(self) -> str:
        """The alias that our links carry: the key for us, the names for people."""
        text = f"{MARK}{self.key.hex()} {self.network}/{self.container_id}/{self.ifname}"
        return text.encode()[:_ALIAS_MAX].decode("utf-8", "ignore")

    def mac(self, end: str) -> str:
        """A locally administered unicast address for one `end` of the attachment's link."""
        return mac_of(self.key, end)

    def __str__(self) -> str:
        return f"{self.network}/{self.container_id}/{self.ifname}"


def network_key(network: str) -> bytes:
    """The 8 bytes that start the key of every attachment of a network; none for the empty name, which stands for all networks."""
    return _hash(network) if network else b""


def host_name_of(key: bytes) -> str:
    """The name of the host end that belongs to an attachment's key."""
    return "veth" + _hash(key)[:_NAME_BYTES].hex()


def mac_of(key: bytes, end: str) -> str:
    """The address of one `end` ("host", "container") of the link that belongs to an attachment's key."""
    raw = bytearray(_hash(key + end.encode())[:6])
    raw[0] = raw[0] & 0xFC | 0x02
    return raw.hex(":")


def key_of_mark(alias: str) -> bytes | None:
    """The key in a link's alias, or None when the link is not ours."""
    if not alias.startswith(MARK):
        return None
    try:
        key = bytes.fromhex(alias[len(MARK) :].partition(" ")[0])
    except ValueError:
        return None
    return key if len(key) == 16 else None


def _hash(data: str | bytes) -> bytes:
    return blake2b(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data, digest_size=8).digest()
