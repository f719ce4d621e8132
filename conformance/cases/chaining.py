"""Chains: a plugin that comes after others works on what they made, hands on what they said, and goes away before they do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from conformance.case import BEST, MUST, SHOULD, Failed, case
from conformance.lab import Conf, Container, Lab, parsed
from conformance.profile import filled
from conformance.scene import places
from conformance.spec import clause

_ADJUST = clause(
    "ADD", "should either create the interface …, or adjust the configuration of the interface defined by CNI_IFNAME inside the container"
)
_HAND_ON = clause(
    "ADD success", "Plugins provided a prevResult key … must output it as their result, with any possible modifications … included"
)
_FAILED_ADD = clause("Lifecycle", "A delete must still be executed even if the add fails")
_REVERSE = clause(
    "Deleting",
    "The list of plugins is executed in reverse order. The previous result provided is always the final result of the add operation",
)

_CURSOR = r"node file /var/lib/cni/networks/.*/last_reserved_ip\.\d+"
"""Where host-local goes on, which the plugin before a chained one may use."""


def foreign(lab: Lab, name: str = "pod", *, version: str | None = None) -> tuple[Container, Conf]:
    """Return a container with an interface that no plugin of ours made, and the configuration with the result that tells of it.

    The result is as right as it is unusual: the container's interface first, one that has nothing to do with it, two addresses.
    """
    version = version or lab.version
    pod = lab.bare(name)
    host, ifname = f"foreign-{name}"[:15], lab.profile.ifname
    lab.do(f"ip link add {host} type veth peer name {ifname} netns {pod.name} && ip link set {host} up")
    lab.do(
        f"ip link set lo up; ip address add 10.89.1.50/24 dev {ifname}; ip address add fd00:89:1::50/64 dev {ifname} nodad;"
        f" ip link set {ifname} up; ip route add default via 10.89.1.1",
        within=pod,
    )
    macs = [lab.do(f"cat /sys/class/net/{host}/address").strip(), lab.do(f"ip -br link show {ifname}", within=pod).split()[2]]
    old = parsed(version) < (1,)
    result = {
        "cniVersion": version,
        "interfaces": [{"name": ifname, "mac": macs[1], "sandbox": pod.path}, {"name": host, "mac": macs[0]}, {"name": "foreign9"}],
        "ips": [
            {"address": "10.89.1.50/24", "gateway": "10.89.1.1", "interface": 0, **({"version": "4"} if old else {})},
            {"address": "fd00:89:1::50/64", "interface": 0, **({"version": "6"} if old else {})},
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.89.1.1"}],
        "dns": {"nameservers": ["192.0.2.53"], "search": ["example.org"]},
    }
    return pod, lab.conf(version=version, prevResult=result)


def kept(before: Any, after: Any) -> Iterator[str]:
    """What of a result is missing in a later one: a plugin may add, and change MAC addresses and MTUs."""
    after = after if isinstance(after, dict) else {}
    names = [(one.get("name"), one.get("sandbox") or "") for one in after.get("interfaces") or []]
    for one in before.get("interfaces") or []:
        if (one["name"], one.get("sandbox") or "") not in names:
            yield f"interface {one['name']}"
    found = {ip.get("address"): ip for ip in after.get("ips") or []}
    for ip in before.get("ips") or []:
        index = (found.get(ip["address"]) or {}).get("interface")
        place = names[index] if isinstance(index, int) and index < len(names) else None
        if ip["address"] not in found:
            yield f"address {ip['address']}"
        elif "interface" in ip and place != _place(before, ip["interface"]):
            yield f"the interface of {ip['address']}"
    destinations = [(route.get("dst"), route.get("gw")) for route in after.get("routes") or []]
    yield from (f"route {route['dst']}" for route in before.get("routes") or [] if (route["dst"], route.get("gw")) not in destinations)
    dns = after.get("dns") or {}
    yield from (f"dns {key}" for key, value in (before.get("dns") or {}).items() if value and dns.get(key) != value)


def _place(result: Any, index: int) -> tuple[str, str]:
    one = result["interfaces"][index]
    return one["name"], one.get("sandbox") or ""


@case("CHN-01", title="a chained plugin works after one that it does not know", level=SHOULD, spec=_ADJUST, needs={"ADD", "DEL", "chained"})
def after_a_foreign_plugin(lab: Lab) -> None:
    pod, conf = foreign(lab)
    lab.add(pod, conf).succeeds()
    lab.delete(pod, conf).succeeds()


@case("CHN-02", title="a chained plugin hands on what came before it", level=MUST, spec=_HAND_ON, needs={"ADD", "chained"})
def hands_on(lab: Lab) -> None:
    pod, conf = foreign(lab)
    result = lab.add(pod, conf).succeeds()
    if missing := list(kept(conf["prevResult"], result)):
        raise Failed("all of prevResult, changed at most by the plugin's own work", f"missing: {', '.join(missing)}; {json.dumps(result)}")


@case("CHN-03", title="DEL after an ADD that failed further on leaves nothing", level=SHOULD, spec=_FAILED_ADD, needs={"ADD", "DEL"})
def failure_further_on(lab: Lab) -> None:
    pod = lab.container()
    with lab.unchanged(ignore=[f"{pod.name} .*"]):
        lab.add(pod).succeeds()
        lab.call("DEL", lab.conf(), container=pod).succeeds()


@case(
    "CHN-04",
    title="a chain is taken down in reverse order, and leaves nothing",
    level=SHOULD,
    spec=_REVERSE,
    needs={"ADD", "DEL", "chained"},
)
def reverse_order(lab: Lab) -> None:
    lab.container("bystander")
    with lab.unchanged(ignore=[_CURSOR]):
        pod = lab.container()
        final = lab.add(pod).succeeds()
        lab.delete(pod).succeeds()
        before = {"cniVersion": lab.version, "name": lab.conf()["name"], **filled(lab.profile.before, places(1)), "prevResult": final}
        lab.call("DEL", before, container=pod, plugin=str(before["type"])).succeeds()


@case(
    "CHN-05",
    title="a chain's own keys do no harm in a plugin's configuration",
    level=BEST,
    spec=clause(
        "Request configuration",
        "All other fields not prefixed with cni.dev/ should be passed through unaltered: disableCheck is the runtime's",
    ),
    needs={"ADD", "CHECK", "DEL", "interface|chained|meta"},
)
def keys_of_the_chain(lab: Lab) -> None:
    pod = lab.container()
    conf = lab.conf(disableCheck=True, disableGC=True, cniVersions=[lab.version], loadOnlyInlinedPlugins=True)
    lab.add(pod, conf).succeeds()
    lab.check(pod, conf).succeeds()
    lab.delete(pod, conf).succeeds()


@case(
    "CHN-06",
    title="a chained plugin reads prevResult in every version that it supports",
    level=MUST,
    spec=clause(
        "ADD",
        "If the plugin was supplied a prevResult …, it MUST handle prevResult by either passing it through, or modifying it appropriately",
    ),
    needs={"ADD", "chained"},
)
def every_version(lab: Lab) -> None:
    for number, version in enumerate(one for one in lab.profile.versions if parsed(one) >= (0, 3)):
        pod, conf = foreign(lab, f"pod{number}", version=version)
        result = lab.add(pod, conf).succeeds()
        if missing := list(kept(conf["prevResult"], result)):
            raise Failed(f"all of prevResult, in version {version}", f"missing: {', '.join(missing)}; {json.dumps(result)}")
        lab.delete(pod, conf)
