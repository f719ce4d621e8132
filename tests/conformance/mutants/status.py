"""Plugins whose STATUS is wrong."""

from __future__ import annotations

import socket
import time

from tests.conformance.mutants.framework import Call, Mutant


def never_ready(call: Call) -> None:
    call.refuse(50, "not available")


def always_ready(call: Call) -> None:
    call.answer()


def remembers_failures(call: Call) -> None:
    if call.verb == "STATUS" and call.status:
        call.remember("unavailable")


def gives_up(call: Call) -> None:
    if call.recall("unavailable") is not None:
        call.refuse(50, "not available any more")


def another_code(call: Call) -> None:
    if call.status:
        call.refuse(999, "not available")


def needs_its_path(call: Call) -> None:
    if "CNI_PATH" not in call.env:
        call.refuse(4, "CNI_PATH is missing")


def asks_the_daemon(call: Call) -> None:
    with socket.socket(socket.AF_UNIX) as daemon:
        if daemon.connect_ex("/run/cni/dhcp.sock"):
            call.refuse(50, "the daemon does not answer")


READY = Mutant(verbs={"STATUS"}, instead=always_ready)
MUTANTS = {
    "STA-01": Mutant(verbs={"STATUS"}, instead=never_ready),
    "STA-02": Mutant(profile="dhcp", verbs={"STATUS"}, instead=always_ready),
    "STA-03": READY,
    "STA-04": READY,
    "STA-05": Mutant(verbs={"STATUS"}, after=lambda call: call.host("ip route replace 198.51.100.0/24 dev lo")),
    "STA-06": Mutant(before=gives_up, after=remembers_failures),
    "STA-07": Mutant(verbs={"STATUS"}, before=lambda _: time.sleep(0.6)),
    "STA-08": READY,
    "STA-09": Mutant(verbs={"STATUS"}, after=another_code),
    "STA-10": Mutant(verbs={"STATUS"}, before=gives_up, after=remembers_failures),
    "STA-11": Mutant(profile="static", verbs={"STATUS"}, before=needs_its_path),
}
MENDED = {"STA-02": Mutant(profile="dhcp", verbs={"STATUS"}, after=asks_the_daemon)}
