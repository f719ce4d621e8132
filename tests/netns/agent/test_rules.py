"""What somebody took from the rules is put back for all attachments but those that are being worked on, without using up anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cni_plugins import RUN_DIR
from cni_plugins.agent import restoring
from cni_plugins.agent.restoring import Restorer
from cni_plugins.agent.warm import Warm
from cni_plugins.kernel.nft import Nft
from cni_plugins.plan import records
from cni_plugins.plan.locks import AttachmentLock
from cni_plugins.plan.world import World
from cni_plugins.protocol.attachment import Attachment
from tests.netns.agent.cuts import Caller
from tests.netns.plugins.networks import full_bridge, network
from tests.support.netns import Container
from tests.support.node import Node

PODS = 50
FEW = 5
CHAIN: tuple[dict[str, Any], ...] = ({"type": "portmap"}, {"type": "firewall", "ingressPolicy": "isolated"})
"""What follows the bridge in a pod's list."""

Attach = Callable[..., list[Container]]


@pytest.fixture
def attach(node: Node, tmp_path: Path) -> Attach:
    """Makes containers that are attached to a masqueraded bridge, and to what is `chained` to it."""
    caller = Caller(node, tmp_path)

    def make(count: int, *chained: dict[str, Any]) -> list[Container]:
        containers = [node.container(f"pod{number}") for number in range(count)]
        for number, container in enumerate(containers):
            result = caller.here(caller.call("ADD", full_bridge(), container)).result
            ports = [{"hostPort": 20000 + number, "containerPort": 80, "protocol": "tcp"}]
            for keys in chained:
                conf = network(keys["type"], runtimeConfig={"portMappings": ports}, prevResult=result) | keys
                assert caller.here(caller.call("ADD", conf, container)).result == result
        return containers

    return make


@pytest.fixture
def warm(node: Node) -> Iterator[Warm]:
    """What an agent keeps."""
    kept = Warm()
    with node.inside():
        yield kept
    kept.close()


@pytest.fixture
def restorer(warm: Warm) -> Restorer:
    """What puts things back."""
    return Restorer(warm, run_dir=RUN_DIR)


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that nftables is given from now on, questions apart."""
    given: list[str] = []
    run = Nft.run

    def running(nft: Nft, commands: str, *, handles: bool = False) -> str:
        if not commands.startswith("list "):
            given.append(commands)
        return run(nft, commands, handles=handles)

    monkeypatch.setattr(Nft, "run", running)
    return given


def ruleset(node: Node) -> list[str]:
    """All rules and elements, in no order."""
    listing = node.run(["nft", "list", "ruleset"]).stdout
    return sorted(part.strip() for line in listing.split("\n") for part in line.removeprefix("\t\telements = {").split(","))


def claim(container: Container, port: int) -> None:
    """Have the record of a container say that it has this port of the node."""
    record = records.load(RUN_DIR, "portmap", Attachment("net", container.id, "eth0"))
    for mapping in record.items[0]["ports"]:
        mapping[3] = port
    record.finish()


def test_what_many_pods_had_is_put_back_in_a_transaction_for_each_kind(
    node: Node, attach: Attach, restorer: Restorer, transactions: list[str]
) -> None:
    attach(PODS, *CHAIN)
    before = ruleset(node)
    node.run(["nft", "flush", "ruleset"])
    transactions.clear()
    assert restorer.put_back(restorer.everything) == (PODS, set())
    assert len(transactions) < 2 * 6, "five kinds with a transaction each; the bridges' ports are one more"
    assert ruleset(node) == before


def test_what_is_there_stays_and_only_what_lacks_is_put_in(node: Node, attach: Attach, restorer: Restorer) -> None:
    attach(FEW, *CHAIN)
    before = ruleset(node)
    table = "inet cni_plugins"
    node.run(["nft", f"delete element {table} masquerade4 {{ 10.1.0.2 }}; flush set {table} accepted6_owner; flush map {table} holders"])
    node.run(["nft", f"flush chain {table} accept_begin; delete element {table} hostport4 {{ 6 . 20001 }}"])
    assert ruleset(node) != before
    restorer.put_back(restorer.everything)
    assert ruleset(node) == before
    restorer.put_back(restorer.everything)
    assert ruleset(node) == before


def test_what_another_attachment_has_meanwhile_is_not_taken_from_it(node: Node, attach: Attach, restorer: Restorer) -> None:
    first, *_ = attach(FEW, *CHAIN)
    mine = Attachment("net", first.id, "eth0")
    node.run(["nft", "flush", "ruleset"])
    with AttachmentLock(RUN_DIR, "portmap", mine.key):
        restorer.put_back(restorer.everything)
    claim(first, 20001)  # the second pod's
    before = ruleset(node)
    restorer.put_back(restorer.everything)
    assert ruleset(node) == before


def test_one_attachment_that_cannot_have_its_own_keeps_nobody_else_from_theirs(
    node: Node, attach: Attach, restorer: Restorer, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third, *_ = attach(FEW, *CHAIN)
    record = records.load(RUN_DIR, "portmap", Attachment("net", first.id, "eth0"))
    record.items[0]["conditions"] = [["no", "words", "of", "nftables"], []]
    record.finish()
    for container in (second, third):
        claim(container, 20009)
    node.run(["nft", "flush", "ruleset"])
    restorer.put_back(restorer.everything)
    listing = node.run(["nft", "list", "map", "inet", "cni_plugins", "hostport4"]).stdout
    assert [port for port in (20009, 20003, 20004) if f". {port}" not in listing] == []
    (said,) = caplog.messages
    assert said.startswith(f"cannot put back what net/{first.id}/eth0 had of portmap: ")


def test_only_attachments_that_were_being_worked_on_are_looked_at_again(node: Node, attach: Attach, restorer: Restorer) -> None:
    pods = attach(FEW)
    busy = Attachment("net", pods[0].id, "eth0")
    node.run(["nft", "flush", "ruleset"])
    everything = restorer.everything
    with AttachmentLock(RUN_DIR, "bridge", busy.key):
        restored, left = restorer.put_back(everything)
        assert (restored, len(left)) == (FEW - 1, 1)
        assert restorer.put_back(everything, only=left) == (0, left), "the others are not put back over and over"
    assert restorer.put_back(everything, only=left) == (1, set())


def test_locks_are_free_again_when_all_is_put_back(node: Node, attach: Attach, restorer: Restorer) -> None:
    pod, *_ = attach(1)
    restorer.put_back(restorer.everything)
    with AttachmentLock(RUN_DIR, "bridge", Attachment("net", pod.id, "eth0").key, wait=False) as lock:
        assert lock.held


def test_what_the_dead_had_is_not_put_back(node: Node, attach: Attach, restorer: Restorer) -> None:
    attach(FEW)
    links = node.run(["ip", "-o", "link", "show", "master", "cni0"]).stdout.split()
    node.run(["ip", "link", "delete", links[1].partition("@")[0]])
    node.run(["nft", "flush", "ruleset"])
    assert restorer.put_back(restorer.everything)[0] == FEW - 1


@pytest.mark.parametrize("few", [0, FEW])
def test_putting_back_keeps_no_container_open(attach: Attach, restorer: Restorer, monkeypatch: pytest.MonkeyPatch, *, few: int) -> None:
    attach(FEW)
    open_at_once = []

    def entered(world: World, owner: bytes) -> bool:
        """As for an attachment whose link somebody else's plugin made."""
        (record,) = records.of_owner(RUN_DIR, owner)
        world.sandbox(record.att.netns).netlink()
        open_at_once.append(len(os.listdir("/proc/self/fd")))
        return False

    monkeypatch.setattr(restoring, "_FEW", few)
    monkeypatch.setattr(restoring, "with_links", lambda world: set())
    monkeypatch.setattr(restoring, "owner_is_dead", entered)
    restorer.put_back(restorer.everything)
    assert len(open_at_once) == FEW
    assert len(set(open_at_once)) == 1


def test_nothing_is_lost_where_all_is_there(attach: Attach, restorer: Restorer) -> None:
    attach(1, *CHAIN)
    assert restorer.lost() <= {"overlay"}, "all but what nobody has"
