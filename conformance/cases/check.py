"""CHECK: what ADD has made is still there, and a plugin says so when it is not."""

from __future__ import annotations

from typing import Any

from conformance import view
from conformance.case import BEST, MUST, SHOULD, Failed, Skipped, case
from conformance.lab import Lab
from conformance.netns import Container
from conformance.spec import clause

_LISTED = clause(
    "CHECK",
    "should return an error if a resource included in the CNI Result type (interface, address or route) was created by the plugin, "
    "and is listed in prevResult, but is missing or in an invalid state",
)
_UNLISTED = clause(
    "CHECK",
    "should return an error if other resources not tracked in the Result type … are missing or are in an invalid state: "
    "Firewall rules, Traffic shaping controls, IP reservations, External dependencies …",
)
_LATER = clause("CHECK", "must allow for a later chained plugin to have modified networking resources, e.g. routes, on ADD")
_CONSULT = clause("CHECK", "must consult the prevResult to determine the expected interfaces and addresses")
_PASS_ON = clause("CHECK", "should call CHECK on any delegated (e.g. IPAM) plugins and pass any errors on to its caller")
_BOTH = {"ADD", "CHECK"}
_SHAPERS = ("tbf ", "htb ")
_SPARE_MAC = "02:00:00:00:00:99"


def _attached(lab: Lab) -> Container:
    """A container that has been ADDed; what an IPAM plugin has answered is applied to it, as the plugin that delegates does."""
    pod = lab.attached()
    if lab.profile.kind == "ipam":
        _apply(lab, pod, lab.result(pod) or {})
    return pod


def _apply(lab: Lab, pod: Container, result: dict[str, Any]) -> None:
    name = lab.profile.ifname
    lab.do(f"ip link add {name} type veth peer name peer0; ip link set peer0 up; ip link set {name} up", within=pod)
    for ip in result.get("ips", []):
        lab.do(f"ip address add {ip['address']} dev {name}{' nodad' if ':' in ip['address'] else ''}", within=pod)
    for route in result.get("routes", []):
        via = route.get("gw") or next((ip["gateway"] for ip in result["ips"] if ip.get("gateway")), "")
        lab.do(f"ip route add {route['dst']} {f'via {via}' if via else ''} dev {name}", within=pod)
    interface = {"name": name, "mac": view.link(lab, name, pod)["address"], "sandbox": pod.path}
    ips = [{**ip, "interface": 0} for ip in result.get("ips", [])]
    lab.keep(lab.conf()["name"], pod, {**result, "interfaces": [interface], "ips": ips})


def _checked(lab: Lab) -> tuple[Container, dict[str, Any]]:
    """A container that has been ADDed and passes CHECK, and what its ADD answered: what fails afterwards fails by what was done to it."""
    pod = _attached(lab)
    lab.check(pod).succeeds()
    result = lab.result(pod)
    return pod, result if isinstance(result, dict) else {}


@case(
    "CHK-01",
    title="CHECK succeeds right after ADD",
    level=MUST,
    spec=clause("CHECK", "must handle CHECK being called immediately after an ADD"),
    needs=_BOTH,
)
def right_after_add(lab: Lab) -> None:
    lab.check(_attached(lab)).succeeds()


@case("CHK-02", title="CHECK without prevResult fails", level=BEST, spec=_CONSULT, needs={*_BOTH, "interface|chained"})
def without_previous_result(lab: Lab) -> None:
    pod, _ = _checked(lab)
    lab.call("CHECK", lab.conf(), container=pod).refuses()


@case("CHK-03", title="CHECK notices that the interface is gone", level=SHOULD, spec=_LISTED, needs={*_BOTH, "creates"})
def interface_gone(lab: Lab) -> None:
    pod, _ = _checked(lab)
    lab.do(f"ip link delete {lab.profile.ifname}", within=pod)
    lab.check(pod).refuses()


@case("CHK-04", title="CHECK notices that the interface is down", level=SHOULD, spec=_LISTED, needs={*_BOTH, "interface"})
def interface_down(lab: Lab) -> None:
    pod, _ = _checked(lab)
    lab.do(f"ip link set {lab.profile.ifname} down", within=pod)
    lab.check(pod).refuses()


@case("CHK-05", title="CHECK notices that an address is gone", level=SHOULD, spec=_LISTED, needs={*_BOTH, "creates", "addresses"})
def address_gone(lab: Lab) -> None:
    pod, result = _checked(lab)
    if not result.get("ips"):
        raise Skipped("the result has no address")
    gone = view.cidr(result["ips"][-1].get("address"))
    # Routes that the kernel takes away with it are put back: the address alone is missing.
    kept = [route for route in view.routes(lab, pod) if route.device == lab.profile.ifname]
    lab.do(f"ip address delete {gone} dev {lab.profile.ifname}", within=pod)
    for route in sorted(kept, key=lambda one: bool(one.gateway)):
        via = f"via {route.gateway} " if route.gateway else ""
        lab.do(f"ip route replace {route.destination} {via}dev {lab.profile.ifname} table {route.table}", within=pod, check=False)
    lab.check(pod).refuses()


@case("CHK-06", title="CHECK notices that the default route is gone", level=SHOULD, spec=_LISTED, needs={*_BOTH, "creates"})
def default_route_gone(lab: Lab) -> None:
    pod, result = _checked(lab)
    defaults = [route["dst"] for route in result.get("routes", []) if route["dst"] in {"0.0.0.0/0", "::/0"}]
    if not defaults:
        raise Skipped("the result has no default route")
    lab.do(f"ip {'-6' if ':' in defaults[0] else '-4'} route delete default", within=pod)
    lab.check(pod).refuses()


@case("CHK-07", title="CHECK notices that the interface's MTU is another", level=BEST, spec=_LISTED, needs={*_BOTH, "creates"})
def mtu_changed(lab: Lab) -> None:
    pod, result = _checked(lab)
    told = [one["mtu"] for one in result.get("interfaces", []) if one["name"] == lab.profile.ifname and one.get("mtu")]
    if not told:
        raise Skipped("the result does not tell the interface's MTU")
    lab.do(f"ip link set {lab.profile.ifname} mtu {told[0] - 100}", within=pod)
    lab.check(pod).refuses()


def _host_links(lab: Lab, result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The links of the node that the result lists."""
    there = view.links(lab)
    names = [one["name"] for one in result.get("interfaces", []) if not one.get("sandbox")]
    return {name: there[name] for name in names if name in there}


@case(
    "CHK-08",
    title="CHECK notices that the host's end of the link is no longer part of its bridge",
    level=SHOULD,
    spec=_UNLISTED,
    needs={*_BOTH, "interface"},
)
def off_its_master(lab: Lab) -> None:
    pod, result = _checked(lab)
    ports = [name for name, link in _host_links(lab, result).items() if link.get("master")]
    if not ports:
        raise Skipped("the plugin puts no interface of the node into a bridge")
    lab.do(f"ip link set {ports[0]} nomaster")
    lab.check(pod).refuses()


@case(
    "CHK-09", title="CHECK notices that the node has lost the gateway's address", level=SHOULD, spec=_UNLISTED, needs={*_BOTH, "interface"}
)
def gateway_gone(lab: Lab) -> None:
    before = lab.ledger()
    pod, result = _checked(lab)
    wanted = [view.address(ip["gateway"]) for ip in result.get("ips", []) if ip.get("gateway")]
    made = [item.name for item in lab.ledger().keys() - before.keys() if item.place == "node" and item.kind == "address"]
    found = [name for name in made if name.partition("/")[0] in wanted]
    if not found:
        raise Skipped("the plugin gives no gateway's address to the node")
    lab.do(f"ip address delete {found[0]}")
    lab.check(pod).refuses()


def _lose_firewall(lab: Lab, *, legacy: bool) -> None:
    """Take all firewall rules of the node away, as a reload of its firewall does."""
    lab.do("nft flush ruleset")
    if legacy:
        lab.do("for table in nat filter mangle; do iptables -t $table -F; iptables -t $table -X; done", check=False)


@case(
    "CHK-10",
    title="CHECK notices that its firewall rules or its traffic shaping are gone",
    level=SHOULD,
    spec=_UNLISTED,
    needs={*_BOTH, "tool:nft", "tool:tc"},
)
def rules_gone(lab: Lab) -> None:
    pod = lab.container()
    before = lab.ledger()
    lab.add(pod).succeeds()
    made = [item for item in lab.ledger().keys() - before.keys() if item.place == "node"]
    firewall = {item.kind for item in made if item.kind in {"nftables", "iptables"}}
    shaped = {item.name.split(" dev ")[1].split()[0] for item in made if item.kind == "qdisc" and item.name.startswith(_SHAPERS)}
    if not firewall and not shaped:
        raise Skipped("ADD makes no firewall rules, and shapes no traffic")
    lab.check(pod).succeeds()
    if firewall:
        _lose_firewall(lab, legacy="iptables" in firewall)
    for device in sorted(shaped):
        lab.do(f"tc qdisc delete dev {device} root")
    lab.check(pod).refuses()


@case(
    "CHK-11",
    title="CHECK notices that the address is no longer reserved",
    level=SHOULD,
    spec=_UNLISTED,
    needs={*_BOTH, "DEL", "direct|ipam"},
)
def reservation_gone(lab: Lab) -> None:
    pod, _ = _checked(lab)
    with_lease = lab.ledger()
    lab.call("DEL", lab.passed("DEL", pod), container=pod, plugin=lab.profile.delegate or lab.profile.plugin).succeeds()
    if not lab.difference(with_lease):
        raise Skipped("the IPAM plugin keeps no reservations")
    lab.check(pod).refuses()


@case("CHK-12", title="CHECK takes a route of a later plugin for right", level=MUST, spec=_LATER, needs={*_BOTH, "interface|chained"})
def route_of_another(lab: Lab) -> None:
    pod, _ = _checked(lab)
    lab.do(f"ip route add 203.0.113.0/24 dev {lab.profile.ifname}", within=pod)
    lab.check(pod).succeeds()


@case(
    "CHK-13",
    title="CHECK changes nothing, neither when it succeeds nor when it fails",
    level=BEST,
    spec=clause("CHECK", "a way for a runtime to probe the status of an existing container"),
    needs=_BOTH,
)
def changes_nothing(lab: Lab) -> None:
    pod = _attached(lab)
    with lab.unchanged():
        lab.check(pod).succeeds()
    if lab.profile.creates:
        lab.do(f"ip link set {lab.profile.ifname} down", within=pod)
        with lab.unchanged():
            lab.check(pod)


@case(
    "CHK-14",
    title="CHECK in a version that is without it fails with code 1",
    level=BEST,
    spec=clause("Error", "1: Incompatible CNI version; version 0.4.0 introduced CHECK"),
    needs={*_BOTH, "version:0.3.1"},
)
def before_its_time(lab: Lab) -> None:
    pod = lab.container(version="0.3.1")
    conf = lab.conf(version="0.3.1")
    result = lab.add(pod, conf).succeeds()
    lab.call("CHECK", conf | {"prevResult": result}, container=pod).fails(code=1)


@case(
    "CHK-15",
    title="CHECK calls the delegate",
    level=MUST,
    spec=clause(
        "Delegation procedure", "If a plugin is executed with CNI_COMMAND=CHECK, DEL, or GC, it must also execute any delegated plugins"
    ),
    needs={*_BOTH, "delegates"},
)
def delegate_called(lab: Lab) -> None:
    delegate = lab.fake_ipam()
    pod = lab.attached(conf=delegate.conf())
    lab.check(pod, delegate.conf()).succeeds()
    if not delegate.calls("CHECK"):
        raise Failed("the delegate is called with CHECK", f"it was called with {', '.join(call.verb for call in delegate.calls())}")


@case("CHK-16", title="CHECK fails when the delegate's does", level=SHOULD, spec=_PASS_ON, needs={*_BOTH, "delegates"})
def delegate_failed(lab: Lab) -> None:
    delegate = lab.fake_ipam()
    pod = lab.attached(conf=delegate.conf())
    delegate.fails("CHECK", code=100)
    lab.check(pod, delegate.conf()).refuses()


@case(
    "CHK-17",
    title="CHECK takes a MAC address for right that a later plugin has changed, and told",
    level=MUST,
    spec=_LATER,
    needs={*_BOTH, "creates"},
)
def mac_of_another(lab: Lab) -> None:
    pod, result = _checked(lab)
    routes = view.routes(lab, pod)
    lab.do(f"ip link set {lab.profile.ifname} address {_SPARE_MAC}", within=pod)
    if view.routes(lab, pod) != routes:
        raise Skipped("the kernel takes routes away with the MAC address")
    interfaces = [one | {"mac": _SPARE_MAC} if one["name"] == lab.profile.ifname else one for one in result.get("interfaces", [])]
    lab.check(pod, lab.conf() | {"prevResult": result | {"interfaces": interfaces}}).succeeds()


@case(
    "CHK-18",
    title="CHECK takes an interface of a later plugin in prevResult for right",
    level=MUST,
    spec=_LATER,
    needs={*_BOTH, "interface"},
)
def interface_of_another(lab: Lab) -> None:
    pod, result = _checked(lab)
    lab.do("ip link add later0 type veth peer name later1")
    mac = view.link(lab, "later0")["address"]
    interfaces = [*result.get("interfaces", []), {"name": "later0", "mac": mac}]
    lab.check(pod, lab.conf() | {"prevResult": result | {"interfaces": interfaces}}).succeeds()
