"""The agent dies in the middle of a call, after every operation that it performs on the machine: the caller finishes the call, once."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.kernel import calls
from conformance import ledger
from tests.netns.agent.cuts import Caller
from tests.netns.faults.scenes import STRIDE
from tests.netns.plugins.networks import full_bridge, network, records
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.shared import SHARED

CONFIGURATIONS = {
    "bridge": full_bridge(),
    "ptp": network("ptp", ipMasq=True),
    "host-local": network("host-local"),
    "loopback": network("loopback"),
}
CHAINED: dict[str, dict[str, Any]] = {
    "portmap": {"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "udp"}]}},
    "bandwidth": {"ingressRate": 1_000_000, "ingressBurst": 1_000_000, "egressRate": 1_000_000, "egressBurst": 1_000_000},
    "firewall": {"ingressPolicy": "isolated"},
    "tuning": {"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}, "mtu": 1300, "promisc": True},
}


@pytest.fixture(params=list(CONFIGURATIONS))
def conf(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A network's configuration."""
    return CONFIGURATIONS[request.param]


def after(operations: int) -> Callable[[], None]:
    """Has the process killed when it has performed so many operations."""

    def arm() -> None:
        left = count(operations, -1)

        def counting(operation: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                if not next(left):
                    os._exit(9)
                return operation(*args, **kwargs)

            return call

        for name in calls.__all__:
            setattr(calls, name, counting(getattr(calls, name)))

    return arm


def test_an_add_whose_agent_died_is_finished_by_its_caller(conf: dict[str, Any], node: Node, pod: Container, tmp_path: Path) -> None:
    caller = Caller(node, tmp_path)
    add, delete = (caller.call(verb, conf, pod) for verb in ("ADD", "DEL"))
    assert caller.here(add).code == caller.here(delete).code == 0
    before = node.ledger()
    for operations in count(0, STRIDE):
        outcome, died = caller.dying(caller.call("ADD", conf, pod), after(operations))
        assert outcome.code == 0, f"killed after {operations}: {outcome}"
        assert outcome.result["cniVersion"] == "1.1.0"
        assert caller.here(delete).code == 0
        assert not records(), f"killed after {operations}"
        if not died:
            break
    assert operations > 5
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


@pytest.mark.parametrize("plugin", CHAINED)
def test_a_chained_add_whose_agent_died_is_finished_by_its_caller(node: Node, pod: Container, tmp_path: Path, *, plugin: str) -> None:
    caller = Caller(node, tmp_path)
    previous = caller.here(caller.call("ADD", network(), pod))
    conf = network(plugin, **CHAINED[plugin], prevResult=previous.result)
    add, delete = (caller.call(verb, conf, pod) for verb in ("ADD", "DEL"))
    assert caller.here(add).code == caller.here(delete).code == 0
    before, kept = node.ledger(), records()
    for operations in count(0, STRIDE):
        outcome, died = caller.dying(caller.call("ADD", conf, pod), after(operations))
        assert outcome.code == 0, f"killed after {operations}: {outcome}"
        assert caller.here(caller.call("CHECK", {**conf, "prevResult": outcome.result}, pod)).code == 0, f"killed after {operations}"
        assert caller.here(delete).code == 0
        assert records() == kept, f"killed after {operations}"
        if not died:
            break
    assert operations > 5
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


def test_a_del_whose_agent_died_is_finished_by_its_caller(conf: dict[str, Any], node: Node, pod: Container, tmp_path: Path) -> None:
    caller = Caller(node, tmp_path)
    add, delete = (caller.call(verb, conf, pod) for verb in ("ADD", "DEL"))
    assert caller.here(add).code == caller.here(delete).code == 0
    before = node.ledger()
    for operations in count(0, STRIDE):
        assert caller.here(add).code == 0
        outcome, died = caller.dying(delete, after(operations))
        assert outcome.code == 0, f"killed after {operations}: {outcome}"
        assert not records(), f"killed after {operations}"
        if not died:
            break
    assert operations > 3
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


def test_an_attachment_that_was_there_before_survives_the_agent_s_death(node: Node, pod: Container, tmp_path: Path) -> None:
    caller = Caller(node, tmp_path)
    conf = full_bridge()
    assert caller.here(caller.call("ADD", conf, pod)).code == 0
    before = node.ledger()
    for operations in count(0, STRIDE):
        outcome, died = caller.dying(caller.call("ADD", conf, pod), after(operations))
        assert "is attached already" in outcome.error["msg"], f"killed after {operations}: {outcome}"
        if not died:
            break
    assert operations > 3
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []
