"""Plugins whose DEL is wrong."""

from __future__ import annotations

import os

from tests.conformance.mutants.framework import Call, Mutant


def only_once(call: Call) -> None:
    if not call.first("deleted"):
        call.refuse(3, "unknown container")


def unknown_containers(call: Call) -> None:
    if call.verb == "ADD":
        call.remember("added")
    elif call.recall("added") is None:
        call.refuse(3, "unknown container")


def wants_netns(call: Call) -> None:
    if not call.env.get("CNI_NETNS"):
        call.refuse(4, "CNI_NETNS is missing")


def wants_living_netns(call: Call) -> None:
    try:
        open(call.env["CNI_NETNS"]).close()
    except FileNotFoundError:
        call.refuse(999, "no such network namespace")


def wants_prev_result(call: Call) -> None:
    if "prevResult" not in call.conf:
        call.refuse(7, "prevResult is missing")


def wants_interface(call: Call) -> None:
    if "eth0" not in call.inside("ip -o link show eth0", check=False):
        call.refuse(999, "Link not found")


def keeps_lease_without_netns(call: Call) -> None:
    """Without a network namespace there is nothing to do, it says."""
    if not call.env.get("CNI_NETNS"):
        call.answer()


def forgets_delegate(call: Call) -> None:
    """Without the network namespace, have something else run that does nothing."""
    if not os.path.exists(call.env.get("CNI_NETNS", "")):
        os.symlink("/bin/true", f"{call.memory}/{call.conf['ipam']['type']}")
        call.env["CNI_PATH"] = call.memory


def keeps_lease_without_interface(call: Call) -> None:
    """Without the interface there is nothing to do, it says."""
    if "eth0" not in call.inside("ip -o link show eth0", check=False):
        call.answer()


def flushes_the_bridge(call: Call) -> None:
    for link in call.host("ip -o link show master cni1 | cut -d: -f2 | cut -d@ -f1").split():
        call.host(f"ip link set {link} nomaster")


MUTANTS = {
    "DEL-01": Mutant(verbs={"DEL"}, after=lambda call: call.host("ip route add 198.51.100.0/24 dev lo")),
    "DEL-02": Mutant(verbs={"DEL"}, before=only_once),
    "DEL-03": Mutant(verbs={"ADD", "DEL"}, before=unknown_containers),
    "DEL-04": Mutant(verbs={"DEL"}, before=wants_netns),
    "DEL-05": Mutant(verbs={"DEL"}, before=wants_living_netns),
    "DEL-06": Mutant(verbs={"DEL"}, before=wants_prev_result),
    "DEL-07": Mutant(verbs={"DEL"}, before=wants_interface),
    "DEL-08": Mutant(verbs={"DEL"}, before=keeps_lease_without_netns),
    "DEL-09": Mutant(verbs={"DEL"}, after=flushes_the_bridge),
    "DEL-10": Mutant(verbs={"DEL"}, before=forgets_delegate),
    "DEL-11": Mutant(verbs={"DEL"}, before=keeps_lease_without_interface),
}
