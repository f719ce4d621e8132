"""Plugins that a crash, a full disk or a cut-off file puts out of step.

A call that is killed in its middle never comes to its `after`: what a mutant does `before` and takes back `after` stays of it.
"""

from __future__ import annotations

import glob
import os

from tests.conformance.mutants.framework import Call, Mutant

PASSING = "198.51.100.0/24"
LEASES = "/var/lib/cni/networks"


def marks_the_node(call: Call) -> None:
    """Do something first that only the end of the same call undoes."""
    call.host(f"ip route replace {PASSING} dev lo")
    call.run()
    call.host(f"ip route del {PASSING} dev lo")


def claims_the_container(call: Call) -> None:
    """Believe for ever that an ADD which began is still going on."""
    name = f"adding-{call.env['CNI_CONTAINERID']}"
    if not call.first(name):
        call.refuse(11, "an ADD of this container is under way")
        return
    call.run()
    os.unlink(f"{call.memory}/{name}")


def believes_in_its_beginning(call: Call) -> None:
    """Take a container as deleted as soon as a DEL of it has begun."""
    if call.first(f"deleted-{call.env['CNI_CONTAINERID']}"):
        call.run()
    else:
        call.answer()


def litters(call: Call) -> None:
    """Unpack into a temporary directory, and leave that there."""
    os.mkdir(f"/tmp/_unpacked{os.getpid()}")
    call.run()


def leaves_an_empty_lease(call: Call) -> None:
    """Keep the file of a lease that could not be written."""
    if call.status:
        path = f"{LEASES}/net1/10.89.1.9"
        call.host(f"mkdir -p {LEASES}/net1; : > {path}", check=False)


def dies_of_bad_disk(call: Call) -> None:
    """Print no error, as a program does that did not expect one."""
    if call.status:
        call.answer("cannot write\n", status=2)


def damaged() -> list[str]:
    """The leases that are not as they were written."""
    found = []
    for path in glob.glob(f"{LEASES}/net1/10.*"):
        with open(path, encoding="utf-8") as file:
            if "eth0" not in file.read():
                found.append(path)
    return found


def chokes_on_bad_state(call: Call) -> None:
    """Read all leases, and fail when one isn't as it was written."""
    if paths := damaged():
        call.refuse(999, f"{paths[0]} is damaged")


def keeps_bad_state(call: Call) -> None:
    """Let leases stay that aren't as they were written."""
    paths = damaged()
    call.run()
    for path in paths:
        call.host(f": > {path}")


MUTANTS = {
    "CRS-01": Mutant(profile="host-local", verbs={"ADD"}, instead=marks_the_node),
    "CRS-02": Mutant(profile="host-local", verbs={"ADD"}, instead=claims_the_container),
    "CRS-03": Mutant(profile="host-local", verbs={"ADD"}, instead=marks_the_node),
    "CRS-04": Mutant(profile="host-local", verbs={"DEL"}, instead=believes_in_its_beginning),
    "CRS-05": Mutant(profile="host-local", verbs={"ADD"}, after=leaves_an_empty_lease),
    "CRS-06": Mutant(profile="host-local", verbs={"DEL"}, before=chokes_on_bad_state),
    "CRS-07": Mutant(profile="host-local", verbs={"ADD"}, instead=litters),
    "CRS-08": Mutant(profile="host-local", verbs={"ADD"}, after=dies_of_bad_disk),
    "CRS-09": Mutant(profile="host-local", verbs={"DEL", "GC"}, instead=keeps_bad_state),
}
