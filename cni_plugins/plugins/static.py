"""The static plugin: gives out the addresses that the configuration, or the runtime, names. It keeps nothing."""

from __future__ import annotations

from cni_plugins.ipam.conf import StaticAddress, StaticConf
from cni_plugins.model.netconf import NetConf
from cni_plugins.plan.plugin import Plugin
from cni_plugins.plan.resource import Drift, Resource
from cni_plugins.protocol.errors import InvalidConfig, InvalidEnvironment, UnknownContainer
from cni_plugins.protocol.ip import parse_address, parse_cidr
from cni_plugins.protocol.result import Ip, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni_plugins.plan.resource import Need
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment


class Addresses(Resource["list[Ip]"]):
    """The addresses that were named: nothing to make, and nothing to give back."""

    __slots__ = ("conf",)

    def __init__(self, conf: StaticConf) -> None:
        self.conf = conf

    def predict(self, world: World, att: Attachment) -> list[Ip]:
        """What the configuration, CNI_ARGS and the runtime name. Raises InvalidConfig when nothing does."""
        named = _named(world, self.conf)
        if not named:
            raise InvalidConfig("ipam.addresses: no address is given, nor is one by CNI_ARGS, args.cni.ips or runtimeConfig.ips")
        return [Ip(one.address, gateway=one.gateway.address if one.gateway else None) for one in named]

    def apply(self, world: World, att: Attachment) -> list[Ip]:
        """The same."""
        return self.predict(world, att)

    def verify(self, world: World, att: Attachment) -> list[Ip]:
        """Every address is among those of prevResult, and on the container's interface."""
        named = self.predict(world, att)
        known = {ip.address for ip in world.prev.ips} if world.prev else set()
        present = _present(world, att)
        lost = [str(ip.address) for ip in named if ip.address not in known or (present is not None and ip.address not in present)]
        if lost:
            raise Drift(f"the address {', '.join(lost)} is not on {att.ifname} any more")
        return named


def plan(att: Attachment, conf: StaticConf, need: Need) -> Result:
    """Addresses, routes and DNS settings as they were named."""
    ips = need(Addresses(conf))
    return Result(ips=ips, routes=[route.to_route() for route in conf.ipam.routes], dns=conf.ipam.dns.to_json())


def _present(world: World, att: Attachment) -> set[object] | None:
    """The addresses of the container's interface; None where there is none: that is for the plugin to say which made it."""
    try:
        netlink = world.inside(att).netlink()
    except (UnknownContainer, InvalidEnvironment):
        return None
    link = netlink.link(name=att.ifname)
    return {address.cidr for address in netlink.addresses(link.index)} if link else None


def _named(world: World, conf: StaticConf) -> tuple[StaticAddress, ...]:
    """The addresses that count. CNI_ARGS `IP` adds to the configuration's; `GATEWAY` goes to each address in whose network it lies.

    Both are lists with commas. What the runtime or `args` name takes the place of all of that. Raises InvalidEnvironment.
    """
    try:
        added = tuple(StaticAddress(address=parse_cidr(text.strip())) for text in _split(world.request.arg("IP")))
    except ValueError as error:
        raise InvalidEnvironment(f"CNI_ARGS: IP: {error}") from None
    try:
        gateways = [parse_address(text.strip()) for text in _split(world.request.arg("GATEWAY"))]
    except ValueError as error:
        raise InvalidEnvironment(f"CNI_ARGS: GATEWAY: {error}") from None
    return conf.addresses(added, gateways)


def _split(text: str) -> Sequence[str]:
    return text.split(",") if text else ()


PLUGIN = Plugin("static", conf=StaticConf, release_conf=NetConf, plan=plan, kinds=(), enters_netns=False, args=("IP", "GATEWAY"))
