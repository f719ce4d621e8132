"""Plugins that give addresses wrongly, or call their delegate wrongly."""

from __future__ import annotations

import os

from tests.conformance.mutants.framework import Call, Mutant, spawn


def same_for_all(call: Call) -> None:
    if call.first("gave"):
        call.remember("address", call.stdout.decode())
    elif call.status == 0:
        call.answer(call.recall("address") or "")


def never_exhausted(call: Call) -> None:
    if call.status == 0:
        call.remember("address", call.stdout.decode())
    elif call.recall("address"):
        call.answer(call.recall("address") or "")


def without_arguments(call: Call) -> None:
    call.env.pop("CNI_ARGS", None)


def first_range_only(call: Call) -> None:
    call.edit_conf(lambda conf: conf["ipam"].update(ranges=[[conf["ipam"]["ranges"][0][0]]]))


def gateway_for_all(call: Call) -> None:
    call.edit(lambda result: [ip.update(address=f"{ip['gateway']}/24") for ip in result["ips"]])


def forgets_at_boot(call: Call) -> None:
    if call.verb == "ADD":
        call.host("touch /run/leases")
    elif not os.path.exists("/run/leases"):
        call.answer()


def holds_an_address(call: Call) -> None:
    if call.status != 0:
        spawn(f"{os.path.dirname(call.good)}/host-local", call.env, call.stdin)


def deaf(call: Call) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def succeeds_always(call: Call) -> None:
    if call.status != 0:
        call.answer({"cniVersion": "1.1.0"})


MUTANTS = {
    "IPM-01": Mutant(profile="host-local", verbs={"ADD"}, after=same_for_all),
    "IPM-02": Mutant(profile="host-local", verbs={"ADD"}, after=never_exhausted),
    "IPM-03": Mutant(profile="host-local", verbs={"DEL"}, instead=lambda call: call.answer()),
    "IPM-04": Mutant(profile="host-local", verbs={"ADD"}, before=without_arguments),
    "IPM-05": Mutant(profile="host-local", verbs={"ADD"}, after=never_exhausted),
    "IPM-06": Mutant(profile="host-local", verbs={"ADD"}, after=lambda call: call.edit(lambda result: result["ips"].pop())),
    "IPM-07": Mutant(profile="host-local", verbs={"ADD"}, before=first_range_only),
    "IPM-08": Mutant(profile="host-local", verbs={"ADD"}, after=gateway_for_all),
    "IPM-09": Mutant(profile="host-local", verbs={"ADD", "DEL"}, before=forgets_at_boot),
    "IPM-10": Mutant(verbs={"ADD"}, after=holds_an_address),
    "IPM-11": Mutant(verbs={"DEL"}, before=lambda call: call.env.pop("OF_THE_RUNTIME", None)),
    "IPM-12": Mutant(verbs={"DEL"}, before=lambda call: call.edit_conf(lambda conf: conf.pop("args", None)), reference=True),
    "IPM-13": Mutant(verbs={"ADD"}, before=deaf),
    "IPM-14": Mutant(verbs={"ADD"}, after=succeeds_always),
}
