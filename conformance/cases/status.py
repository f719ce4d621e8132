"""STATUS: whether a plugin can service an ADD, without trying it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from conformance.case import BEST, MAY, MUST, SHOULD, Failed, Skipped, case
from conformance.cases.version import soon
from conformance.lab import Conf, Container, Lab
from conformance.spec import clause

_READY = clause("STATUS", "A plugin must exit with a zero (success) return code if the plugin is ready to service ADD requests")
_SERVICE = clause(
    "STATUS", "if a plugin relies on an external service or daemon, it should return an error to STATUS if that service is unavailable"
)
_EXHAUSTED = clause(
    "STATUS",
    "if a plugin has a limited number of resources (e.g. IP addresses …), it should return an error if those resources are exhausted",
)
_DELEGATE = clause(
    "STATUS", "If a plugin relies on a delegated plugin … to service ADD requests, it must also execute a STATUS request to that plugin"
)
_PASS_ON = clause("STATUS", "If the delegated plugin return an error result, the executing plugin should return an error result")
_CODES = clause(
    "STATUS",
    "The following error codes are defined in the context of STATUS: 50: The plugin is not available …, 51: … limited connectivity",
)
_ALWAYS = clause("STATUS", "Plugins should always expect other CNI operations (like ADD, DEL, etc) even if STATUS returns an error")
_NEEDS = {"STATUS", "version:1.1.0"}


def _full(lab: Lab) -> tuple[list[Container], Conf]:
    """Take all addresses of the profile's small pool; returns who has them, and the network's configuration."""
    pool = lab.profile.pool
    assert pool is not None
    conf = lab.conf(**pool.changes)
    return [lab.attached(f"pod{number}", conf) for number in range(pool.size)], conf


def _without_daemon(lab: Lab) -> None:
    """End the processes beside the plugin. Raises Skipped when none of them is a daemon that it talks to: one with a socket."""
    if not any(beside.ready and Path(beside.ready).is_socket() for beside in lab.profile.beside):
        raise Skipped("the plugin talks to no daemon")
    for pid in lab.node.started:
        os.kill(pid, signal.SIGKILL)
    lab.transcript.step("kill -9 $(jobs -p)")


@case("STA-01", title="STATUS succeeds when the plugin can service an ADD", level=MUST, spec=_READY, needs={*_NEEDS, "ADD"})
def ready(lab: Lab) -> None:
    lab.status().succeeds()
    lab.add(lab.container()).succeeds()


@case("STA-02", title="STATUS fails when the daemon is down", level=SHOULD, spec=_SERVICE, needs={*_NEEDS, "beside"})
def daemon_down(lab: Lab) -> None:
    lab.status().succeeds()
    _without_daemon(lab)
    lab.status().refuses()


@case("STA-03", title="STATUS fails when there is no address left", level=SHOULD, spec=_EXHAUSTED, needs={*_NEEDS, "ADD", "pool"})
def exhausted(lab: Lab) -> None:
    _, conf = _full(lab)
    lab.status(conf).refuses()


@case("STA-04", title="STATUS fails when the delegate's does", level=SHOULD, spec=_PASS_ON, needs={*_NEEDS, "delegates"})
def delegate_failed(lab: Lab) -> None:
    delegate = lab.fake_ipam()
    delegate.fails("STATUS", code=50)
    lab.status(delegate.conf()).refuses()


@case(
    "STA-05",
    title="STATUS changes nothing",
    level=BEST,
    spec=clause("STATUS", "Status is purely informational"),
    needs={*_NEEDS, "ADD"},
)
def changes_nothing(lab: Lab) -> None:
    with lab.unchanged():
        lab.status().succeeds()
    lab.attached()
    with lab.unchanged():
        lab.status().succeeds()


@case(
    "STA-06", title="DEL and ADD work after STATUS has failed", level=SHOULD, spec=_ALWAYS, needs={*_NEEDS, "ADD", "DEL", "pool|delegates"}
)
def others_go_on(lab: Lab) -> None:
    if lab.profile.delegate:
        delegate = lab.fake_ipam()
        delegate.fails("STATUS", code=50)
        conf = delegate.conf()
        gone = lab.attached("pod0", conf)
    else:
        pods, conf = _full(lab)
        gone = pods[0]
    lab.status(conf)
    lab.delete(gone, conf).succeeds()
    lab.add(lab.container("next"), conf).succeeds()


@case(
    "STA-07",
    title="STATUS answers within half a second",
    level=BEST,
    spec=clause("STATUS", "a way for a runtime to determine the readiness of a network plugin: runtimes ask every few seconds"),
    needs=_NEEDS,
)
def answers_soon(lab: Lab) -> None:
    soon(lab.status)


@case("STA-08", title="STATUS calls the delegate", level=MUST, spec=_DELEGATE, needs={*_NEEDS, "delegates"})
def delegate_called(lab: Lab) -> None:
    delegate = lab.fake_ipam()
    lab.status(delegate.conf()).succeeds()
    if not delegate.calls("STATUS"):
        raise Failed(
            "the delegate is called with STATUS", f"it was called with {', '.join(call.verb for call in delegate.calls()) or 'nothing'}"
        )


@case(
    "STA-09",
    title="a plugin that is not available says so with code 50 or 51",
    level=BEST,
    spec=_CODES,
    needs={*_NEEDS, "ADD", "pool|beside"},
)
def not_available(lab: Lab) -> None:
    if lab.profile.pool:
        lab.status(_full(lab)[1]).fails(codes={50, 51})
    else:
        _without_daemon(lab)
        lab.status().fails(codes={50, 51})


@case("STA-10", title="STATUS succeeds again when an address is free again", level=MUST, spec=_READY, needs={*_NEEDS, "ADD", "DEL", "pool"})
def ready_again(lab: Lab) -> None:
    pods, conf = _full(lab)
    lab.status(conf)
    lab.delete(pods[0], conf).succeeds()
    lab.status(conf).succeeds()
    lab.add(lab.container("next"), conf).succeeds()


@case(
    "STA-11",
    title="STATUS of a plugin that delegates nothing works without CNI_PATH",
    level=MAY,
    spec=clause("STATUS", "Optional environment parameters: CNI_PATH"),
    needs=_NEEDS,
)
def without_path(lab: Lab) -> None:
    if lab.profile.delegate or lab.profile.kind == "meta":
        raise Skipped(f"the plugin delegates to {lab.profile.delegate or 'others'}, which it finds by CNI_PATH")
    lab.status(CNI_PATH=None).succeeds()
