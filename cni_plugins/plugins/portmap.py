"""The portmap plugin: ports of the node lead to ports of the container, for whoever asks: the outside, the node, other containers."""

from __future__ import annotations

from cni_plugins.model.base import Model
from cni_plugins.model.netconf import NetConf
from cni_plugins.plan.kinds.hostports import PROTOCOLS, Mapping, Profile
from cni_plugins.plan.kinds.portmap import PortMap, RouteLocalnet
from cni_plugins.plan.kinds.previous import Previous
from cni_plugins.plan.plugin import Plugin, kinds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.model.base import Problems
    from cni_plugins.model.types import Address, Many
    from cni_plugins.plan.resource import Need
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.ip import Cidr
    from cni_plugins.protocol.result import Ip, Result

_PORT_MAX = 65535
_MARK_BITS = 32
_MARK_BIT = 13
_COMMANDS = frozenset(";\n\r\\#")


class PortMapping(Model):
    """A port of the node that leads to a port of the container."""

    hostPort: int
    """The node's port, 1 to 65535."""

    containerPort: int
    """The container's port, 1 to 65535."""

    protocol: str = "tcp"
    """tcp, udp or sctp."""

    hostIP: Address | None = None
    """The node's address that is asked; when absent or unspecified (0.0.0.0, ::), any. Skipped when the container lacks its family."""

    def check(self) -> Problems:
        """What is a port, and what has ports."""
        for key in ("hostPort", "containerPort"):
            if not 1 <= getattr(self, key) <= _PORT_MAX:
                yield key, f"{getattr(self, key)} is not a port: 1 to {_PORT_MAX}"
        if self.protocol.lower() not in PROTOCOLS:
            yield "protocol", f"{self.protocol!r} is not one of tcp, udp, sctp"

    @property
    def number(self) -> int:
        """The protocol as IP numbers it."""
        return PROTOCOLS[self.protocol.lower()]

    @property
    def host(self) -> str:
        """The node's address that is asked, empty for any."""
        return self.hostIP.address if self.hostIP and self.hostIP.value else ""

    @property
    def keys(self) -> list[tuple[int, str, int, int]]:
        """What it takes of the node, once for each family that it is for: family, address, protocol, port."""
        families = (self.hostIP.family,) if self.hostIP else (4, 6)
        return [(family, self.host, self.number, self.hostPort) for family in families]


class PortMapRuntime(Model):
    """What the runtime passes for the capability `portMappings`."""

    portMappings: Many[PortMapping] = ()
    """The ports to map (capability `portMappings`)."""

    def check(self) -> Problems:
        """One port of the node leads to one place; the same said twice is no harm."""
        seen: dict[tuple[object, ...], int] = {}
        for index, one in enumerate(self.portMappings):
            for key in one.keys:
                if seen.setdefault(key, one.containerPort) != one.containerPort:
                    yield f"portMappings.{index}.hostPort", f"{one.hostPort}/{one.protocol.lower()} is mapped twice in this configuration"
                    break


class PortMapConf(NetConf):
    """Maps ports of the node to the container's."""

    snat: bool = True
    """Masquerade what could not be answered otherwise: what comes from the node's 127.0.0.1, and from the container's own network."""

    masqAll: bool = False
    """Masquerade everything that comes through a mapped port: the container sees the node as the sender."""

    markMasqBit: int | None = None
    """Bit of the packet mark, 0 to 31, that tells what is to be masqueraded; 13 when absent. Excludes `externalSetMarkChain`."""

    externalSetMarkChain: str | None = None
    """Chain of iptables that sets somebody else's mark, accepted for compatibility: what it is for is done here with a mark of our own."""

    conditionsV4: Many[str] | None = None
    """What IPv4 packets must also be like, in words of nftables or as arguments of iptables, such as `["!", "-d", "192.0.2.0/24"]`."""

    conditionsV6: Many[str] | None = None
    """The same for IPv6."""

    backend: str | None = None
    """`nftables` or `iptables`, accepted for compatibility: nftables does it either way."""

    runtimeConfig: PortMapRuntime = PortMapRuntime()
    """Values for capabilities (set by the runtime): `portMappings`."""

    def check(self) -> Problems:
        """What is known, and what cannot go together."""
        if self.markMasqBit is not None and self.externalSetMarkChain is not None:
            yield "externalSetMarkChain", "cannot be set together with markMasqBit: choose one"
        if self.markMasqBit is not None and not 0 <= self.markMasqBit < _MARK_BITS:
            yield "markMasqBit", f"{self.markMasqBit} is not a bit of a mark: 0 to {_MARK_BITS - 1}"
        if self.backend not in (None, "nftables", "iptables"):
            yield "backend", f"{self.backend!r} is not known: use 'nftables' or 'iptables', or leave it out"
        for key in ("conditionsV4", "conditionsV6"):
            for word in getattr(self, key) or ():
                if not _COMMANDS.isdisjoint(word):
                    yield key, f"{word!r} holds more than a condition: {', '.join(map(repr, sorted(_COMMANDS & set(word))))}"

    @property
    def profile(self) -> Profile:
        """How the network wants its ports mapped."""
        conditions = {4: list(self.conditionsV4 or ()), 6: list(self.conditionsV6 or ())}
        bit = _MARK_BIT if self.markMasqBit is None else self.markMasqBit
        return Profile(snat=self.snat, everything=self.masqAll, bit=bit, conditions=conditions)


def plan(att: Attachment, conf: PortMapConf, need: Need) -> Result:
    """List what the mapping of a container's ports needs. A container without any is noted all the same: its DEL need not look for them."""
    previous = need(Previous())
    mappings = _mappings(conf, _addresses(previous, att.ifname))
    need(PortMap(mappings, conf.profile))
    localnet = next((mapping.address for mapping in mappings if mapping.family == 4), None)
    if localnet and conf.snat:
        need(RouteLocalnet(localnet))
    return previous


def _addresses(previous: Result, ifname: str) -> dict[int, Cidr]:
    """The container's first address of each family, by families: of this interface, where the result says whose they are."""
    found: dict[int, Cidr] = {}
    for ip in previous.ips:
        if ip.address.family not in found and _is_of(previous, ip, ifname):
            found[ip.address.family] = ip.address
    return found


def _is_of(previous: Result, ip: Ip, ifname: str) -> bool:
    if ip.interface is None or not 0 <= ip.interface < len(previous.interfaces):
        return True
    interface = previous.interfaces[ip.interface]
    return bool(interface.sandbox) and interface.name == ifname


def _mappings(conf: PortMapConf, addresses: dict[int, Cidr]) -> list[Mapping]:
    """Each port once for each family that it is asked for in, where the container has an address of it."""
    found: dict[tuple[int, str, int, int], Mapping] = {}
    for one in conf.runtimeConfig.portMappings:
        for key in one.keys:
            if key[0] in addresses:
                found[key] = Mapping(addresses[key[0]], protocol=one.number, host=one.host, host_port=one.hostPort, port=one.containerPort)
    return list(found.values())


PLUGIN = Plugin("portmap", conf=PortMapConf, release_conf=NetConf, plan=plan, kinds=kinds("portmap"), chained=True)
