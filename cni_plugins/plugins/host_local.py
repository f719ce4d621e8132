"""The host-local plugin: leases addresses from ranges, in files that the reference's host-local shares."""

from __future__ import annotations

from cni_plugins.ipam.conf import HostLocalConf, HostLocalReleaseConf
from cni_plugins.ipam.resolv import read_resolv_conf
from cni_plugins.ipam.store import Store
from cni_plugins.plan.plugin import Plugin
from cni_plugins.plan.resource import Drift, Kind, Owned, Resource
from cni_plugins.protocol.errors import Exhausted, InvalidEnvironment
from cni_plugins.protocol.ip import parse_either
from cni_plugins.protocol.result import Ip, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.ipam.pools import Lease
    from cni_plugins.plan.resource import Item, Need, Valid
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.ip import Cidr


class AddressKind(Kind):
    """Lease files name their owner themselves: no record of ours is needed to find them again."""

    name = "host_local"
    recorded = False

    def drop(self, world: World, owned: list[Owned]) -> None:
        """Release what each container and interface holds."""
        store = _store(world)
        for one in owned:
            store.release((one.item["container"], one.item["interface"]))

    def find(self, world: World, att: Attachment) -> list[Item]:
        """Whatever the lease files have for this attachment."""
        return [_item(att)]

    def collect(self, world: World, valid: Valid) -> None:
        """Release the leases of everybody else on this network."""
        if valid is not None:
            _store(world).gc(valid)


KIND = AddressKind()


class Addresses(Resource["list[Ip]"]):
    """An address from each range set of the configuration."""

    __slots__ = ("conf",)
    kind = KIND
    atomic = True

    def __init__(self, conf: HostLocalConf) -> None:
        self.conf = conf

    def record(self, world: World, att: Attachment) -> Item:
        """Container and interface, as the lease files have them."""
        return _item(att)

    def predict(self, world: World, att: Attachment) -> list[Ip]:
        """The addresses that would be given now."""
        return _ips(_store(world).foretell(self.conf.range_sets(), _requested(world, self.conf)))

    def apply(self, world: World, att: Attachment) -> list[Ip]:
        """Take them."""
        owner = (att.container_id, att.ifname)
        return _ips(_store(world).allocate(owner, self.conf.range_sets(), _requested(world, self.conf)))

    def verify(self, world: World, att: Attachment) -> list[Ip]:
        """Every address that prevResult has of these ranges is leased to this attachment."""
        held = _store(world).held((att.container_id, att.ifname))
        pools = self.conf.range_sets()
        known = [ip.address for ip in (world.prev.ips if world.prev else ()) if any(pool.contains(ip.address) for pool in pools)]
        lost = [address.address for address in known if address.host not in held]
        if lost:
            raise Drift(f"{', '.join(lost)} is not leased to {att.container_id} {att.ifname} any more", [])
        if not held:
            raise Drift(f"no address is leased to {att.container_id} {att.ifname}", [])
        return []

    def ready(self, world: World) -> None:
        """Leases can be written, and every range set has an address left."""
        store = _store(world)
        store.check_writable()
        full = store.exhausted(self.conf.range_sets())
        if full is not None:
            raise Exhausted(f"no IP addresses available in range set: {full}")


def plan(att: Attachment, conf: HostLocalConf, need: Need) -> Result:
    """Addresses from the ranges; routes and DNS settings from the configuration."""
    ips = need(Addresses(conf))
    routes = [route.to_route() for route in conf.ipam.routes]
    return Result(ips=ips, routes=routes, dns=read_resolv_conf(conf.ipam.resolvConf))


def _item(att: Attachment) -> Item:
    return {"container": att.container_id, "interface": att.ifname}


def _store(world: World) -> Store:
    return Store(world.conf.ipam.directory, world.conf.name)


def _ips(leases: list[Lease]) -> list[Ip]:
    return [Ip(lease.address, gateway=lease.gateway.address) for lease in leases]


def _requested(world: World, conf: HostLocalConf) -> list[Cidr]:
    """The addresses asked for: CNI_ARGS IP, then args.cni.ips, then the capability's. Raises InvalidEnvironment."""
    text = world.request.arg("IP")
    try:
        return [*([parse_either(text)] if text else []), *conf.requested]
    except ValueError as error:
        raise InvalidEnvironment(f"CNI_ARGS: IP: {error}") from None


PLUGIN = Plugin(
    "host-local",
    conf=HostLocalConf,
    release_conf=HostLocalReleaseConf,
    plan=plan,
    kinds=("cni_plugins.plugins.host_local",),
    enters_netns=False,
    args=("IP",),
)
