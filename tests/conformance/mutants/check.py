"""Plugins whose CHECK sees too little, or too much."""

from __future__ import annotations

from tests.conformance.mutants.framework import Call, Mutant


def blind(call: Call) -> None:
    call.answer()


def without_result(call: Call) -> None:
    if "prevResult" not in call.conf:
        call.answer()


def knows_all_routes(call: Call) -> None:
    if "203.0.113.0/24" in call.inside("ip route show"):
        call.refuse(100, "a route that nobody knows")


def at_any_version(call: Call) -> None:
    if call.conf.get("cniVersion") == "0.3.1":
        call.answer()


def never_another_mac(call: Call) -> None:
    if any(one.get("mac") == "02:00:00:00:00:99" for one in call.conf["prevResult"]["interfaces"]):
        call.refuse(100, "the MAC address is another")


def no_other_interfaces(call: Call) -> None:
    if any(one["name"] == "later0" for one in call.conf["prevResult"]["interfaces"]):
        call.refuse(100, "an interface that nobody knows")


def has_not_converged(call: Call) -> None:
    call.refuse(100, "not yet")


def mtu_of(call: Call) -> int:
    return int(call.inside("ip -o link show eth0").split(" mtu ")[1].split()[0])


def tells_mtu(call: Call) -> None:
    if call.verb == "ADD":
        call.edit(lambda result: result["interfaces"][-1].update(mtu=mtu_of(call)))
    elif call.conf["prevResult"]["interfaces"][-1]["mtu"] != mtu_of(call):
        call.refuse(100, "the MTU is another")


BLIND = Mutant(verbs={"CHECK"}, instead=blind)
MUTANTS = {
    "CHK-01": Mutant(verbs={"CHECK"}, instead=has_not_converged),
    "CHK-02": Mutant(verbs={"CHECK"}, before=without_result),
    "CHK-03": BLIND,
    "CHK-04": BLIND,
    "CHK-05": BLIND,
    "CHK-06": BLIND,
    "CHK-07": BLIND,
    "CHK-08": BLIND,
    "CHK-09": BLIND,
    "CHK-10": BLIND,
    "CHK-11": BLIND,
    "CHK-12": Mutant(verbs={"CHECK"}, before=knows_all_routes),
    "CHK-13": Mutant(verbs={"CHECK"}, after=lambda call: call.host("ip route replace 198.51.100.0/24 dev lo")),
    "CHK-14": Mutant(verbs={"CHECK"}, before=at_any_version),
    "CHK-15": BLIND,
    "CHK-16": BLIND,
    "CHK-17": Mutant(verbs={"CHECK"}, before=never_another_mac),
    "CHK-18": Mutant(verbs={"CHECK"}, before=no_other_interfaces),
}
MENDED = {"CHK-07": Mutant(verbs={"ADD", "CHECK"}, after=tells_mtu)}
