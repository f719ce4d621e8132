"""Which networks of a container may be set up at once: those that share nothing.

Runtimes must not have two plugins at work for one container (SPEC 1.1.0, section "Lifecycle & Ordering"), and plugins may count on that. So
what is told apart here is what networks name in their configurations, and the plugins themselves: some are known to keep what they
have by network and interface; all others are called in turn with their like.
"""

from __future__ import annotations

from cni_plugins.model.frozen import parse_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeVar

    from cni_plugins.plan.resource import Owned
    from multus_lite.conf import MultusReleaseConf
    from multus_lite.networks import Network

    Conf = dict[str, Any]
    Things = set[tuple[str, str]]
    T = TypeVar("T")

_MOST = 16
"""Networks that are set up at once: each may be a process, or several."""
_KNOWN = frozenset([
    "bandwidth", "bridge", "dummy", "firewall", "host-device", "host-local", "ipvlan", "macvlan", "portmap", "ptp", "static", "tuning",
    "vlan",
])  # fmt: skip
"""Plugins of which two may work for one container: the reference's, whose source says so, and ours of the same names. Missing are those
that look for a number that is free in the container (sbr, vrf), and the one that may bring any default route (dhcp).
"""
_NAMING = dict.fromkeys(("bridge", "device", "deviceid", "hwaddr", "kernelpath", "link", "master", "pcibusid"), "link")
_NAMING |= dict.fromkeys(("dst", "subnet"), "route")
"""Keys of a plugin, or of its `ipam`, and what their values are."""
_STANDARD = {"bridge": "cni0", "ipvlan": "", "macvlan": ""}
"""The link that these plugins take where the configuration names none; empty: the one with the node's default route."""


def independent(networks: Iterable[Network], conf: MultusReleaseConf) -> list[list[Network]]:
    """Networks that are to be set up: the default network alone, since routes and addresses of the others come after its own."""
    return grouped(networks, lambda one: None if one.master or conf.inTurn else named(one.plugins, one.ifname))


def separate(owned: list[Owned], conf: MultusReleaseConf) -> list[list[list[Owned]]]:
    """Plugins that are to be deleted, by their networks, and these by what may be removed at once. What is told twice is in it once."""
    networks: dict[tuple[str, ...], list[Owned]] = {}
    for one in owned:
        mine = networks.setdefault(tuple(one.item["attachment"]), [])
        if all(one.item["conf"] != other.item["conf"] for other in mine):
            mine.append(one)

    def things(plugins: list[Owned]) -> Things | None:
        first = plugins[0].item
        if first["master"] or conf.inTurn:
            return None
        return named([parse_json(stdin(one)) for one in plugins], first["attachment"][1])

    return grouped(networks.values(), things)


def stdin(one: Owned) -> bytes:
    """What a plugin got, by a record."""
    conf: str = one.item["conf"]
    return conf.encode("utf-8", "surrogatepass")


def grouped(networks: Iterable[T], things: Callable[[T], Things | None]) -> list[list[T]]:
    """Networks in their order, in one list those next to each other that share none of their `things` (see `named`). One of which
    these are None is alone.
    """
    groups: list[list[T]] = []
    taken: Things | None = None
    for network in networks:
        found = things(network)
        if found is None or taken is None or found & taken or len(groups[-1]) >= _MOST:
            groups.append([])
            taken = set()
        groups[-1].append(network)
        taken = None if found is None else taken | found
    return groups


def named(plugins: Sequence[Conf], ifname: str) -> Things | None:
    """What a network with these plugins touches besides what is its own; None when nobody can tell. `ifname` is its interface."""
    found = {("link", ifname)}
    for plugin in plugins:
        found |= {("network", str(plugin.get("name")))}
        _look(plugin, found)
    return None if ("link", "") in found else found


def _look(value: Any, found: Things) -> None:
    """Add what a part of a configuration names. Keys count in any case, as Go reads them."""
    if isinstance(value, list):
        for one in value:
            _look(one, found)
    elif isinstance(value, dict):
        data = {key.lower(): one for key, one in value.items()}
        for key, one in data.items():
            if key in _NAMING:
                found.add((_NAMING[key], str(one)))
            else:
                _look(one, found)
        _look_closer(data, found)


def _look_closer(data: Conf, found: Things) -> None:
    """Add what is meant without being named."""
    kind, sysctl = data.get("type"), data.get("sysctl")
    if isinstance(kind, str):
        if kind not in _KNOWN:
            found.add(("plugin", kind))
        if kind in _STANDARD and data.keys().isdisjoint(_NAMING):
            found.add(("link", _STANDARD[kind]))
    if kind == "dhcp" or data.get("isdefaultgateway"):
        found |= {("route", "0.0.0.0/0"), ("route", "::/0")}
    if isinstance(sysctl, dict):
        found |= {("sysctl", name) for name in sysctl if "IFNAME" not in name}
