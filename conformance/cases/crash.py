"""Crashes: what a runtime does after a plugin was killed, the disk was full or files were cut off puts everything right again."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from conformance.case import BEST, SHOULD, Failed, Skipped, case
from conformance.lab import Lab
from conformance.ledger import Snapshot
from conformance.netns import Container
from conformance.spec import clause

_STATE = ("/run", "/var/lib/cni")
_KILLS = 24
_FEW_KILLS = 12
_GOLDEN = 0.6180339887498949
_OF_MOUNT = ["node file /run/mount(/.*)?"]
"""What the command `mount` makes."""

_DEL = clause("DEL", "should always complete a DEL action without error …, even if some resources or state are missing")
_AFTER_KILL = clause(
    "Lifecycle", "add is eventually followed by a corresponding delete …; a delete must still be executed even if the add fails"
)
_AGAIN = clause("Lifecycle", "delete may be followed by additional deletes")
_GC = clause("GC", "clean up any stale resources: those of an ADD that was killed, too")
_DISK = clause("Error", "plugins … should exit with an error and leave nothing behind when the disk fails them")
_STATE_MISSING = clause("DEL", "even if some resources or state are missing: a crash of the node cuts files off")


def moments(length: float) -> Iterator[float]:
    """Yield moments from 0 to `length` seconds without end, spread evenly however many are taken."""
    place = 0.5
    while True:
        yield place * length
        place = (place + _GOLDEN) % 1


def length_of(lab: Lab, verb: str) -> float:
    """Return the seconds that an ADD or DEL takes at best, when what containers share is there already."""
    taken = []
    for number in range(3):
        pod = lab.container(f"measured{verb}{number}")
        seconds = {"ADD": lab.add(pod).seconds, "DEL": lab.delete(pod).seconds}
        lab.remove(pod)
        taken.append(seconds[verb])
    return min(taken)


def killed(lab: Lab, verb: str, kills: int, *, added: bool = False) -> Iterator[tuple[Container, Snapshot]]:
    """Yield containers for which a call of `verb` was killed at moments all over its length, and the ledger from before the call.

    Containers are ADDed for it if `added`, and have gone with their network namespaces when the next one comes.
    """
    moment = moments(length_of(lab, verb))
    done = 0
    for number in itertools.count():
        pod = lab.container(f"{verb}{number}")
        before = lab.ledger()
        if added:
            lab.add(pod).succeeds()
        call = lab.start(verb, lab.passed(verb, pod), container=pod)
        if not call.ends_within(next(moment)):
            call.kill()
            done += 1
        call.wait()
        yield pod, before
        if pod.name in lab.node.containers:
            lab.remove(pod)
        if done == kills or number > 2 * kills:
            return


def clean(lab: Lab, before: Snapshot, when: str, *, only: Callable[[str], bool] = lambda _: True) -> None:
    """Expect the ledger of before; `only` chooses the lines that count."""
    if lines := [line for line in lab.difference(before, ignore=_OF_MOUNT) if only(line)]:
        raise Failed(f"nothing is left {when}", f"{len(lines)} things differ", ledger=lines)


@case(
    "CRS-01",
    title=f"DEL after an ADD that was killed, at any of {_KILLS} moments, undoes it",
    level=BEST,
    spec=_AFTER_KILL,
    needs={"ADD", "DEL"},
    seconds=180,
)
def delete_after_kill(lab: Lab) -> None:
    for pod, before in killed(lab, "ADD", _KILLS):
        lab.delete(pod).succeeds()
        clean(lab, before, "of an ADD that was killed, after DEL")


@case(
    "CRS-02",
    title="after a killed ADD and a DEL, ADD works",
    level=SHOULD,
    spec=_AFTER_KILL,
    needs={"ADD", "DEL", "interface|ipam|meta"},
    seconds=180,
)
def add_after_kill(lab: Lab) -> None:
    for pod, _ in killed(lab, "ADD", _FEW_KILLS):
        lab.delete(pod).succeeds()
        lab.add(pod).succeeds()
        if "CHECK" in lab.features:
            lab.check(pod).succeeds()
        lab.delete(pod).succeeds()


@case(
    "CRS-03",
    title="GC clears away an ADD that was killed, when the network namespace is lost",
    level=BEST,
    spec=_GC,
    needs={"ADD", "DEL", "GC", "version:1.1.0", "interface|ipam"},
    seconds=180,
)
def collected_after_kill(lab: Lab) -> None:
    for pod, before in killed(lab, "ADD", _FEW_KILLS):
        lab.remove(pod)
        lab.gc([]).succeeds()
        clean(lab, before, "of an ADD that was killed, after GC", only=lambda line: line.startswith("+"))


@case("CRS-04", title="DEL finishes what a killed DEL has begun", level=BEST, spec=_AGAIN, needs={"ADD", "DEL"}, seconds=180)
def delete_after_killed_delete(lab: Lab) -> None:
    for pod, before in killed(lab, "DEL", _FEW_KILLS, added=True):
        lab.delete(pod).succeeds()
        clean(lab, before, "after the second DEL")


@case("CRS-05", title="on a full disk ADD fails with an error, and is undone by DEL", level=BEST, spec=_DISK, needs={"ADD", "DEL"})
def full_disk(lab: Lab) -> None:
    for directory in _STATE:
        fill = f"mount -o remount,size=256k {directory}; head -c 1M /dev/zero > {directory}/full 2>&-; true"
        free = f"rm {directory}/full; mount -o remount,size=50% {directory}"
        _add_on_bad_disk(lab, directory, spoil=fill, mend=free)


@case("CRS-08", title="on a read-only disk ADD fails with an error, and is undone by DEL", level=BEST, spec=_DISK, needs={"ADD", "DEL"})
def read_only_disk(lab: Lab) -> None:
    for directory in _STATE:
        _add_on_bad_disk(lab, directory, spoil=f"mount -o remount,ro {directory}", mend=f"mount -o remount,rw {directory}")


def _add_on_bad_disk(lab: Lab, directory: str, *, spoil: str, mend: str) -> None:
    name = directory.replace("/", "_")
    pod = lab.container(f"pod{name}")
    before = lab.ledger()
    if "spoiled" not in lab.do(f"{spoil} && echo spoiled", check=False):
        raise Skipped(f"{directory} is in use by what runs beside the plugin")
    answer = lab.add(pod)
    if answer.status != 0:
        answer.fails()
    lab.do(mend)
    lab.delete(pod).succeeds()
    clean(lab, before, f"of an ADD that found {directory} unusable, after DEL")
    lab.delete(lab.attached(f"next{name}")).succeeds()


@case("CRS-06", title="DEL succeeds when state files were cut off", level=SHOULD, spec=_STATE_MISSING, needs={"ADD", "DEL"})
def cut_off_state(lab: Lab) -> None:
    for size in ("0", "50%"):
        pod = lab.container(f"pod{size.rstrip('%')}")
        state = _state(lab)
        lab.add(pod).succeeds()
        _cut_off(lab, state, size)
        lab.delete(pod).succeeds()


@case(
    "CRS-09",
    title="nothing of a container whose state files were cut off stays, and new ones can be added",
    level=BEST,
    spec=_STATE_MISSING,
    needs={"ADD", "DEL"},
)
def nothing_left_of_cut_off_state(lab: Lab) -> None:
    for size in ("0", "50%"):
        pod = lab.container(f"pod{size.rstrip('%')}")
        before, state = lab.ledger(), _state(lab)
        lab.add(pod).succeeds()
        _cut_off(lab, state, size)
        lab.delete(pod).succeeds()
        if "GC" in lab.features:
            lab.gc([]).succeeds()
        clean(lab, before, "after DEL, and GC if the plugin has it", only=_outlives)
        lab.delete(lab.attached(f"neighbour{size.rstrip('%')}")).succeeds()


def _outlives(line: str) -> bool:
    """Whether what a line of the ledger tells of is there when the container has gone.

    A setting in the container is not, and what it was before nobody can know whose notes of it are cut off.
    """
    return not line.startswith("~") or line.startswith("~ node ")


def _cut_off(lab: Lab, state: set[str], size: str) -> None:
    """Cut files that are not in `state` to a length of zero, or to a part of what they are. Raises Skipped when there are none."""
    paths = [line.split(" ", 2)[2] for line in sorted(_state(lab) - state)]
    if not paths:
        raise Skipped("ADD writes nothing into the plugin's state directories")
    for path in paths:
        length = Path(path).stat().st_size // 2 if size != "0" else 0
        lab.do(f"truncate -s {length} {shlex.quote(path)}")


def _state(lab: Lab) -> set[str]:
    """Return the files of state that have something in them: when each was written, its length, and its path."""
    where = " ".join(map(shlex.quote, [*_STATE, *lab.profile.state_dirs]))
    left_out = "-not -path '/run/netns/*' -not -path '/run/conformance/*'"
    told = lab.do(f"find {where} -type f -size +0 {left_out} -printf '%T@ %s %p\\n' 2>&-", check=False)
    return set(told.split("\n")[:-1])


@case(
    "CRS-07",
    title="no call leaves files in temporary directories, however it ends",
    level=BEST,
    spec=clause("DEL", "undo any modifications: temporary files that pile up fill the disk of a node in the end"),
    needs={"ADD", "DEL"},
    seconds=180,
)
def no_litter(lab: Lab) -> None:
    if " /tmp overlay " not in Path("/proc/thread-self/mounts").read_text(encoding="utf-8"):
        raise Skipped("the kernel has no overlay, by which temporary directories can be watched")
    start = lab.ledger()
    for verb in ("ADD", "DEL"):
        for pod, _ in killed(lab, verb, _FEW_KILLS // 2, added=verb == "DEL"):
            lab.delete(pod).succeeds()
            clean(lab, start, "in temporary directories", only=lambda line: any(f" {place}" in line for place in ("/tmp/", "/var/tmp/")))
