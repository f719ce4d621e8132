"""The vxlan plugin's configuration."""

from __future__ import annotations

from cni_plugins.model.base import Model, folded
from cni_plugins.model.netconf import InterfaceConf, MasqueradeConf
from vxlan.peerlist import Peer, complaints

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.model.base import Problems
    from cni_plugins.model.types import Address, IfName, Mac, Many, Mtu, Network, PathName, Uint32
    from cni_plugins.protocol.ip import Cidr

HOST_LOCAL = "host-local"
VXLAN, HOST_GW = "vxlan", "host-gw"
STORES = ("static", "etcd", "kubernetes")
_BY_THE_AGENT = (
    "vni", "underlay", "port", "network", "subnet", "node", "ipv6Network", "ipv6Subnet", "ipv6Node", "peers", "peersFile", "backend",
    "directRouting", "mtu", "forwardRules",
)  # fmt: skip
_VNI_MAX = (1 << 24) - 1
_PORT_MAX = (1 << 16) - 1


class PeerConf(Model):
    """A subnet of the overlay and the node that it is behind. A dual-stack node has two entries, one of each family."""

    node: Address
    """The node's address on the underlay, of the subnet's family."""

    subnet: Network
    """The subnet of the pods on that node."""

    mac: Mac = ""
    """Hardware address of that node's VXLAN device, as flanneld publishes it; when absent, the one derived from `node` and `vni`."""

    @property
    def peer(self) -> Peer:
        """The peer as the overlay works with it."""
        return Peer(self.node, self.subnet.network, self.mac)


class Half:
    """One address family of an overlay: the whole `network`, this node's `subnet`, and the node's address where it is configured."""

    __slots__ = ("network", "node", "subnet")

    def __init__(self, network: Cidr, subnet: Cidr, node: Cidr | None) -> None:
        self.network = network
        self.subnet = subnet
        self.node = node


class VxlanReleaseConf(InterfaceConf):
    """As much of a configuration as DEL and GC need."""

    @property
    def ipam_type(self) -> str:
        """Addresses always come from host-local."""
        return HOST_LOCAL


class VxlanConf(MasqueradeConf):
    """Joins the container to an overlay network of nodes, over VXLAN or by plain routes between them."""

    vni: Uint32 = 1
    """The overlay's number on the wire (VXLAN network identifier), 1 to 16777215; the same on all nodes."""

    store: str = ""
    """Where the agent has the overlay's leases: `static`, `etcd` or `kubernetes`. Then `vni`, `underlay`, `network`, `subnet`, `peers` and
    the like come from the agent, which has an `[[overlay]]` of this network's name."""

    underlay: IfName | None = None
    """The node's interface that leads to the other nodes. Required without `store`."""

    port: Uint32 = 8472
    """UDP port of the tunnels, 1 to 65535; the same on all nodes."""

    network: Network | None = None
    """The whole overlay: what all nodes' subnets are parts of."""

    subnet: Network | None = None
    """This node's part of `network`: its containers get their addresses from it."""

    node: Address | None = None
    """This node's address on the underlay; when absent, the first one there of the network's family."""

    ipv6Network: Network | None = None
    """In dual stack, the whole overlay's IPv6 network beside `network`."""

    ipv6Subnet: Network | None = None
    """This node's part of `ipv6Network`."""

    ipv6Node: Address | None = None
    """As `node`, for `ipv6Network`."""

    peers: Many[PeerConf] = ()
    """The other nodes' subnets. The list may be the same on all nodes: what has this node's own address is passed over."""

    peersFile: PathName = ""
    """A file with the list of peers in JSON, in place of `peers`; read at each ADD, and followed by the agent where one runs."""

    bridge: IfName | None = None
    """The bridge that the containers are joined to; when absent, `vxbr` and the VNI."""

    isDefaultGateway: bool = True
    """Make the overlay the containers' way to everywhere; else only `network` is reached through it."""

    forceAddress: bool = False
    """Replace an address of the bridge that differs from the gateway's, instead of failing."""

    hairpinMode: bool = False
    """Let a container reach itself through the bridge, as services need it."""

    backend: str = VXLAN
    """`vxlan`, or `host-gw`: no tunnels, but routes through the nodes' own addresses; all nodes must be on one link then."""

    directRouting: bool = False
    """With the back end vxlan: reach nodes that are on the underlay's own link by plain routes, and only the others by tunnels."""

    mtu: Mtu = 0
    """Size in bytes of the largest packet between containers; 0 for the largest that the underlay has room for."""

    forwardRules: bool = True
    """Let what the node forwards from and to `network` pass where iptables' FORWARD drops, as on nodes with Docker."""

    @property
    def ipam_type(self) -> str:
        """Addresses always come from host-local."""
        return HOST_LOCAL

    @property
    def halves(self) -> list[Half]:
        """The address families of the overlay."""
        every = ((self.network, self.subnet, self.node), (self.ipv6Network, self.ipv6Subnet, self.ipv6Node))
        return [Half(network.network, subnet.network, node) for network, subnet, node in every if network and subnet]

    def bridge_of(self, vni: int) -> str:
        """The name of the bridge of the overlay with this VNI."""
        return self.bridge or f"vxbr{vni}"

    @property
    def listed(self) -> list[Peer]:
        """The peers that the configuration itself lists."""
        return [one.peer for one in self.peers]

    def check(self) -> Problems:
        """What cannot go together."""
        yield from super().check()
        if (folded(self.ipam or {}, "type") or HOST_LOCAL) != HOST_LOCAL:
            yield "ipam.type", f"must be {HOST_LOCAL!r} or be left out: the addresses come from this node's subnet"
        if self.store:
            yield from self._by_the_agent()
            return
        if not self.underlay:
            yield "underlay", "is missing"
        if not 1 <= self.vni <= _VNI_MAX:
            yield "vni", f"{self.vni} is not a VXLAN network identifier: 1 to {_VNI_MAX}"
        if not 1 <= self.port <= _PORT_MAX:
            yield "port", f"{self.port} is not a UDP port: 1 to {_PORT_MAX}"
        if self.backend not in (VXLAN, HOST_GW):
            yield "backend", f"{self.backend!r} is not known: use {VXLAN!r} or {HOST_GW!r}"
        if self.peers and self.peersFile:
            yield "peersFile", "cannot be set together with peers: choose one"
        yield from self._families()
        yield from (("peers", text) for text in complaints(self.listed, [half.network for half in self.halves]))

    def _by_the_agent(self) -> Problems:
        if self.store not in STORES:
            yield "store", f"{self.store!r} is not known: use one of {', '.join(STORES)}"
        for key in _BY_THE_AGENT:
            if getattr(self, key) != getattr(VxlanConf, key):
                yield key, "cannot be set together with store: it comes from the agent"

    def _families(self) -> Problems:
        named = (("network", "subnet", "node"), ("ipv6Network", "ipv6Subnet", "ipv6Node"))
        for keys in named:
            network, subnet, node = (getattr(self, key) for key in keys)
            if bool(network) != bool(subnet):
                yield keys[0 if subnet else 1], f"is missing: {keys[0]} and {keys[1]} go together"
            elif network and not network.contains(subnet):
                yield keys[1], f"{subnet} is not a part of {keys[0]}, which is {network}"
            elif network and subnet.prefix > _longest(subnet):
                yield keys[1], f"{subnet} has no room for a gateway and containers: at most /{_longest(subnet)}"
            if node and network and node.family != network.family:
                yield keys[2], f"{node.address} is not of the family of {keys[0]}, which is {network}"
        if not (self.network or self.ipv6Network):
            yield "network", "is missing"
        if self.ipv6Network and self.ipv6Network.family != 6:
            yield "ipv6Network", f"{self.ipv6Network} is not an IPv6 network"
        elif self.ipv6Network and self.network and self.network.family == 6:
            yield "ipv6Network", "cannot stand beside an IPv6 network: network is one already"


def _longest(subnet: Cidr) -> int:
    return 30 if subnet.family == 4 else 126
