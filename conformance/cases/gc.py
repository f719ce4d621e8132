"""GC: what belongs to attachments that are not in the runtime's list goes away, and nothing else does.

A container of these cases is stale when its network namespace is gone without a DEL, as the specification lets plugins assume.
"""

from __future__ import annotations

from conformance import scene
from conformance.case import BEST, MUST, SHOULD, Failed, Skipped, case
from conformance.lab import Conf, Lab
from conformance.netns import Container
from conformance.spec import clause

_REMOVE = clause(
    "GC", "A plugin SHOULD remove as many stale resources as possible. … a plugin should remove any IPAM reservations associated with …"
)
_ONLY_STALE = clause("GC", "The network plugin may then remove any resources related to attachments that do not exist in this set")
_CONTINUE = clause(
    "GC", "If an error is encountered, a plugin should continue; removing as many resources as possible, and report the errors"
)
_FORWARD = clause("GC", "Plugins MUST, additionally, forward any GC calls to delegated plugins they are configured to use")
_QUIET = clause("GC", "Plugins should generally complete a GC action without error")
_VALID = "cni.dev/valid-attachments"
_LEASES = r"node file /var/lib/cni/networks/.*"
"""Addresses that host-local holds: other cases see to them, by asking for new ones."""


def stale(lab: Lab, name: str, conf: Conf | None = None) -> Container:
    """Return a container that was ADDed and whose network namespace is gone."""
    pod = lab.attached(name, conf)
    lab.remove(pod)
    scene.detach_before(lab, pod)
    return pod


def still_right(lab: Lab, pod: Container, conf: Conf) -> None:
    """Expect that CHECK has nothing to say. An IPAM plugin's may miss the interface that nobody has made here."""
    if "CHECK" in lab.features and "ipam" not in lab.features:
        lab.check(pod, conf).succeeds()


@case("GC-01", title="GC keeps what belongs to valid attachments", level=MUST, spec=_ONLY_STALE, needs={"ADD", "GC"})
def keeps_the_valid(lab: Lab) -> None:
    confs = [lab.conf(), lab.conf(another=True)]
    pods = [lab.attached(f"pod{number}", conf) for number, conf in enumerate(confs)]
    with lab.unchanged():
        lab.gc(pods).succeeds()
    for pod, conf in zip(pods, confs, strict=True):
        still_right(lab, pod, conf)


@case("GC-02", title="GC frees the addresses of stale attachments", level=SHOULD, spec=_REMOVE, needs={"ADD", "GC", "pool"}, seconds=120)
def frees_addresses(lab: Lab) -> None:
    assert lab.profile.pool
    conf = lab.conf(**lab.profile.pool.changes)
    valid = lab.attached("valid", conf)
    for number in range(1, lab.profile.pool.size):
        stale(lab, f"stale{number}", conf)
    lab.gc([valid], conf).succeeds()
    for number in range(1, lab.profile.pool.size):
        lab.attached(f"new{number}", conf)
    lab.add(lab.container("surplus"), conf).fails()


@case("GC-03", title="GC removes the rules, links and files of stale attachments", level=SHOULD, spec=_REMOVE, needs={"ADD", "GC"})
def removes_everything_else(lab: Lab) -> None:
    valid = lab.attached("valid")
    with lab.unchanged(ignore=[_LEASES]):
        stale(lab, "stale", lab.conf(another=True))
        lab.gc([valid]).succeeds()


@case("GC-04", title="GC with an empty list removes everything", level=SHOULD, spec=_REMOVE, needs={"ADD", "GC"})
def empty_list(lab: Lab) -> None:
    lab.container("bystander")
    with lab.unchanged(ignore=[_LEASES] if "chained" in lab.features else []):
        stale(lab, "one")
        stale(lab, "two", lab.conf(another=True))
        lab.gc([]).succeeds()


@case("GC-05", title="GC is passed on to the delegate", level=MUST, spec=_FORWARD, needs={"GC", "delegates"})
def forwarded(lab: Lab) -> None:
    delegate = lab.fake_ipam()
    lab.gc([], delegate.conf()).succeeds()
    if not delegate.calls("GC"):
        raise Failed("the delegate gets a GC", "it gets none")


@case("GC-06", title="GC goes on when the delegate's fails, and reports it", level=SHOULD, spec=_CONTINUE, needs={"ADD", "GC", "delegates"})
def goes_on(lab: Lab) -> None:
    delegate = lab.fake_ipam()
    delegate.fails("GC", code=100)
    with lab.unchanged():
        stale(lab, "stale", delegate.conf())
        lab.gc([], delegate.conf()).fails()


@case("GC-07", title="GC of one network leaves the others alone", level=MUST, spec=_ONLY_STALE, needs={"ADD", "GC", "second_conf"})
def other_networks(lab: Lab) -> None:
    second = lab.conf(second=True)
    other = lab.attached("other", second)
    with lab.unchanged():
        lab.gc([]).succeeds()
    still_right(lab, other, second)


@case("GC-08", title="GC a second time succeeds, and changes nothing", level=SHOULD, spec=_QUIET, needs={"ADD", "GC"})
def idempotent(lab: Lab) -> None:
    valid = lab.attached("valid")
    stale(lab, "stale", lab.conf(another=True))
    lab.gc([valid]).succeeds()
    with lab.unchanged():
        lab.gc([valid]).succeeds()


@case(
    "GC-09",
    title="GC without a list removes nothing",
    level=BEST,
    spec=clause("GC", "The runtime must provide … cni.dev/valid-attachments: one that does not, has not said that nothing is valid"),
    needs={"ADD", "GC"},
)
def absent_list(lab: Lab) -> None:
    pod = lab.attached()
    with lab.unchanged():
        lab.gc(None)
    still_right(lab, pod, lab.conf())


@case(
    "GC-10",
    title="GC needs no variables but CNI_COMMAND and CNI_PATH",
    level=MUST,
    spec=clause("GC", "Required environment parameters: CNI_COMMAND, CNI_PATH"),
    needs={"ADD", "GC"},
)
def needs_no_attachment(lab: Lab) -> None:
    lab.gc([lab.attached()]).succeeds()


@case(
    "GC-11",
    title="GC prints nothing when it succeeds",
    level=SHOULD,
    spec=clause("GC", "Output: No output on success"),
    needs={"ADD", "GC"},
)
def prints_nothing(lab: Lab) -> None:
    stale(lab, "stale")
    answer = lab.gc([])
    answer.succeeds()
    if answer.stdout.strip():
        raise Failed("nothing on stdout", str(answer))


@case(
    "GC-12",
    title="GC goes by container and interface, not by container alone",
    level=SHOULD,
    spec=clause("GC", "resources related to attachments …: containerID …, ifname; SHOULD remove as many stale resources as possible"),
    needs={"ADD", "GC", "pool", "creates|ipam"},
    seconds=120,
)
def each_interface(lab: Lab) -> None:
    assert lab.profile.pool
    conf = lab.conf(**lab.profile.pool.changes)
    pod = lab.attached("pod", conf)
    for number in range(1, lab.profile.pool.size):
        if lab.add(pod, conf, ifname=f"net{number}").status != 0:
            raise Skipped("the plugin gives a container no second interface of the same network")
    listed = [{"containerID": pod.id, "ifname": f"net{number}"} for number in range(1, lab.profile.pool.size)]
    lab.do(f"ip link delete {lab.profile.ifname}", within=pod, check=False)
    lab.gc(None, {**conf, _VALID: listed}).succeeds()
    lab.attached("new", conf)
    lab.add(lab.container("surplus"), conf).fails()


@case("GC-13", title="GC with a valid attachment that it does not know succeeds", level=SHOULD, spec=_QUIET, needs={"ADD", "GC"})
def unknown_attachment(lab: Lab) -> None:
    valid, unknown = lab.attached("valid"), lab.container("unknown")
    with lab.unchanged():
        lab.gc([valid, unknown]).succeeds()


@case(
    "GC-14",
    title="the delegate gets the list of valid attachments",
    level=SHOULD,
    spec=clause("Delegation procedure", "it should: … Execute that plugin with the same environment and configuration that it received"),
    needs={"ADD", "GC", "delegates"},
)
def delegate_gets_the_list(lab: Lab) -> None:
    delegate = lab.fake_ipam()
    valid = lab.attached("valid", delegate.conf())
    lab.gc([valid], delegate.conf()).succeeds()
    wanted = [{"containerID": valid.id, "ifname": lab.profile.ifname}]
    got = [call.conf and call.conf.get(_VALID) for call in delegate.calls("GC")]
    if wanted not in got:
        raise Failed(f"the delegate's {_VALID} is {wanted}", f"it is {got}")


@case("GC-15", title="GC on a node where nothing was ever added succeeds", level=SHOULD, spec=_QUIET, needs={"GC"})
def fresh_node(lab: Lab) -> None:
    lab.gc([]).succeeds()
