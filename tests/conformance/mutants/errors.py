"""Plugins that do not fail when they should, or tell it wrongly."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import Any

from tests.conformance.mutants.framework import Call, Mutant

Hook = Callable[[Call], None]


def retold(change: Callable[[dict[str, Any]], object]) -> Hook:
    """A hook that changes every error in place."""

    def after(call: Call) -> None:
        if call.status > 0:
            error = call.result
            change(error)
            call.result = error

    return after


def recoded(*codes: int, to: int) -> Hook:
    """A hook that tells these codes as another."""
    return retold(lambda error: error.update(code=to) if error["code"] in codes else None)


def replaced(name: str, right: Callable[[str], bool], value: str) -> Hook:
    """A hook that puts a right value in the place of a variable's wrong one."""

    def before(call: Call) -> None:
        if not right(call.env.get(name, "")):
            call.env[name] = value

    return before


def any_mtu(call: Call) -> None:
    if not isinstance(call.conf.get("mtu", 0), int):
        call.edit_conf(lambda conf: conf.pop("mtu"))


def negative_mtu(call: Call) -> None:
    mtu = call.conf.get("mtu", 0)
    if isinstance(mtu, int) and mtu < 0:
        call.edit_conf(lambda conf: conf.pop("mtu"))


def without_netns(call: Call) -> None:
    if not os.path.ismount(call.env.get("CNI_NETNS", "")):
        call.answer({"cniVersion": "1.1.0"})


def impatient(call: Call) -> None:
    try:
        with open("/run/cni-plugins/lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return
    except BlockingIOError:
        call.refuse(999, "the lock is taken")


def unknown_field(call: Call) -> None:
    if "noSuchField" in call.conf:
        call.refuse(2, "unsupported field")


def any_name(call: Call) -> None:
    name = call.conf.get("name", "net1")
    if not name[:1].isalnum() or "/" in name or " " in name:
        call.edit_conf(lambda conf: conf.update(name="net1"))


def speechless(error: dict[str, Any]) -> None:
    error["msg"] = "something is wrong"
    error.pop("details", None)


MUTANTS = {
    "ERR-01": Mutant(verbs={"ADD"}, after=recoded(6, to=999)),
    "ERR-02": Mutant(verbs={"ADD"}, after=recoded(7, to=999)),
    "ERR-03": Mutant(verbs={"ADD"}, before=any_mtu),
    "ERR-04": Mutant(verbs={"ADD"}, before=negative_mtu),
    "ERR-05": Mutant(verbs={"ADD"}, after=recoded(4, to=3)),
    "ERR-06": Mutant(
        verbs={"ADD"}, before=replaced("CNI_CONTAINERID", lambda text: text.replace("-", "x").isalnum() and text[0] != "-", "pod")
    ),
    "ERR-07": Mutant(verbs={"ADD"}, before=replaced("CNI_IFNAME", str.isalnum, "eth9")),
    "ERR-08": Mutant(verbs={"ADD"}, before=without_netns),
    "ERR-09": Mutant(after=retold(lambda error: error.pop("cniVersion", None))),
    "ERR-10": Mutant(verbs={"ADD"}, after=retold(speechless)),
    "ERR-11": Mutant(verbs={"ADD"}, before=impatient),
    "ERR-12": Mutant(verbs={"ADD"}, after=recoded(4, to=999)),
    "ERR-13": Mutant(verbs={"ADD"}, after=recoded(6, 7, to=999)),
    "ERR-14": Mutant(after=retold(speechless)),
    "ERR-15": Mutant(verbs={"ADD"}, before=unknown_field),
    "ERR-16": Mutant(verbs={"ADD"}, after=recoded(7, to=42)),
    "ERR-17": Mutant(verbs={"ADD"}, before=any_name),
    "ERR-18": Mutant(verbs={"ADD"}, after=retold(speechless)),
}
