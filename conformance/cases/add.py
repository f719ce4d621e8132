"""ADD: the container gets its interface, once and whole, or nothing at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from conformance import view
from conformance.answer import Answer
from conformance.case import BEST, MAY, MUST, SHOULD, Failed, Skipped, case
from conformance.fakes import FakeIpam
from conformance.lab import Conf, Lab, at
from conformance.netns import Container
from conformance.spec import clause

_CREATE = clause(
    "ADD", "should either create the interface defined by CNI_IFNAME inside the container …, or adjust the configuration of the interface"
)
_EXISTS = clause("ADD", "If an interface of the requested name already exists in the container, the CNI plugin MUST return with an error")
_UNDONE = clause(
    "Lifecycle", "A delete must still be executed even if the add fails: what a failed add left needs it, and so best leaves nothing"
)
_PREVIOUS = clause(
    "ADD",
    "If the plugin was supplied a prevResult …, it MUST handle prevResult by either passing it through, or modifying it appropriately",
)
_OCCUPY = "ip link add {ifname} type veth peer name peer0"
_LONGEST = "abcdefghijklmno"


@case("ADD-01", title="ADD makes the interface CNI_IFNAME in the container", level=SHOULD, spec=_CREATE, needs={"ADD", "creates"})
def makes_interface(lab: Lab) -> None:
    pod = lab.attached()
    view.link(lab, lab.profile.ifname, pod)


@case(
    "ADD-07",
    title="the container reaches the gateway of its addresses",
    level=BEST,
    spec=clause("Overview", "Interface plugins, which create a network interface inside the container and ensure it has connectivity"),
    needs={"ADD", "addresses", "l2|l3", "tool:ping"},
)
def reaches_gateway(lab: Lab) -> None:
    pod = lab.attached()
    gateways = [ip["gateway"] for ip in lab.result(pod).get("ips", []) if ip.get("gateway")]
    if not gateways:
        raise Skipped("the result has no gateway")
    for gateway in gateways:
        said = lab.do(f"ping -n -c 2 -i 0.2 -W 2 {gateway}", within=pod, check=False)
        if "bytes from" not in said:
            raise Failed(f"{gateway}, the gateway in the result, answers", said.strip())


@case("ADD-08", title="ADD fails when there is an interface of that name", level=MUST, spec=_EXISTS, needs={"ADD", "creates"})
def name_taken(lab: Lab) -> None:
    pod = lab.container()
    lab.do(_OCCUPY.format(ifname=lab.profile.ifname), within=pod)
    lab.add(pod).refuses()


@case(
    "ADD-09",
    title="ADD gives a container a second interface on the same network",
    level=MAY,
    spec=clause(
        "ADD",
        "a given container ID may be added to a specific network more than once only if each addition is done with a "
        "different interface name",
    ),
    needs={"ADD", "DEL", "creates"},
)
def second_interface(lab: Lab) -> None:
    pod = lab.attached()
    conf = lab.conf(another=True)
    lab.add(pod, conf, ifname="second0").succeeds()
    view.link(lab, "second0", pod)
    lab.delete(pod, conf, ifname="second0").succeeds()
    view.link(lab, lab.profile.ifname, pod)


@case("ADD-10", title="a chained plugin passes on the result of the one before it", level=MUST, spec=_PREVIOUS, needs={"ADD", "chained"})
def previous_result(lab: Lab) -> None:
    pod = lab.container()
    before = lab.passed("ADD", pod).get("prevResult", {})
    after = lab.add(pod).succeeds() or {}
    identities: dict[str, Callable[[Any], Any]] = {
        "interfaces": lambda one: (one.get("name"), one.get("sandbox", "")),
        "ips": lambda one: one.get("address"),
        "routes": lambda one: (one.get("dst"), one.get("gw")),
    }
    for key, identity in identities.items():
        missing = {identity(one) for one in before.get(key, [])} - {identity(one) for one in after.get(key, [])}
        if missing:
            raise Failed(f"the result has the {key} of prevResult", f"it is without {', '.join(map(str, sorted(missing, key=str)))}")


@case(
    "ADD-11",
    title="ADD does what runtimeConfig asks for",
    level=BEST,
    spec=clause(
        "runtimeConfig",
        "any capability supported by the plugin configuration and provided by the runtime should be inserted in the runtimeConfig",
    ),
    needs={"ADD"},
)
def runtime_config(lab: Lab) -> None:
    if not lab.profile.capabilities:
        raise Skipped("the plugin's profile is without capabilities")
    for number, name in enumerate(lab.profile.capabilities):
        pod = lab.container(f"pod{number}")
        conf = lab.conf(runtimeConfig={name: lab.profile.capabilities[name]})
        before = lab.ledger()
        result = lab.add(pod, conf).succeeds() or {}
        wanted = conf["runtimeConfig"][name]
        if name == "mac":
            found = view.link(lab, lab.profile.ifname, pod)["address"]
            if found.lower() != wanted.lower():
                raise Failed(f"the interface has the MAC address {wanted}", found)
        elif name == "ips":
            missing = {view.address(ip.partition("/")[0]) for ip in wanted} - {_plain(ip) for ip in result.get("ips", [])}
            if missing:
                raise Failed(f"the result has {', '.join(sorted(missing))}", json.dumps(result.get("ips")))
        elif name in {"portMappings", "bandwidth"} and not lab.difference(before):
            raise Failed(f"{name} changes something on the node", "nothing")


def _plain(ip: dict[str, Any]) -> str:
    return view.cidr(ip.get("address")).partition("/")[0]


@case(
    "ADD-13",
    title="ADD takes an interface name of 15 characters",
    level=BEST,
    spec=clause(
        "Parameters",
        "CNI_IFNAME: Name of the interface to create inside the container; if the plugin is unable to use this … name it must "
        "return an error",
    ),
    needs={"ADD", "DEL", "creates"},
)
def longest_name(lab: Lab) -> None:
    pod = lab.container()
    with lab.unchanged():
        lab.add(pod, ifname=_LONGEST).succeeds()
        view.link(lab, _LONGEST, pod)
        lab.delete(pod, ifname=_LONGEST).succeeds()


@case(
    "ADD-14",
    title="ADD into the network namespace of the node itself fails, and changes nothing",
    level=BEST,
    spec=clause("Lifecycle", "The container runtime must create a new network namespace for the container before invoking any plugins"),
    needs={"ADD", "interface|chained"},
)
def own_namespace(lab: Lab) -> None:
    pod = lab.container()
    with lab.unchanged():
        lab.call("ADD", lab.passed("ADD", pod), container=pod, CNI_NETNS="/proc/self/ns/net").refuses()


Attempt = tuple[Callable[[], Answer], Callable[[], object]]
"""An ADD that fails, and what takes the cause away."""


def _failures(lab: Lab) -> Iterator[Attempt]:
    """ADDs that fail late: what is in the way is met only when part of the work is done. It is the caller who tries them."""
    if pool := lab.profile.pool:
        conf = lab.conf(**pool.changes)
        pods = [lab.attached(f"pod{number}", conf) for number in range(pool.size)]
        last = lab.container("last")
        yield lambda: lab.add(last, conf), lambda: lab.delete(pods[0], conf).succeeds()
    if lab.profile.creates:
        pod = lab.container("occupied")
        lab.do(_OCCUPY.format(ifname=lab.profile.ifname), within=pod)
        yield lambda: lab.add(pod), lambda: lab.do(f"ip link delete {lab.profile.ifname} || true", within=pod)
    if lab.profile.delegate:
        lonely = lab.container("lonely")
        delegate = lab.fake_ipam()
        delegate.fails("ADD", code=100)
        yield lambda: lab.add(lonely, delegate.conf()), lambda: delegate.recovers("ADD")


def _refused(lab: Lab) -> Iterator[Attempt]:
    """ADDs with values that cannot be. A plugin that takes them is found by others; they are undone."""
    for number, (path, value) in enumerate((lab.profile.out_of_range or {}).items()):
        pod, conf = lab.container(f"refused{number}"), lab.conf(**at(path, value))
        yield partial(lab.add, pod, conf), partial(lab.delete, pod, conf)


@case("ADD-15", title="an ADD that fails leaves nothing", level=BEST, spec=_UNDONE, needs={"ADD"})
def failure_leaves_nothing(lab: Lab) -> None:
    failed = 0
    for attempt, undo in _refused(lab):
        before = lab.ledger()
        if attempt().status != 0:
            failed += _nothing_left(lab, before)
        undo()
    for attempt, _ in _failures(lab):
        before = lab.ledger()
        attempt().refuses()
        failed += _nothing_left(lab, before)
    if not failed:
        raise Skipped("the suite knows no way to make its ADD fail")


def _nothing_left(lab: Lab, before: Any) -> bool:
    if lines := lab.difference(before, ignore=[r"node file /run/conformance/.*"]):
        raise Failed("node and containers are as before the ADD that failed", f"{len(lines)} things differ", ledger=lines)
    return True


@case(
    "ADD-16",
    title="an ADD that failed succeeds when the cause is gone",
    level=BEST,
    spec=_UNDONE,
    needs={"ADD", "DEL", "creates|delegates|pool"},
)
def succeeds_after_failure(lab: Lab) -> None:
    for attempt, cure in _failures(lab):
        attempt().refuses()
        cure()
        attempt().succeeds()


@case(
    "ADD-17",
    title="the interface that ADD makes is up",
    level=BEST,
    spec=clause("Overview", "Interface plugins, which create a network interface inside the container and ensure it has connectivity"),
    needs={"ADD", "interface"},
)
def interface_up(lab: Lab) -> None:
    pod = lab.attached()
    flags = view.link(lab, lab.profile.ifname, pod)["flags"]
    if "UP" not in flags:
        raise Failed(f"{lab.profile.ifname} is up", f"its flags are {', '.join(flags)}")


@case("ADD-20", title="an interface that was in the way stays as it was", level=BEST, spec=_EXISTS, needs={"ADD", "creates"})
def taken_name_untouched(lab: Lab) -> None:
    pod = lab.container()
    lab.do(_OCCUPY.format(ifname=lab.profile.ifname), within=pod)
    occupied = view.link(lab, lab.profile.ifname, pod)
    lab.add(pod).refuses()
    if (now := view.link(lab, lab.profile.ifname, pod)) != occupied:
        raise Failed(f"{lab.profile.ifname} as it was, {json.dumps(occupied)}", json.dumps(now))


# --- what is delegated


def _delegating(lab: Lab) -> tuple[Container, FakeIpam, Conf]:
    delegate = lab.fake_ipam()
    return lab.container(), delegate, delegate.conf()


@case(
    "ADD-23",
    title="the delegate gets the environment and the configuration of the plugin",
    level=MUST,
    spec=clause(
        "Delegation protocol",
        "The delegated plugin must receive all the same environment variables that were passed in …. "
        "Delegated plugins are provided the complete network configuration passed to the upper plugin",
    ),
    needs={"ADD", "direct"},
)
def delegate_gets_all(lab: Lab) -> None:
    pod, delegate, conf = _delegating(lab)
    conf["args"] = {"cni": {"labels": [{"key": "app", "value": "web"}]}}
    given = lab.environment("ADD", container=pod) | {"CNI_ARGS": "IgnoreUnknown=1;A=B"}
    lab.add(pod, conf, CNI_ARGS="IgnoreUnknown=1;A=B").succeeds()
    calls = delegate.calls("ADD")
    if not calls:
        raise Failed("the delegate is called with ADD", "it is not called")
    for name in ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"):
        if calls[0].env.get(name) != given[name]:
            raise Failed(f"the delegate gets {name}={given[name]}", f"{name}={calls[0].env.get(name)}")
    received = calls[0].conf if isinstance(calls[0].conf, dict) else {}
    if missing := [key for key, value in conf.items() if received.get(key) != value]:
        raise Failed("the delegate gets the complete configuration", f"{', '.join(missing)} missing or changed in {json.dumps(received)}")


@case(
    "ADD-24",
    title="a delegate whose ADD failed is called with DEL",
    level=SHOULD,
    spec=clause(
        "Delegation procedure",
        'If, on ADD, a delegated plugin fails, the "upper" plugin should execute again with DEL before returning failure',
    ),
    needs={"ADD", "delegates"},
)
def failed_delegate_deleted(lab: Lab) -> None:
    pod, delegate, conf = _delegating(lab)
    delegate.fails("ADD", code=100)
    lab.add(pod, conf).refuses()
    if "DEL" not in (calls := [call.verb for call in delegate.calls()]):
        raise Failed("the delegate is called with DEL after its ADD failed", f"it was called with {', '.join(calls) or 'nothing'}")
