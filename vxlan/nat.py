"""What nftables does for the overlays of this node. Sets of networks in our own table: an overlay costs some elements, a container none.

    set overlays4          10.5.0.0/16, 10.6.0.0/16    every overlay's whole network, masquerading or not
    set overlay_whole4     10.5.0.0/16                 the whole networks of those that masquerade,
    set overlay_pods4      10.5.1.0/24                 and this node's part of them
    set overlay_accepted4  10.5.0.0/16                 the whole networks of those whose forwarded packets pass (see forwarding.py)
    chain overlays         from a masquerading overlay's containers here, to what is in no overlay: masquerade
                           from what is in no overlay, to a masquerading overlay's containers elsewhere: masquerade

So traffic between containers of two overlays keeps its addresses, and goes where the routes lead; and what a client outside sends to a
port of this node comes back through it, although the container is on another node. A comment names the owner of each element: the
network's key.
"""

from __future__ import annotations

from cni_plugins.kernel.nft import NftError
from cni_plugins.plan.kinds.nftable import TABLE
from cni_plugins.protocol.attachment import network_key
from cni_plugins.protocol.errors import Conflict, KernelRefused
from cni_plugins.protocol.ip import Cidr, parse_either
from vxlan import forwarding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cni_plugins.kernel.nft import Nft

CHAIN = f"{TABLE} overlays"
_PRIORITY = 102  # after our chain for single addresses (101): of equal priorities the last one registered would win
_WORD = {4: ("ip", "ipv4_addr", "224.0.0.0/4"), 6: ("ip6", "ipv6_addr", "ff00::/8")}
_SETS = ("overlays", "overlay_whole", "overlay_pods", forwarding.SET)
_COMMENT_MAX = 127


class Translation:
    """What one overlay has in the sets: its whole `networks`, the `masqueraded` subnets, the `wholes` that these are parts of, and the
    networks that are `accepted`.
    """

    __slots__ = ("accepted", "masqueraded", "networks", "wholes")

    def __init__(
        self, networks: Iterable[Cidr], masqueraded: Iterable[Cidr], accepted: Iterable[Cidr], *, wholes: Iterable[Cidr] | None = None
    ) -> None:
        self.networks = list(networks)
        self.masqueraded = list(masqueraded)
        self.accepted = list(accepted)
        self.wholes = [one for one in self.networks if any(map(one.contains, self.masqueraded))] if wholes is None else list(wholes)

    def _wanted(self) -> Iterator[tuple[str, Cidr]]:
        for network in self.networks:
            yield f"overlays{network.family}", network
        for subnet in self.masqueraded:
            yield f"overlay_pods{subnet.family}", subnet
        for whole in self.wholes:
            yield f"overlay_whole{whole.family}", whole
        for network in self.accepted:
            yield f"{forwarding.SET}{network.family}", network

    def missing(self, nft: Nft, network: str) -> list[tuple[str, Cidr]]:
        """The elements that are not there, as (set, element). Raises Conflict when another network has one that overlaps."""
        present = {name: _elements(nft, name) for name in {name for name, _ in self._wanted()}}
        absent = []
        for name, wanted in self._wanted():
            clash = next(((element, owner) for element, owner in present[name] if element.overlaps(wanted)), None)
            if clash is None:
                absent.append((name, wanted))
            elif clash[0] != wanted or not clash[1].startswith(_owner(network)):
                raise Conflict(f"network: {wanted} overlaps {clash[0]}, which is the overlay {clash[1].partition(' ')[2]!r} on this node")
        return absent

    def put(self, nft: Nft, network: str) -> None:
        """Enter what is missing for the network with this name. Raises Conflict or KernelRefused."""
        absent = self.missing(nft, network)
        comment = f"{_owner(network)} {network}".replace('"', "")[:_COMMENT_MAX]
        commands = "".join(f'add element {TABLE} {name} {{ {element} comment "{comment}" }}\n' for name, element in absent)
        if commands or not chains_are_there(nft):
            _run(nft, _setup() + commands)

    def remove(self, nft: Nft, key: bytes) -> None:
        """Take out those that are the network's with this 8-byte key. Raises KernelRefused."""
        for name, wanted in self._wanted():
            if any(element == wanted and owner.startswith(key.hex()) for element, owner in _elements(nft, name)):
                _run(nft, f"delete element {TABLE} {name} {{ {wanted} }}\n")


def marked(nft: Nft, key: bytes) -> Translation:
    """Everything in the sets that is the network's with this 8-byte key. Raises KernelRefused."""
    owned = {
        name: [element for family in _WORD for element, owner in _elements(nft, f"{name}{family}") if owner.startswith(key.hex())]
        for name in _SETS
    }
    networks, wholes, masqueraded, accepted = (owned[name] for name in _SETS)
    return Translation(networks, masqueraded, accepted, wholes=wholes)


def chains_are_there(nft: Nft) -> bool:
    """Whether every chain is there that gives the sets their meaning. Raises NftError when the kernel does not say."""
    return all(nft.has_chain(chain) for chain in (CHAIN, *forwarding.CHAINS))


def _owner(network: str) -> str:
    return network_key(network).hex()


def _setup() -> str:
    lines = [f"add table {TABLE}", f"add chain {CHAIN} {{ type nat hook postrouting priority {_PRIORITY}; }}", f"flush chain {CHAIN}"]
    for family, (word, addresses, multicast) in _WORD.items():
        lines += [f"add set {TABLE} {name}{family} {{ type {addresses}; flags interval; }}" for name in _SETS]
        outside = f"{word} daddr != @overlays{family} {word} daddr != {multicast}"
        elsewhere = f"{word} daddr @overlay_whole{family} {word} daddr != @overlay_pods{family}"
        lines.append(f"add rule {CHAIN} {word} saddr @overlay_pods{family} {outside} masquerade")
        lines.append(f"add rule {CHAIN} {word} saddr != @overlays{family} {elsewhere} masquerade")
    return "\n".join([*lines, *forwarding.setup()]) + "\n"


def _elements(nft: Nft, name: str) -> list[tuple[Cidr, str]]:
    """Networks in a set, with their comments; none when there is no such set."""
    try:
        return [(parse_either(one.key[0]), one.comment) for one in nft.elements("set", f"{TABLE} {name}")]
    except NftError as error:
        if not error.missing:
            raise KernelRefused(str(error), error.said) from None
        return []


def _run(nft: Nft, commands: str) -> None:
    try:
        nft.run(commands)
    except NftError as error:
        raise KernelRefused(str(error), error.said) from None
