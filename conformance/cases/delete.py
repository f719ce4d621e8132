"""DEL: everything that an ADD made goes away, as often as it is asked for and whatever is missing."""

from __future__ import annotations

from conformance.case import BEST, MUST, SHOULD, Failed, case
from conformance.lab import Lab
from conformance.spec import clause

_UNDO = clause("DEL", "should either delete the interface defined by CNI_IFNAME …, or undo any modifications applied in … ADD")
_TWICE = clause(
    "DEL", "Plugins MUST accept multiple DEL calls …, and return success if the interface in question, or any modifications …, are missing"
)
_MISSING = clause("DEL", "plugins should always complete a DEL action without error …, even if some resources or state are missing")
_NO_NETNS = clause("DEL", "Optional environment parameters: CNI_NETNS")


@case("DEL-01", title="DEL undoes all that ADD did", level=SHOULD, spec=_UNDO, needs={"ADD", "DEL"})
def undoes_everything(lab: Lab) -> None:
    pod = lab.container()
    with lab.unchanged():
        lab.add(pod).succeeds()
        lab.delete(pod).succeeds()


@case("DEL-02", title="DEL a second time succeeds", level=MUST, spec=_TWICE, needs={"ADD", "DEL"})
def twice(lab: Lab) -> None:
    pod = lab.attached()
    lab.delete(pod).succeeds()
    lab.delete(pod).succeeds()


@case("DEL-03", title="DEL of what was never added succeeds", level=MUST, spec=_TWICE, needs={"DEL"})
def never_added(lab: Lab) -> None:
    lab.delete(lab.container()).succeeds()


@case("DEL-04", title="DEL without CNI_NETNS succeeds", level=MUST, spec=_NO_NETNS, needs={"ADD", "DEL"})
def without_netns(lab: Lab) -> None:
    pod = lab.attached()
    lab.delete(pod, CNI_NETNS=None).succeeds()


@case("DEL-05", title="DEL succeeds when the network namespace has vanished", level=SHOULD, spec=_MISSING, needs={"ADD", "DEL"})
def vanished_netns(lab: Lab) -> None:
    pod = lab.container()
    before = lab.ledger()
    lab.add(pod).succeeds()
    lab.remove(pod)
    lab.delete(pod).succeeds()
    if lines := lab.left_behind(before):
        raise Failed("nothing is left on the node", f"{len(lines)} things are", ledger=lines)


@case(
    "DEL-06",
    title="DEL without prevResult succeeds, and undoes all",
    level=SHOULD,
    spec=clause("DEL", "Plugins should still return without error if prevResult is empty for a DEL command"),
    needs={"ADD", "DEL"},
)
def without_prev_result(lab: Lab) -> None:
    pod = lab.container()
    with lab.unchanged():
        lab.add(pod).succeeds()
        lab.call("DEL", lab.conf(), container=pod).succeeds()


@case("DEL-07", title="DEL succeeds when the interface is gone already", level=MUST, spec=_TWICE, needs={"ADD", "DEL", "creates"})
def interface_gone(lab: Lab) -> None:
    pod = lab.attached()
    lab.do(f"ip link delete {lab.profile.ifname}", within=pod)
    lab.delete(pod).succeeds()


@case(
    "DEL-11",
    title="DEL undoes the rest when the interface is gone already",
    level=SHOULD,
    spec=clause(
        "DEL",
        "should … clean up its own resources even if the container network namespace and/or container network interface no longer exist",
    ),
    needs={"ADD", "DEL", "creates"},
)
def rest_undone(lab: Lab) -> None:
    pod = lab.container()
    with lab.unchanged():
        lab.add(pod).succeeds()
        lab.do(f"ip link delete {lab.profile.ifname}", within=pod)
        lab.delete(pod).succeeds()


@case(
    "DEL-08",
    title="DEL frees the address when the network namespace has vanished",
    level=SHOULD,
    spec=clause(
        "DEL", "an IPAM plugin should generally release an IP allocation … even if the container network namespace no longer exists"
    ),
    needs={"ADD", "DEL", "pool"},
)
def address_freed(lab: Lab) -> None:
    pool = lab.profile.pool
    assert pool is not None
    conf = lab.conf(**pool.changes)
    pods = [lab.attached(f"pod{number}", conf) for number in range(pool.size)]
    lab.remove(pods[0])
    lab.delete(pods[0], conf, CNI_NETNS=None).succeeds()
    lab.add(lab.container("next"), conf).succeeds()


@case("DEL-09", title="DEL leaves the other containers alone", level=BEST, spec=_UNDO, needs={"ADD", "DEL", "CHECK"})
def neighbours_untouched(lab: Lab) -> None:
    pod = lab.container("pod")
    other = lab.conf(another=True)
    neighbour = lab.attached("neighbour", other)
    with lab.unchanged():
        lab.add(pod).succeeds()
        lab.delete(pod).succeeds()
    lab.check(neighbour, other).succeeds()


@case(
    "DEL-10",
    title="DEL calls the delegate when the network namespace has vanished",
    level=MUST,
    spec=clause(
        "Delegation procedure", "If a plugin is executed with CNI_COMMAND=CHECK, DEL, or GC, it must also execute any delegated plugins"
    ),
    needs={"ADD", "DEL", "delegates"},
)
def delegate_called(lab: Lab) -> None:
    delegate = lab.fake_ipam()
    pod = lab.attached(conf=delegate.conf())
    lab.remove(pod)
    lab.delete(pod, delegate.conf()).succeeds()
    calls = [call.verb for call in delegate.calls()]
    if "DEL" not in calls:
        raise Failed("the delegate is called with DEL", f"it was called with {', '.join(calls)}")
