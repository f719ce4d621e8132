"""Configurations of the IPAM plugins host-local and static. They get the whole configuration of the plugin that delegates to them."""

from __future__ import annotations

from cni_plugins.ipam.pools import Range, RangeSet
from cni_plugins.model.base import Model
from cni_plugins.model.netconf import Dns, NetConf, RouteConf
from cni_plugins.protocol.errors import InvalidConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni_plugins.model.base import Problems
    from cni_plugins.model.types import Address, AddressEither, AddressWithPrefix, Many, Network, PathName
    from cni_plugins.protocol.ip import Cidr

DATA_DIR = "/var/lib/cni/networks"
_ONE_PER_FAMILY = ("", "0.1.0", "0.2.0")


def expressible(version: str, families: list[int]) -> bool:
    """Whether a result of `version` has room for addresses of these families: before 0.3.0 one of each."""
    return version not in _ONE_PER_FAMILY or len(families) == len(set(families))


def several_of_a_family(version: str) -> str:
    """What is wrong when it has not."""
    return f"give several addresses of one family, which cniVersion {version or '0.1.0'} cannot express"


class RangeConf(Model):
    """Addresses of one network that may be given out."""

    subnet: Network
    """The network, without host bits; at most /30 or /126."""

    rangeStart: Address | None = None
    """First address to give out; when absent, the one after the network's own."""

    rangeEnd: Address | None = None
    """Last address to give out; when absent, the network's last, for IPv4 the one before it (broadcast)."""

    gateway: Address | None = None
    """The gateway, never given out; when absent, the address after the network's own."""

    def check(self) -> Problems:
        """What the pool says of them."""
        try:
            self.pool()
        except ValueError as error:
            key, _, text = str(error).partition(": ")
            yield key, text

    def pool(self) -> Range:
        """The range that is meant. Raises ValueError."""
        return Range(self.subnet, start=self.rangeStart, end=self.rangeEnd, gateway=self.gateway)


class HostLocalStore(Model):
    """The keys of host-local's `ipam` that a release needs."""

    type: str = ""
    """`host-local`."""

    dataDir: PathName = ""
    """Directory of the leases, one subdirectory per network; when absent, /var/lib/cni/networks."""

    @property
    def directory(self) -> str:
        """Where the leases of all networks are."""
        return self.dataDir or DATA_DIR


class HostLocalIpam(HostLocalStore):
    """host-local's `ipam`: addresses from ranges, recorded in files on the node."""

    subnet: Network | None = None
    """A single range, the older way: its network. It comes before `ranges`."""

    rangeStart: Address | None = None
    """First address of the single range."""

    rangeEnd: Address | None = None
    """Last address of the single range."""

    gateway: Address | None = None
    """Gateway of the single range."""

    ranges: Many[Many[RangeConf]] = ()
    """Range sets: each attachment gets one address from every set."""

    routes: Many[RouteConf] = ()
    """Routes for the container."""

    resolvConf: PathName = ""
    """A file like /etc/resolv.conf, from which the result's DNS settings are read."""

    @property
    def single(self) -> RangeConf | None:
        """The range written the older way."""
        if self.subnet is None:
            return None
        return RangeConf(subnet=self.subnet, rangeStart=self.rangeStart, rangeEnd=self.rangeEnd, gateway=self.gateway)

    def check(self) -> Problems:
        """The single range is one like the others."""
        if self.single is not None:
            yield from self.single.check()


class HostLocalArgsCni(Model):
    """host-local's part of `args.cni`."""

    ips: Many[AddressEither] = ()
    """Addresses that are asked for, with or without a prefix length."""


class HostLocalArgs(Model):
    """Arguments by convention (CONVENTIONS, "args in network config")."""

    cni: HostLocalArgsCni = HostLocalArgsCni()
    """Arguments that any plugin may read."""


class HostLocalRuntime(Model):
    """What the runtime passes for the capabilities `ips` and `ipRanges`."""

    ips: Many[AddressEither] = ()
    """Addresses that are asked for (capability `ips`)."""

    ipRanges: Many[Many[RangeConf]] = ()
    """Range sets that come before those of the configuration (capability `ipRanges`)."""


class HostLocalReleaseConf(NetConf):
    """As much of a configuration as a release needs, so that a broken range keeps no lease from being given back."""

    ipam: HostLocalStore
    """Where the leases are."""


class HostLocalConf(NetConf):
    """Leases addresses from ranges and records them in files on the node."""

    ipam: HostLocalIpam
    """The ranges and what goes with them."""

    args: HostLocalArgs = HostLocalArgs()
    """Arguments by convention: `args.cni.ips`."""

    runtimeConfig: HostLocalRuntime = HostLocalRuntime()
    """Values for capabilities (set by the runtime): `ips`, `ipRanges`."""

    @property
    def requested(self) -> tuple[Cidr, ...]:
        """Addresses that are asked for; those of CNI_ARGS come before them."""
        return self.args.cni.ips + self.runtimeConfig.ips

    def range_sets(self) -> tuple[RangeSet, ...]:
        """All range sets in order: the runtime's, the single range, the configuration's. Raises ValueError."""
        return tuple(RangeSet([member.pool() for member in members]) for _, members in self._written())

    def _written(self) -> list[tuple[str, tuple[RangeConf, ...]]]:
        single = self.ipam.single
        return [
            *((f"runtimeConfig.ipRanges[{at}]", members) for at, members in enumerate(self.runtimeConfig.ipRanges)),
            *([("ipam.subnet", (single,))] if single else []),
            *((f"ipam.ranges[{at}]", members) for at, members in enumerate(self.ipam.ranges)),
        ]

    def check(self) -> Problems:
        """There is a range set; within and between them nothing overlaps; old versions have one address of a family."""
        sets: list[tuple[str, RangeSet]] = []
        for path, members in self._written():
            try:
                sets.append((path, RangeSet([member.pool() for member in members])))
            except ValueError as error:
                yield path, str(error).partition(": ")[2]
        for at, (path, later) in enumerate(sets):
            for other, earlier in sets[:at]:
                if later.overlaps(earlier):
                    yield path, f"overlaps with {other}"
        if not self._written():
            yield "ipam.ranges", "is missing: there is nothing to give out addresses from"
        if not expressible(self.cniVersion, [one.family for _, one in sets]):
            yield "ipam.ranges", several_of_a_family(self.cniVersion)


class StaticAddress(Model):
    """An address for the container."""

    address: AddressWithPrefix
    """The address with its network's prefix length."""

    gateway: Address | None = None
    """The network's gateway."""

    def through(self, gateways: Sequence[Cidr]) -> StaticAddress:
        """The same address, with the last of these gateways that lies in its network."""
        fitting = [gateway for gateway in gateways if self.address.network.contains(gateway)]
        return StaticAddress(address=self.address, gateway=fitting[-1]) if fitting else self


class StaticIpam(Model):
    """static's `ipam`: the addresses themselves."""

    type: str = ""
    """`static`."""

    addresses: Many[StaticAddress] = ()
    """Addresses for the container."""

    routes: Many[RouteConf] = ()
    """Routes for the container."""

    dns: Dns = Dns()
    """Settings for the container's resolver."""


class StaticArgsCni(Model):
    """static's part of `args.cni`."""

    ips: Many[AddressWithPrefix] = ()
    """Addresses in place of those of the configuration."""


class StaticArgs(Model):
    """Arguments by convention (CONVENTIONS, "args in network config")."""

    cni: StaticArgsCni = StaticArgsCni()
    """Arguments that any plugin may read."""


class StaticRuntime(Model):
    """What the runtime passes for the capability `ips`."""

    ips: Many[AddressWithPrefix] = ()
    """Addresses in place of all others (capability `ips`)."""


class StaticConf(NetConf):
    """Gives out the addresses that the configuration, or the runtime, names."""

    ipam: StaticIpam
    """The addresses and what goes with them."""

    args: StaticArgs = StaticArgs()
    """Arguments by convention: `args.cni.ips`."""

    runtimeConfig: StaticRuntime = StaticRuntime()
    """Values for capabilities (set by the runtime): `ips`."""

    def addresses(self, added: tuple[StaticAddress, ...] = (), gateways: Sequence[Cidr] = ()) -> tuple[StaticAddress, ...]:
        """The addresses that count; those of CNI_ARGS (`added`, `gateways`) give way to those of the runtime or of `args`.

        Of several gateways in an address's network the last one counts, as in the reference. Raises InvalidConfig when a result of
        this version has no room for the addresses.
        """
        replaced = tuple(StaticAddress(address=address) for address in self.runtimeConfig.ips or self.args.cni.ips)
        counting = replaced or tuple(one.through(gateways) for one in self.ipam.addresses + added)
        if not expressible(self.cniVersion, [one.address.family for one in counting]):
            raise InvalidConfig(f"ipam.addresses: {several_of_a_family(self.cniVersion)}")
        return counting
