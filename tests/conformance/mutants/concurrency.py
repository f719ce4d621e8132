"""Plugins that are right as long as nobody else calls."""

from __future__ import annotations

import os
import time

from tests.conformance.mutants.framework import Call, Mutant

BESIDE = 0.15
"""Seconds for which a mutant makes sure that calls which were started together overlap."""


def holds_lock_file(call: Call) -> None:
    """Lock by a file that has to be removed again: whoever is killed locks out all others."""
    for _ in range(200):
        if call.first("lock"):
            time.sleep(BESIDE)
            call.run()
            os.unlink(f"{call.memory}/lock")
            return
        time.sleep(0.02)
    call.refuse(11, "somebody holds the lock")


def same_address(call: Call) -> None:
    """Read the last address, and write it back later: who reads meanwhile gets the same."""
    known = call.recall("address")
    call.run()
    mine = call.result["ips"][0]["address"]
    call.remember("address", mine)
    if known:
        call.edit(lambda result: result["ips"][0].update(address=known))


def deletes_a_neighbour(call: Call) -> None:
    """DEL beside an ADD takes the bridge's ports off, as one that believes the last container is gone."""
    links = call.host("ip -o link show master cni1 | cut -d: -f2 | cut -d@ -f1").split()
    for link in links:
        call.host(f"ip link set {link} nomaster", check=False)


def makes_a_bridge_of_its_own(call: Call) -> None:
    """The second to race for the bridge makes another one."""
    if not call.first("bridge") and call.first("another"):
        call.edit_conf(lambda conf: conf.update(bridge="cni1b", isDefaultGateway=False, isGateway=False))


def stumbles_over_itself(call: Call) -> None:
    """DEL beside another DEL of the same attachment makes what that has undone anew."""
    name = f"deleting-{call.env['CNI_CONTAINERID']}"
    if not call.first(name):
        call.host("ip route replace 198.51.100.0/24 dev lo")
        call.answer()
        return
    time.sleep(BESIDE)
    call.run()
    os.unlink(f"{call.memory}/{name}")


def mixes_networks(call: Call) -> None:
    """The network that is used first is everybody's."""
    if call.first("network"):
        call.remember("name", call.conf["name"])
    elif name := call.recall("name"):
        call.edit_conf(lambda conf: conf.update(name=name))


def leaves_leases_when_busy(call: Call) -> None:
    """DEL beside another DEL forgets its work, and says that all is well."""
    if not call.first("busy"):
        call.answer()
        return
    time.sleep(BESIDE)
    call.run()
    os.unlink(f"{call.memory}/busy")


MUTANTS = {
    "CON-01": Mutant(profile="host-local", verbs={"ADD"}, instead=same_address),
    "CON-02": Mutant(verbs={"DEL"}, after=deletes_a_neighbour),
    "CON-03": Mutant(verbs={"ADD"}, before=makes_a_bridge_of_its_own),
    "CON-04": Mutant(profile="host-local", verbs={"DEL"}, instead=stumbles_over_itself),
    "CON-05": Mutant(profile="host-local", verbs={"ADD"}, instead=holds_lock_file),
    "CON-06": Mutant(profile="host-local", verbs={"ADD"}, before=mixes_networks),
    "CON-07": Mutant(profile="host-local", verbs={"DEL"}, instead=leaves_leases_when_busy),
}
