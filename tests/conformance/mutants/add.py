"""Plugins whose ADD is wrong, or says what is not so."""

from __future__ import annotations

from tests.conformance.mutants.framework import Call, Mutant, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FAKE = "/run/conformance/fakes/fake-ipam"
_LITTER = "ip route replace 198.51.100.0/24 dev lo"


def says(change: Callable[[dict[str, Any]], object]) -> Callable[[Call], None]:
    """A hook for `after`: the result is another than the truth."""
    return lambda call: call.edit(change)


def in_container(command: str, *, check: bool = True) -> Callable[[Call], object]:
    """A hook: a command is run in the container."""
    return lambda call: call.inside(command, check=check)


def another_name(call: Call) -> None:
    call.inside("ip link set eth0 down; ip link set eth0 name net1; ip link set net1 up")


def one_interface_only(call: Call) -> None:
    if call.env["CNI_IFNAME"] == "second0":
        call.refuse(7, "the container has an interface on this network")


def short_names_only(call: Call) -> None:
    if len(call.env["CNI_IFNAME"]) > 13:
        call.refuse(4, "CNI_IFNAME is too long")


def guards_itself_too_late(call: Call) -> None:
    if call.env["CNI_NETNS"] == "/proc/self/ns/net":
        call.host(_LITTER)


def leaves_litter_when_it_fails(call: Call) -> None:
    if call.status:
        call.host(_LITTER)


def stumbles_again(call: Call) -> None:
    if call.recall(f"failed-{call.env['CNI_CONTAINERID']}") is not None:
        call.refuse(100, "there is something of an earlier ADD")


def remembers_failures(call: Call) -> None:
    if call.status:
        call.remember(f"failed-{call.env['CNI_CONTAINERID']}")


def drops_dns(result: dict[str, Any]) -> None:
    result.pop("dns", None)


def forgets_host_ends(result: dict[str, Any]) -> None:
    result["interfaces"] = [one for one in result["interfaces"] if one.get("sandbox")]


def keeps_arguments_to_itself(call: Call) -> None:
    call.edit_conf(lambda conf: conf.pop("args", None))


def leaves_the_delegate_alone(call: Call) -> None:
    spawn(_FAKE, call.env, call.stdin)
    call.refuse(100, "the delegate failed")


MUTANTS = {
    "ADD-01": Mutant(verbs={"ADD"}, after=another_name),
    "ADD-02": Mutant(verbs={"ADD"}, after=says(lambda result: result["interfaces"][-1].update(mac="02:00:00:00:00:01"))),
    "ADD-03": Mutant(verbs={"ADD"}, after=says(lambda result: result["interfaces"][-1].update(sandbox="pod"))),
    "ADD-04": Mutant(verbs={"ADD"}, after=says(lambda result: result["ips"][0].update(address="10.89.1.99/24"))),
    "ADD-05": Mutant(verbs={"ADD"}, after=says(lambda result: result["routes"].append({"dst": "192.0.2.0/24"}))),
    "ADD-06": Mutant(verbs={"ADD"}, after=says(lambda result: result["ips"][0].update(interface=7))),
    "ADD-07": Mutant(verbs={"ADD"}, after=lambda call: call.host("ip address delete 10.89.1.1/24 dev cni1")),
    "ADD-08": Mutant(verbs={"ADD"}, before=in_container("ip link delete eth0", check=False)),
    "ADD-09": Mutant(verbs={"ADD"}, before=one_interface_only),
    "ADD-10": Mutant(profile="tuning", verbs={"ADD"}, after=says(lambda result: result.pop("ips"))),
    "ADD-11": Mutant(verbs={"ADD"}, before=lambda call: call.edit_conf(lambda conf: conf.pop("runtimeConfig", None))),
    "ADD-12": Mutant(verbs={"ADD"}, after=says(drops_dns)),
    "ADD-13": Mutant(verbs={"ADD"}, before=short_names_only),
    "ADD-14": Mutant(verbs={"ADD"}, before=guards_itself_too_late),
    "ADD-15": Mutant(verbs={"ADD"}, after=leaves_litter_when_it_fails),
    "ADD-16": Mutant(verbs={"ADD"}, before=stumbles_again, after=remembers_failures),
    "ADD-17": Mutant(verbs={"ADD"}, after=in_container("ip link set eth0 down")),
    "ADD-18": Mutant(verbs={"ADD"}, after=says(lambda result: result["interfaces"][-1].pop("mac"))),
    "ADD-19": Mutant(profile="host-local", verbs={"ADD"}, after=says(lambda result: result["ips"][0].update(interface=0))),
    "ADD-20": Mutant(verbs={"ADD"}, before=in_container("ip link set eth0 mtu 1400", check=False)),
    "ADD-21": Mutant(verbs={"ADD"}, after=says(forgets_host_ends)),
    "ADD-22": Mutant(verbs={"ADD"}, after=says(lambda result: result["routes"][0].update(dst="default"))),
    "ADD-23": Mutant(verbs={"ADD"}, before=keeps_arguments_to_itself),
    "ADD-24": Mutant(verbs={"ADD"}, instead=leaves_the_delegate_alone),
}
