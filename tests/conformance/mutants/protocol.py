"""Plugins that are wrong about how they are executed."""

from __future__ import annotations

import sys

from tests.conformance.mutants.framework import Call, Mutant

_ONE_READ = 1 << 16


def fails_with_status_zero(call: Call) -> None:
    call.status = 0


def says_that_it_is_done(call: Call) -> None:
    call.stdout += b"\ndone\n"


def logs_to_stdout(call: Call) -> None:
    if call.env.get("DEBUG"):
        call.stdout = b"debug: it has begun\n" + call.stdout


def reads_once(call: Call) -> None:
    call.stdin = call.stdin[:_ONE_READ]


def needs_stderr(call: Call) -> None:
    if sys.stderr is None:
        call.refuse(5, "logs cannot be written")


def knows_all_variables(call: Call) -> None:
    if "CNI_FUTURE" in call.env:
        call.refuse(4, "unknown variable CNI_FUTURE")


def knows_all_arguments(call: Call) -> None:
    if "K8S_POD_NAME" in call.env.get("CNI_ARGS", ""):
        call.refuse(4, "CNI_ARGS: unknown key K8S_POD_NAME")


def reads_little(call: Call) -> None:
    if len(call.stdin) > 8 * _ONE_READ:
        call.refuse(6, "the configuration is too long")


def begins(call: Call) -> None:
    call.host("ip route add 198.51.100.0/24 dev lo")


def cleans_up_at_its_end_only(call: Call) -> None:
    if call.status == 0:
        call.host("ip route delete 198.51.100.0/24 dev lo")


def knows_every_command(call: Call) -> None:
    if call.verb == "UPDATE":
        call.answer()


def knows_all_of_args(call: Call) -> None:
    if "example.org" in call.conf.get("args", {}):
        call.refuse(2, "args: unknown key example.org")


MUTANTS = {
    "PRO-01": Mutant(verbs={"ADD"}, after=fails_with_status_zero),
    "PRO-02": Mutant(verbs={"ADD"}, after=says_that_it_is_done),
    "PRO-03": Mutant(verbs={"ADD"}, after=logs_to_stdout),
    "PRO-04": Mutant(verbs={"ADD"}, before=reads_once),
    "PRO-05": Mutant(verbs={"ADD"}, before=needs_stderr),
    "PRO-06": Mutant(verbs={"ADD", "DEL"}, before=knows_all_variables),
    "PRO-07": Mutant(verbs={"ADD", "DEL"}, before=knows_all_arguments),
    "PRO-08": Mutant(verbs={"ADD"}, before=reads_little),
    "PRO-09": Mutant(verbs={"ADD"}, before=begins, after=cleans_up_at_its_end_only),
    "PRO-10": Mutant(before=knows_every_command),
    "PRO-11": Mutant(verbs={"ADD"}, before=knows_all_of_args),
}
