"""What a flush of the rules took is put back for all attachments but those that somebody is working on, without using up anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni_plugins import RUN_DIR
from cni_plugins.agent import rules
from cni_plugins.agent.warm import Warm
from cni_plugins.plan import records
from cni_plugins.plan.locks import AttachmentLock
from cni_plugins.plan.world import World
from cni_plugins.protocol.attachment import Attachment
from tests.netns.agent.cuts import Caller
from tests.netns.plugins.networks import full_bridge
from tests.support.netns import Container
from tests.support.node import Node

PODS = 5


@pytest.fixture
def pods(node: Node, tmp_path: Path) -> list[Container]:
    """Containers that are attached to a masqueraded bridge."""
    caller = Caller(node, tmp_path)
    containers = [node.container(f"pod{number}") for number in range(PODS)]
    for container in containers:
        assert caller.here(caller.call("ADD", full_bridge(), container)).code == 0
    return containers


@pytest.fixture
def warm(node: Node) -> Iterator[Warm]:
    """What an agent keeps."""
    kept = Warm()
    with node.inside():
        yield kept
    kept.close()


def test_only_attachments_that_were_being_worked_on_are_looked_at_again(node: Node, pods: list[Container], warm: Warm) -> None:
    conf = full_bridge()
    busy = Attachment(conf["name"], pods[0].id, "eth0")
    node.run(["nft", "flush", "ruleset"])
    with AttachmentLock(RUN_DIR, "bridge", busy.key):
        restored, left = rules.put_back(warm, RUN_DIR, everything=True)
        assert (restored, len(left)) == (PODS - 1, 1)
        assert rules.put_back(warm, RUN_DIR, everything=True, only=left) == (0, left), "the others are not put back over and over"
    assert rules.put_back(warm, RUN_DIR, everything=True, only=left) == (1, set())


def test_putting_back_keeps_no_container_open(node: Node, pods: list[Container], warm: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    open_at_once = []

    def entered(world: World, owner: bytes) -> bool:
        """As for an attachment whose link somebody else's plugin made."""
        (record,) = records.of_owner(RUN_DIR, owner)
        world.sandbox(record.att.netns).netlink()
        open_at_once.append(len(os.listdir("/proc/self/fd")))
        return False

    monkeypatch.setattr(rules, "owner_is_dead", entered)
    rules.put_back(warm, RUN_DIR, everything=True)
    del open_at_once[0]  # libnftables had not been opened yet
    assert len(open_at_once) == PODS - 1
    assert len(set(open_at_once)) == 1


def test_each_kind_is_asked_once_whether_its_things_are_lost(
    node: Node, pods: list[Container], warm: Warm, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cni_plugins.plan.kinds.masquerade import MasqueradeKind

    asked: list[Any] = []

    def lost(kind: Any, world: World) -> bool:
        asked.append(kind)
        return False

    monkeypatch.setattr(MasqueradeKind, "lost", lost)
    rules.put_back(warm, RUN_DIR, everything=False)
    assert len(asked) == 1
