"""IPAM: addresses that no two containers share and that come back when they are released, and how plugins call their delegates."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from conformance.case import BEST, MUST, SHOULD, Failed, Skipped, case
from conformance.fakes import DIRECTORY, NAME
from conformance.lab import Answer, Conf, Container, Lab
from conformance.spec import clause

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

_UNIQUE = clause("Terms", "A network is a group of endpoints that are uniquely addressable")
_FAILURE = clause("Errors", "A plugin must exit with a return code of 0 on success, and non-zero on failure")
_RELEASE = clause("DEL", "an IPAM plugin should generally release an IP allocation and return success even if …")
_IPS = clause("ADD success", "ips: IPs assigned by this attachment")
_CONVENTION = clause(
    "Attachment parameters", "CONVENTIONS.md: Plugins should accept arguments according to these conventions if …: request specific IPs"
)
_SAME_ENV = clause("Delegation protocol", "The delegated plugin must receive all the same environment variables that were passed in")
_SAME_CONF = clause("Delegation procedure", "it should: … Execute that plugin with the same environment and configuration that it received")
_STDERR = clause("Delegation procedure", "Ensure that the delegated plugin's stderr is output to the calling plugin's stderr")
_ASKED = 77
"""The host number of addresses that are asked for."""


def addresses(result: Any) -> list[Interface]:
    """Return the addresses of a result, of whatever version. Raises Failed when one is none."""
    result = result if isinstance(result, dict) else {}
    found = [ip.get("address") for ip in result.get("ips") or []] + [result[key].get("ip") for key in ("ip4", "ip6") if result.get(key)]
    try:
        return [ipaddress.ip_interface(text) for text in found]
    except ValueError as error:
        raise Failed("addresses in CIDR notation", str(error)) from None


def small(lab: Lab) -> Conf:
    """Return the configuration with few addresses."""
    assert lab.profile.pool
    return lab.conf(**lab.profile.pool.changes)


def fill(lab: Lab, conf: Conf, *, prefix: str = "pod") -> list[Container]:
    """ADD as many containers as the small pool has addresses for."""
    assert lab.profile.pool
    return [lab.attached(f"{prefix}{number}", conf) for number in range(lab.profile.pool.size)]


def results(lab: Lab, pods: Iterable[Container], conf: Conf) -> list[Interface]:
    """Return the addresses of containers that were ADDed."""
    return [address for pod in pods for address in addresses(lab.result(pod, conf))]


def unique(found: list[Interface]) -> None:
    """Expect that there are addresses, and that none is given twice."""
    ips = [address.ip for address in found]
    if not ips or len({*ips}) < len(ips):
        raise Failed("an address of its own for each container", ", ".join(map(str, sorted(found, key=str))) or "no addresses")


@case("IPM-01", title="no two containers have the same address", level=MUST, spec=_UNIQUE, needs={"ADD", "pool"}, seconds=120)
def no_duplicates(lab: Lab) -> None:
    conf = small(lab)
    unique(results(lab, fill(lab, conf), conf))


@case("IPM-02", title="ADD fails when all addresses are taken", level=MUST, spec=_FAILURE, needs={"ADD", "pool"}, seconds=120)
def exhausted(lab: Lab) -> None:
    conf = small(lab)
    fill(lab, conf)
    lab.add(lab.container("surplus"), conf).fails()


@case("IPM-03", title="addresses come back when they are released", level=SHOULD, spec=_RELEASE, needs={"ADD", "DEL", "pool"}, seconds=120)
def reuse(lab: Lab) -> None:
    conf = small(lab)
    pods = fill(lab, conf)
    for pod in pods[::2]:
        lab.delete(pod, conf).succeeds()
    again = [lab.attached(f"again{number}", conf) for number in range(len(pods[::2]))]
    unique(results(lab, [*pods[1::2], *again], conf))


def ask(lab: Lab, pod: Container, host: int = _ASKED) -> tuple[str, Answer]:
    """ADD a container that asks for an address in the way that the profile says; returns the address and the answer."""
    network = ipaddress.ip_network(f"10.89.{lab.conf()['name'].removeprefix('net')}.0/24")
    wanted = f"{network[host]}/{network.prefixlen}"
    way = lab.profile.requested_ip
    if way == "CNI_ARGS":
        return wanted, lab.add(pod, CNI_ARGS=f"IgnoreUnknown=1;IP={network[host]}")
    changes: Conf = {"args": {"cni": {"ips": [wanted]}}} if way == "args" else {"runtimeConfig": {"ips": [wanted]}}
    return wanted, lab.add(pod, lab.conf(**changes))


@case("IPM-04", title="an address that is asked for is given", level=SHOULD, spec=_CONVENTION, needs={"ADD", "requested_ip"})
def requested(lab: Lab) -> None:
    wanted, answer = ask(lab, lab.container())
    if ipaddress.ip_interface(wanted).ip not in {address.ip for address in addresses(answer.succeeds())}:
        raise Failed(f"the address {wanted}", str(answer))


@case("IPM-05", title="an address that is taken is not given again", level=MUST, spec=_UNIQUE, needs={"ADD", "requested_ip", "pool"})
def requested_twice(lab: Lab) -> None:
    _, first = ask(lab, lab.container("first"))
    given = addresses(first.succeeds())
    _, second = ask(lab, lab.container("second"))
    if second.status == 0:
        unique([*given, *addresses(second.json)])
    else:
        second.fails()


@case("IPM-06", title="an IPv4 and an IPv6 address are given together", level=BEST, spec=_IPS, needs={"ADD", "dual_stack"})
def dual_stack(lab: Lab) -> None:
    answer = lab.add(lab.container(), lab.conf(**lab.profile.dual_stack or {}))
    if {address.version for address in addresses(answer.succeeds())} != {4, 6}:
        raise Failed("an address of each family", str(answer))


@case("IPM-07", title="the next range is used when one is full", level=BEST, spec=_IPS, needs={"ADD", "ranges"})
def several_ranges(lab: Lab) -> None:
    conf = lab.conf(**lab.profile.ranges or {})
    pods = [lab.attached(f"pod{number}", conf) for number in range(4)]
    found = results(lab, pods, conf)
    unique(found)
    if len({address.network for address in found}) < 2:
        raise Failed("addresses from both ranges", ", ".join(map(str, found)))


@case(
    "IPM-08",
    title="nobody gets the address of the gateway, the network or its broadcast",
    level=BEST,
    spec=clause("ADD success", "ips: address, gateway: an address that a container can use, in a subnet with a gateway"),
    needs={"ADD", "pool"},
    seconds=120,
)
def reserved(lab: Lab) -> None:
    conf = small(lab)
    wrong = []
    for pod in fill(lab, conf):
        result = lab.result(pod, conf)
        gateways = {str(ip.get("gateway")) for ip in result.get("ips") or []}
        for address in addresses(result):
            network = address.network
            edges = {network[0], network[-1]} if address.version == 4 and network.prefixlen < 31 else set()
            if str(address.ip) in gateways or address.ip in edges:
                wrong.append(str(address))
    if wrong:
        raise Failed("addresses that a container can use", ", ".join(wrong))


@case("IPM-09", title="leases survive a reboot until their DEL", level=SHOULD, spec=_RELEASE, needs={"ADD", "DEL", "pool"}, seconds=120)
def reboot(lab: Lab) -> None:
    if lab.profile.beside:
        raise Skipped("a process that runs beside the plugin would not survive the reboot")
    conf = small(lab)
    links = "for link in /sys/class/net/*; do basename $link; done"
    before = lab.do(links).split()
    pods = fill(lab, conf)
    for pod in pods:
        lab.remove(pod)
    for link in sorted({*lab.do(links).split()} - {*before}):
        lab.do(f"ip link delete {link}", check=False)
    lab.do("nft flush ruleset", check=False)
    lab.do("find /run -xdev -mindepth 1 ! -path '/run/conformance*' ! -path '/run/netns*' ! -path /run/lock -delete", check=False)
    for pod in pods:
        lab.delete(pod, conf).succeeds()
    unique(results(lab, fill(lab, conf, prefix="again"), conf))


@case(
    "IPM-10",
    title="an ADD that fails holds no address",
    level=BEST,
    spec=clause("Lifecycle", "A delete must still be executed even if the add fails: but who waits for it has one address less"),
    needs={"ADD", "DEL", "pool", "creates", "delegates"},
    seconds=120,
)
def holds_nothing(lab: Lab) -> None:
    conf = small(lab)
    pods = fill(lab, conf)
    lab.delete(pods[0], conf).succeeds()
    occupied = lab.container("occupied")
    lab.do(f"ip link add {lab.profile.ifname} type veth peer name other", within=occupied)
    if lab.add(occupied, conf).status == 0:
        raise Skipped("the plugin succeeds where there is such an interface already")
    lab.attached("again", conf)


@case("IPM-11", title="the delegate's DEL gets the plugin's environment", level=MUST, spec=_SAME_ENV, needs={"ADD", "DEL", "delegates"})
def same_environment(lab: Lab) -> None:
    delegate = lab.fake_ipam()
    pod = lab.attached(conf=delegate.conf())
    given: dict[str, str | None] = {"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web", "OF_THE_RUNTIME": "something"}
    lab.delete(pod, delegate.conf(), **given).succeeds()
    wanted = {name: value for name, value in (lab.environment("DEL", container=pod) | given).items() if name != "PATH"}
    calls = delegate.calls("DEL")
    wrong = [f"{name}={call.env.get(name)}" for call in calls for name, value in wanted.items() if call.env.get(name) != value]
    if wrong or not calls:
        raise Failed("the delegate gets a DEL with the variables that the plugin has", "; ".join(wrong) or "it gets none")


@case(
    "IPM-12",
    title="the delegate's DEL gets the plugin's whole configuration",
    level=SHOULD,
    spec=_SAME_CONF,
    needs={"ADD", "DEL", "direct"},
)
def same_configuration(lab: Lab) -> None:
    delegate = lab.fake_ipam()
    conf = delegate.conf(args={"org.example": {"pod": "web"}})
    pod = lab.attached(conf=conf)
    lab.delete(pod, conf).succeeds()
    wanted, calls = lab.passed("DEL", pod, conf), delegate.calls("DEL")
    if [call.conf for call in calls] != [wanted]:
        raise Failed(f"the delegate gets one DEL, with {wanted}", "; ".join(call.stdin for call in calls) or "it gets none")


@case(
    "IPM-13", title="what the delegate writes to stderr comes out of the plugin's", level=SHOULD, spec=_STDERR, needs={"ADD", "delegates"}
)
def delegates_stderr(lab: Lab) -> None:
    delegate = lab.fake_ipam()
    lab.do(f"sed -i '2i echo the delegate whispers >&2' {DIRECTORY}/{NAME}")
    answer = lab.add(lab.container(), delegate.conf())
    answer.succeeds()
    if "the delegate whispers" not in answer.stderr:
        raise Failed("the delegate's words on stderr", f"stderr is {answer.stderr!r}")


@case("IPM-14", title="ADD fails when the delegate does, or is not there", level=MUST, spec=_FAILURE, needs={"ADD", "delegates"})
def delegate_fails(lab: Lab) -> None:
    delegate = lab.fake_ipam()
    delegate.fails("ADD", code=100)
    lab.add(lab.container("first"), delegate.conf()).fails()
    lab.add(lab.container("second"), lab.conf(ipam=None) | {"ipam": {"type": "no-such-plugin"}}).fails()
