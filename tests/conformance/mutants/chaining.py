"""Plugins that do not fit into a chain."""

from __future__ import annotations

from tests.conformance.mutants.framework import Call, Mutant


def wants_a_bridge(call: Call) -> None:
    if not call.conf["prevResult"]["interfaces"][0]["name"].startswith("cni"):
        call.refuse(7, "prevResult does not begin with a bridge")


def wants_prev_result(call: Call) -> None:
    if "prevResult" not in call.conf:
        call.host("ip route add 198.51.100.0/24 dev lo")


def wants_no_more(call: Call) -> None:
    if "disableCheck" in call.conf:
        call.refuse(7, "disableCheck is not for plugins")


def new_results_only(call: Call) -> None:
    if not call.conf["cniVersion"].startswith("1."):
        call.edit(lambda result: result.update(ips=[]))


MUTANTS = {
    "CHN-01": Mutant(profile="tuning", verbs={"ADD"}, before=wants_a_bridge, reference=True),
    "CHN-02": Mutant(profile="tuning", verbs={"ADD"}, after=lambda call: call.edit(lambda result: result.pop("dns")), reference=True),
    "CHN-03": Mutant(verbs={"DEL"}, after=wants_prev_result),
    "CHN-04": Mutant(profile="tuning", verbs={"DEL"}, after=lambda call: call.host("ip route add 198.51.100.0/24 dev lo"), reference=True),
    "CHN-05": Mutant(before=wants_no_more),
    "CHN-06": Mutant(profile="tuning", verbs={"ADD"}, after=new_results_only, reference=True),
}
