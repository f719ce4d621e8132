"""What containers can do with their network: real traffic, and what must not pass."""

from __future__ import annotations

import json

from conformance import traffic
from conformance.case import BEST, Failed, Skipped, case
from conformance.lab import Conf, Lab
from conformance.netns import Container
from conformance.spec import clause

_MANY = 4
_RATE = 8_000_000
_BURST = 800_000
_TOLERANCE = 0.15
_SECONDS = 2.0
_HEADERS = {4: 28, 6: 48}
_WEB = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
_NAMES = {"hostPort": 8053, "containerPort": 53, "protocol": "udp"}

_NETWORK = clause("ADD", "network: a group of endpoints that are uniquely addressable and can communicate amongst each other")
_LINKED = frozenset({"ADD", "addresses", "l2|l3|chained", "tool:ping"})


def conf(lab: Lab, *, another: bool = False) -> Conf:
    """Return the configuration with addresses of both families, if the profile has that; `another` as in `Lab.conf`."""
    return lab.conf(another=another, **(lab.profile.dual_stack or {}))


def two(lab: Lab) -> tuple[Container, Container]:
    """Return two containers of a network, with addresses of both families if the profile has that."""
    return lab.attached("pod", conf(lab)), lab.attached("neighbour", conf(lab, another=True))


def ips(lab: Lab, pod: Container) -> list[tuple[str, str]]:
    """Return the addresses of a container's result, each with its gateway, or "" for none."""
    found = (lab.result(pod) or {}).get("ips") or []
    return [(str(ip["address"]).partition("/")[0], str(ip.get("gateway") or "")) for ip in found]


def own(lab: Lab, pod: Container, target: str) -> str:
    """Return the address that traffic of a container to `target` has to come from; "" where the kernel chooses.

    A container of a chained plugin may have other interfaces: only what comes from an address of this one is the plugin's.
    """
    if lab.profile.kind != "chained":
        return ""
    return next(address for address, _ in ips(lab, pod) if (":" in address) == (":" in target))


@case("DP-01", title="a container reaches its gateway", level=BEST, spec=_NETWORK, needs=_LINKED)
def gateway(lab: Lab) -> None:
    pod = lab.attached(conf=conf(lab))
    gateways = [gateway for _, gateway in ips(lab, pod) if gateway]
    if not gateways:
        raise Skipped("the result has no gateway")
    for address in gateways:
        traffic.expect_echo(lab, pod, address, own=own(lab, pod, address))


@case("DP-02", title="containers of a network reach each other", level=BEST, spec=_NETWORK, needs=_LINKED)
def neighbours(lab: Lab) -> None:
    pod, neighbour = two(lab)
    for address, _ in ips(lab, neighbour):
        mine = own(lab, pod, address)
        traffic.expect_echo(lab, pod, address, own=mine)
        traffic.connect(lab, pod, neighbour, address, at=7000, own=mine)
        traffic.datagram(lab, pod, neighbour, address, at=7000, own=mine)


@case(
    "DP-03",
    title="a container's IPv6 address can be used as soon as ADD has ended",
    level=BEST,
    spec=clause(
        "ADD", "the interface is there, with its addresses, when ADD has succeeded: nothing is left to duplicate address detection"
    ),
    needs=_LINKED | {"dual_stack"},
)
def ipv6_at_once(lab: Lab) -> None:
    pod = lab.attached(conf=conf(lab))
    mine = [address for address, _ in ips(lab, pod) if ":" in address]
    told = lab.do(f"ip -json -6 address show dev {lab.profile.ifname} scope global", within=pod)
    ready = {
        info["local"] for link in json.loads(told) for info in link.get("addr_info", ()) if not info.get("tentative") and "local" in info
    }
    if not mine or set(mine) - ready:
        raise Failed(f"{' and '.join(mine) or 'an IPv6 address'} is no longer tentative", f"those ready are: {', '.join(ready) or 'none'}")
    for _, gateway in ips(lab, pod):
        if ":" in gateway and not traffic.echo(lab, pod, gateway):
            raise Failed("an IPv6 gateway answers", f"{gateway} does not")


@case(
    "DP-04",
    title="a container reaches itself by way of the node",
    level=BEST,
    spec=clause(
        "Plugin configuration", "hairpinMode, and portMappings of the conventions: a Service may choose the very container that asks"
    ),
    needs=_LINKED,
)
def hairpin(lab: Lab) -> None:
    if "portMappings" in lab.profile.capabilities:
        host = traffic.outside(lab)
        pod = lab.attached(conf=lab.conf(runtimeConfig={"portMappings": [_WEB]}))
        traffic.connect(lab, pod, pod, host.node_addresses[0], at=80, port=8080)
    elif lab.conf().get("hairpinMode"):
        pod = lab.attached()
        with traffic.wire(lab, pod) as link:
            link.shout("to myself")
            if link.heard() != "to myself":
                raise Failed("a frame to all comes back to the container that sent it", "it does not")
    else:
        raise Skipped("the profile has neither hairpinMode nor the capability portMappings")


@case(
    "DP-05",
    title="ports of the node lead to the container, by TCP and UDP, from outside and from the node",
    level=BEST,
    spec=clause("runtimeConfig", "capabilities: portMappings, of the conventions"),
    needs={"ADD", "capability:portMappings", "addresses"},
)
def port_map(lab: Lab) -> None:
    host = traffic.outside(lab)
    pod = mapped(lab, "pod")
    families = {":" in address for address, _ in ips(lab, pod)}
    for target in host.node_addresses:
        if (":" in target) in families:
            traffic.connect(lab, host, pod, target, at=80, port=8080)
            traffic.datagram(lab, host, pod, target, at=53, port=8053)
    traffic.connect(lab, lab.node, pod, host.node_addresses[0], at=80, port=8080)


def mapped(lab: Lab, name: str) -> Container:
    """Return a container to which ports of the node lead, with a way back for both families."""
    pod = lab.attached(name, lab.conf(runtimeConfig={"portMappings": [_WEB, _NAMES]}))
    for address, gateway in ips(lab, pod):
        if ":" in address and gateway:
            lab.do("sysctl -qw net.ipv6.conf.all.forwarding=1")
            lab.do(f"ip route replace default via {gateway}", within=pod)
    return pod


@case(
    "DP-06",
    title="what a container sends out of its network bears the node's address",
    level=BEST,
    spec=clause("Plugin configuration", "ipMasq: if true, enables masquerading on the host, for this network"),
    needs={"ADD", "addresses", "l2|l3"},
)
def masquerade(lab: Lab) -> None:
    if not lab.conf().get("ipMasq"):
        raise Skipped("the profile's configuration is without ipMasq")
    host = traffic.outside(lab)
    pod = lab.attached(conf=conf(lab))
    lab.do("sysctl -qw net.ipv6.conf.all.forwarding=1", check=False)
    families = {":" in address for address, _ in ips(lab, pod)}
    for target, wanted in zip(host.addresses, host.node_addresses, strict=True):
        if (":" in target) in families and (seen := traffic.connect(lab, pod, host, target, at=7000)) != wanted:
            raise Failed(f"a host outside sees the node's address, {wanted}", seen)


@case(
    "DP-07",
    title=f"traffic is as fast as asked for, within {_TOLERANCE:.0%}",
    level=BEST,
    spec=clause("runtimeConfig", "capabilities: bandwidth, of the conventions"),
    needs={"ADD", "capability:bandwidth", "addresses"},
)
def bandwidth(lab: Lab) -> None:
    limits = {"ingressRate": _RATE, "ingressBurst": _BURST, "egressRate": _RATE, "egressBurst": _BURST}
    pod = lab.attached(conf=lab.conf(runtimeConfig={"bandwidth": limits}))
    address, gateway = ips(lab, pod)[0]
    for way, client, server, target in (("into", lab.node, pod, address), ("out of", pod, lab.node, gateway)):
        found = traffic.rate(lab, client, server, target, skip=_BURST // 2, seconds=_SECONDS)
        if abs(found - _RATE) > _TOLERANCE * _RATE:
            raise Failed(f"{_RATE / 1e6:g} Mbit/s {way} the container", f"{found / 1e6:.2f} Mbit/s")


@case(
    "DP-08",
    title="a packet as large as the MTU says passes whole",
    level=BEST,
    spec=clause("ADD success", "mtu: the MTU of the interface, if applicable"),
    needs=_LINKED,
)
def full_mtu(lab: Lab) -> None:
    pod, neighbour = two(lab)
    mtu = json.loads(lab.do(f"ip -json link show dev {lab.profile.ifname}", within=pod))[0]["mtu"]
    for address, gateway in ips(lab, neighbour):
        size = mtu - _HEADERS[6 if ":" in address else 4]
        for target in filter(None, (address, gateway)):
            traffic.expect_echo(lab, pod, target, own=own(lab, pod, target), size=size, whole=True)


@case(
    "DP-09",
    title="networks on links of their own do not hear each other",
    level=BEST,
    spec=_NETWORK,
    needs={"ADD", "l2", "creates", "second_conf"},
)
def isolation(lab: Lab) -> None:
    second = lab.conf(second=True)
    if "master" in second and second["master"] == lab.conf().get("master"):
        raise Skipped("both networks of the profile are on one link of the node")
    here, there = (lab.attached(name) for name in ("here", "there"))
    other, beside = (lab.attached(name, second) for name in ("other", "beside"))
    with (
        traffic.wire(lab, here) as mine,
        traffic.wire(lab, there) as mate,
        traffic.wire(lab, other) as foreign,
        traffic.wire(lab, beside) as last,
    ):
        mine.shout("of one network")
        if mate.heard() != "of one network":
            raise Failed("a container hears what another of its network sends to all", "it does not")
        last.shout("of the other network")
        heard = foreign.heard()
        if heard != "of the other network":
            raise Failed("a container hears its own network, and no other", f"it heard {heard!r} first")


@case(
    "DP-10",
    title="containers of a network see each other's own addresses",
    level=BEST,
    spec=_NETWORK,
    needs={"ADD", "addresses", "l2|l3"},
)
def own_addresses(lab: Lab) -> None:
    pod, neighbour = two(lab)
    for (mine, _), (target, _) in zip(ips(lab, pod), ips(lab, neighbour), strict=True):
        if (seen := traffic.connect(lab, pod, neighbour, target, at=7000)) != mine:
            raise Failed(f"{neighbour.name} sees {mine}", seen)


@case(
    "DP-11",
    title="a container's gateway stays the same while others come and go",
    level=BEST,
    spec=_NETWORK,
    needs=_LINKED | {"DEL", "creates"},
)
def steady_gateway(lab: Lab) -> None:
    others = [lab.attached(f"other{number}") for number in range(_MANY)]
    pod = lab.attached()
    gateway = next((gateway for _, gateway in ips(lab, pod) if gateway), "")
    if not gateway:
        raise Skipped("the result has no gateway")
    show = f"ip neighbour show {gateway}"
    traffic.expect_echo(lab, pod, gateway)
    before = _mac(lab.do(show, within=pod))
    for number, other in enumerate(others):
        lab.delete(other).succeeds()
        lab.attached(f"next{number}")
    lab.do("ip neighbour flush all", within=pod)
    traffic.expect_echo(lab, pod, gateway)
    if (after := _mac(lab.do(show, within=pod))) != before:
        raise Failed(f"{gateway} stays at {before}", f"it is at {after} now: what containers know of it is wrong for a while")


def _mac(told: str) -> str:
    words = told.split()
    return words[words.index("lladdr") + 1] if "lladdr" in words else "no hardware address"


@case(
    "DP-12",
    title="a mapped UDP port leads to the new container at once",
    level=BEST,
    spec=clause(
        "runtimeConfig",
        "capabilities: portMappings; a peer that goes on sending from its port must not stay with the container that is gone",
    ),
    needs={"ADD", "DEL", "capability:portMappings", "addresses"},
)
def new_owner_of_port(lab: Lab) -> None:
    host = traffic.outside(lab)
    for name in ("old", "new"):
        pod = mapped(lab, name)
        traffic.datagram(lab, host, pod, host.node_addresses[0], at=53, port=8053, source=5300)
        lab.delete(pod, lab.conf(runtimeConfig={"portMappings": [_WEB, _NAMES]})).succeeds()
