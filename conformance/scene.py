"""What stands on the node before a case begins: what the profile's placeholders mean, and the processes and plugins it asks for."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from conformance import namespaces
from conformance.case import Skipped
from conformance.ledger import Snapshot
from conformance.profile import filled

if TYPE_CHECKING:
    from conformance.lab import Lab
    from conformance.netns import Container

BEFORE = "(before)"
"""In place of a network's name, for the results of the plugin that a chained one comes after."""
MASTER = "master0"
TEMPORARY = ("/tmp", "/var/tmp")
_LAYERS = "/run/conformance"
_READY = 30.0
"""Seconds until a process beside the plugin must be ready."""


def places(number: int) -> dict[str, str]:
    """Return what placeholders mean in the configuration of network 1 or 2."""
    return {
        "network": f"net{number}",
        "subnet4": f"10.89.{number}.0/24",
        "gateway4": f"10.89.{number}.1",
        "subnet6": f"fd00:89:{number}::/64",
        "gateway6": f"fd00:89:{number}::1",
        "prefix4": f"10.89.{number}",
        "prefix6": f"fd00:89:{number}:",
        "number": str(number),
        "master": MASTER,
        "state": "/run/state",
    }


def furnish(lab: Lab, meanings: dict[str, str]) -> None:
    """Make what the profile's configurations name. Raises Skipped when the machine cannot have it."""
    for directory in TEMPORARY:
        _watch(directory)
    lab.needs(*lab.profile.needs)
    text = lab.profile.model_dump_json()
    if "{state}" in text:
        lab.do("mkdir /run/state")
    if "{master}" in text:
        _cable(lab)
    for beside in lab.profile.beside:
        _start(lab, filled(beside.command, meanings), filled(beside.ready, meanings))


def _watch(directory: str) -> None:
    """Lay a layer of our own over a directory of the machine's, which takes what is written into it.

    Where the kernel cannot, the directory stays as it is, and is not looked at.
    """
    upper, work = f"{_LAYERS}{directory}", f"{_LAYERS}/work{directory}"
    os.makedirs(upper)
    os.makedirs(work)
    shutil.copystat(directory, upper)
    with suppress(OSError):
        namespaces.mount("conformance", directory, "overlay", data=f"lowerdir={directory},upperdir={upper},workdir={work}")


def readable(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with the files of our layers under the names that they have for the plugin."""
    shown = Snapshot()
    for item, fields in snapshot.items():
        if item.kind == "file" and item.name.startswith(_LAYERS):
            name = item.name.removeprefix(_LAYERS)
            if not any(name.startswith(f"{directory}/") for directory in TEMPORARY):
                continue
            item = item._replace(name=name)
        shown[item] = fields
    return shown


def _cable(lab: Lab) -> None:
    """A link of the node that leads to a host outside, which is the gateway of both networks."""
    host = lab.node.outside(MASTER)
    lab.transcript.step(f"ip netns add outside; ip link add {MASTER} type veth peer name eth0 netns outside; ip link set {MASTER} up")
    for number in (1, 2):
        meanings = places(number)
        host.run(["ip", "address", "add", f"{meanings['gateway4']}/24", "dev", "eth0"])
        host.run(["ip", "address", "add", f"{meanings['gateway6']}/64", "dev", "eth0", "nodad"])


def _start(lab: Lab, command: list[str], ready: str) -> None:
    lab.transcript.step(f"{' '.join(command)} &")
    path = lab.executable(command[0]) if "/" not in command[0] else command[0]
    process = lab.node.popen([path, *command[1:]])
    deadline = time.monotonic() + _READY
    while ready and not os.path.exists(ready):
        if process.poll() is not None or time.monotonic() > deadline:
            raise Skipped(f"{command[0]}, which runs beside the plugin, did not become ready")
        time.sleep(0.02)


def attach_before(lab: Lab, pod: Container, version: str) -> None:
    """ADD the container with the plugin that comes before a chained one. Raises Skipped when that fails."""
    before = {"cniVersion": version, "name": lab.conf()["name"], **filled(lab.profile.before, places(1))}
    answer = lab.call("ADD", before, container=pod, plugin=str(before["type"]))
    if answer.status != 0:
        raise Skipped(f"the plugin before it, {before['type']}, failed: {answer}")
    lab.keep(BEFORE, pod, answer.json)


def detach_before(lab: Lab, pod: Container) -> None:
    """DEL the container with the plugin that comes before a chained one, if there is one: what that leaves is not the chained one's."""
    if lab.profile.before is not None:
        before = {"cniVersion": lab.version, "name": lab.conf()["name"], **filled(lab.profile.before, places(1))}
        lab.call("DEL", before, container=pod, plugin=str(before["type"]))


def end(lab: Lab) -> None:
    """Take the node away, with all that is left on it."""
    with suppress(AssertionError):  # what a plugin left behind was told when its call ended
        lab.node.close()
