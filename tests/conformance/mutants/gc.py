"""Plugins whose GC is wrong."""

from __future__ import annotations

import os

from tests.conformance.mutants.framework import Call, Mutant

VALID = "cni.dev/valid-attachments"


def with_list(call: Call, attachments: list[dict[str, str]]) -> None:
    call.edit_conf(lambda conf: conf.update({VALID: attachments}))


def empty_is_absent(call: Call) -> None:
    if not call.conf.get(VALID):
        call.answer()


def absent_is_empty(call: Call) -> None:
    call.edit_conf(lambda conf: conf.setdefault(VALID, []))


def hides_errors(call: Call) -> None:
    if call.status != 0:
        call.answer()


def other_networks(call: Call) -> None:
    call.other("GC", {**call.conf, "name": "net2"})


def only_once(call: Call) -> None:
    if not call.first("collected"):
        call.refuse(999, "nothing to collect")


def wants_container(call: Call) -> None:
    if not call.env.get("CNI_CONTAINERID"):
        call.refuse(4, "CNI_CONTAINERID is missing")


def by_container(call: Call) -> None:
    listed = call.conf.get(VALID, [])
    with_list(call, [{**one, "ifname": name} for one in listed for name in (one["ifname"], "eth0")])


def wants_known(call: Call) -> None:
    if call.verb == "ADD":
        call.remember(call.env["CNI_CONTAINERID"])
    elif any(call.recall(one["containerID"]) is None for one in call.conf[VALID]):
        call.refuse(3, "unknown container")


def wants_state(call: Call) -> None:
    if not os.path.exists("/var/lib/cni/networks/net1"):
        call.refuse(999, "no such directory")


MUTANTS = {
    "GC-01": Mutant(verbs={"GC"}, before=lambda call: with_list(call, [])),
    "GC-02": Mutant(profile="host-local", verbs={"GC"}, instead=lambda call: call.answer()),
    "GC-03": Mutant(verbs={"GC"}, instead=lambda call: call.answer()),
    "GC-04": Mutant(verbs={"GC"}, before=empty_is_absent),
    "GC-05": Mutant(verbs={"GC"}, before=lambda call: call.edit_conf(lambda conf: conf.pop("ipam"))),
    "GC-06": Mutant(verbs={"GC"}, after=hides_errors),
    "GC-07": Mutant(verbs={"GC"}, after=other_networks),
    "GC-08": Mutant(verbs={"GC"}, before=only_once),
    "GC-09": Mutant(verbs={"GC"}, before=absent_is_empty),
    "GC-10": Mutant(verbs={"GC"}, before=wants_container),
    "GC-11": Mutant(verbs={"GC"}, after=lambda call: call.answer({"cniVersion": "1.1.0"})),
    "GC-12": Mutant(profile="host-local", verbs={"GC"}, before=by_container),
    "GC-13": Mutant(verbs={"ADD", "GC"}, before=wants_known),
    "GC-14": Mutant(verbs={"GC"}, before=lambda call: with_list(call, [])),
    "GC-15": Mutant(verbs={"GC"}, before=wants_state),
}
