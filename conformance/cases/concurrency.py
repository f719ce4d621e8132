"""Calls beside each other: runtimes start containers in parallel, and end some while others begin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from conformance.case import BEST, MUST, Failed, case
from conformance.lab import Call, Conf, Lab
from conformance.netns import Container
from conformance.spec import clause

_MANY = 50
_SOME = 10
_DELETES = 8
_ROUNDS = 4
_KILLS = 8
_PATIENCE = 60.0
"""Seconds for a call that has many beside it."""

_CONCURRENT = clause(
    "Lifecycle",
    "Plugins must handle being executed concurrently across different containers. If necessary, they must implement locking …",
)
_ACROSS = clause(
    "Lifecycle", "is allowed to invoke parallel operations for different containers. This includes across multiple attachments"
)


def start(lab: Lab, verb: str, pod: Container, conf: Conf | None = None) -> Call:
    """Start a call for a container, with the result of the plugin before, or of its own ADD."""
    return lab.start(verb, lab.passed(verb, pod, conf), container=pod, timeout=_PATIENCE)


def attach(lab: Lab, pods: Sequence[Container], conf: Conf | None = None) -> None:
    """ADD containers, all at once; each must succeed."""
    network = str((conf or lab.conf())["name"])
    for pod, call in [(pod, start(lab, "ADD", pod, conf)) for pod in pods]:
        lab.keep(network, pod, call.wait().succeeds())


def detach(lab: Lab, pods: Iterable[Container]) -> None:
    """DEL containers, all at once; each must succeed."""
    for call in [start(lab, "DEL", pod) for pod in pods]:
        call.wait().succeeds()


def addresses(lab: Lab, pod: Container) -> list[str]:
    """Return the addresses of a container's result, without their prefix lengths."""
    ips = (lab.result(pod) or {}).get("ips") or []
    return [str(ip["address"]).partition("/")[0] for ip in ips]


def distinct(lab: Lab, pods: Iterable[Container]) -> None:
    """Expect that every container has an address, and no two the same."""
    owner: dict[str, str] = {}
    for pod in pods:
        mine = addresses(lab, pod)
        if not mine:
            raise Failed("every container gets an address", f"{pod.name} has none: {lab.result(pod)}")
        for address in mine:
            if address in owner:
                raise Failed("no address is given twice", f"{owner[address]} and {pod.name} have {address}")
            owner[address] = pod.name


@case(
    "CON-01",
    title=f"{_MANY} ADDs at once all succeed, with different addresses",
    level=MUST,
    spec=_CONCURRENT,
    needs={"many", "ADD", "DEL", "addresses", "pool|delegates"},
    seconds=120,
)
def many_adds(lab: Lab) -> None:
    pods = [lab.container(f"pod{number}") for number in range(_MANY)]
    attach(lab, pods)
    distinct(lab, pods)
    detach(lab, pods)


@case("CON-02", title="ADDs beside the DELs of others succeed", level=MUST, spec=_CONCURRENT, needs={"many", "ADD", "DEL"})
def adds_beside_deletes(lab: Lab) -> None:
    new = come_and_go(lab, *(_containers(lab, age) for age in ("old", "new")))
    if "delegates" in lab.features:
        distinct(lab, new)
    if "CHECK" in lab.features:
        for pod in new:
            lab.check(pod).succeeds()


@case(
    "CON-07",
    title="nothing is left of containers that came and went beside each other",
    level=BEST,
    spec=clause("DEL", "should … undo any modifications applied in … ADD, also those of an ADD that had others beside it"),
    needs={"many", "ADD", "DEL"},
)
def nothing_left(lab: Lab) -> None:
    old, new = (_containers(lab, age) for age in ("old", "new"))
    with lab.unchanged():
        detach(lab, come_and_go(lab, old, new))


def _containers(lab: Lab, name: str) -> list[Container]:
    return [lab.container(f"{name}{number}") for number in range(_SOME)]


def come_and_go(lab: Lab, old: Sequence[Container], new: Sequence[Container]) -> Sequence[Container]:
    """ADD the old containers; then DEL them and ADD the new ones, all at once. Returns the new ones."""
    attach(lab, old)
    calls = [start(lab, verb, pod) for pair in zip(old, new, strict=True) for verb, pod in zip(("DEL", "ADD"), pair, strict=True)]
    answers = [call.wait() for call in calls]
    for answer in answers[::2]:
        answer.succeeds()
    for pod, answer in zip(new, answers[1::2], strict=True):
        lab.keep(str(lab.conf()["name"]), pod, answer.succeeds())
    return new


@case(
    "CON-03",
    title="the first ADDs on a node may race to make what all share",
    level=MUST,
    spec=_CONCURRENT,
    needs={"ADD", "addresses", "interface", "l2|l3", "tool:ping"},
)
def first_adds(lab: Lab) -> None:
    first, *others = _containers(lab, "pod")
    attach(lab, [first, *others])
    for pod in others:
        for address in addresses(lab, pod):
            if "bytes from" not in lab.do(f"ping -n -c1 -w5 {address}", within=first, check=False):
                raise Failed("containers that were added at once reach each other", f"no answer to {first.name} from {pod.name}, {address}")


@case(
    "CON-04",
    title="several DELs of one attachment at once undo it",
    level=BEST,
    spec=clause(
        "Lifecycle", "delete may be followed by additional deletes: a runtime that repeats one may not have seen the end of the first"
    ),
    needs={"ADD", "DEL"},
)
def same_deletes(lab: Lab) -> None:
    pods = [lab.container(f"pod{number}") for number in range(_ROUNDS)]
    with lab.unchanged():
        for pod in pods:
            lab.add(pod).succeeds()
            for answer in [call.wait() for call in [start(lab, "DEL", pod) for _ in range(_DELETES)]]:
                if answer.status != 0:  # runtimes must not do this: it may be refused, but nothing may get lost by it
                    answer.fails()
            lab.delete(pod).succeeds()


@case(
    "CON-05",
    title="a lock ends with the process that holds it",
    level=BEST,
    spec=clause("Lifecycle", "If necessary, they must implement locking on shared resources: a killed plugin must not lock out all others"),
    needs={"many", "ADD", "DEL"},
)
def locks_end(lab: Lab) -> None:
    measured = lab.container("measured")
    length = lab.add(measured).seconds
    lab.delete(measured).succeeds()
    for number in range(_KILLS):
        call = start(lab, "ADD", lab.container(f"killed{number}"))
        if not call.ends_within(length * (number + 0.5) / _KILLS):
            call.kill()
            call.wait()
        lab.attached(f"next{number}")


@case("CON-06", title="ADDs to two networks at once succeed", level=MUST, spec=_ACROSS, needs={"many", "ADD", "second_conf"})
def two_networks(lab: Lab) -> None:
    pods = _containers(lab, "pod")
    confs = [lab.conf(second=bool(number % 2)) for number in range(_SOME)]
    calls = [start(lab, "ADD", pod, conf) for pod, conf in zip(pods, confs, strict=True)]
    for pod, conf, call in zip(pods, confs, calls, strict=True):
        lab.keep(str(conf["name"]), pod, call.wait().succeeds())
    if "CHECK" in lab.features:
        for pod, conf in zip(pods, confs, strict=True):
            lab.check(pod, conf).succeeds()
