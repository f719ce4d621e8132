"""The ways in which an attachment becomes stale, and what of it a ledger shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from conformance import ledger
from tests.netns.plugins.networks import RECORDS
from tests.support.netns import Container
from tests.support.shared import HINTS, INDEX


def record_of(container: Container, plugin: str = "bridge") -> Path:
    """The record of a container's attachment."""
    found = [file for file in RECORDS.glob(f"*.{plugin}") if json.loads(file.read_bytes())["attachment"][1] == container.id]
    assert len(found) == 1
    return found[0]


def netns_gone(container: Container) -> None:
    """The container's namespace vanishes without a DEL."""
    container.delete()


def interface_gone(container: Container) -> None:
    """Somebody deletes the interface in the container."""
    container.run(["ip", "link", "delete", "eth0"])


def mark_without_record(container: Container) -> None:
    """The record is lost."""
    record_of(container).unlink()


def record_without_link(container: Container) -> None:
    """The pair is gone, and something else has its name in the container."""
    interface_gone(container)
    container.run(["ip", "link", "add", "eth0", "type", "bridge"])


def unfinished(container: Container) -> None:
    """The ADD was killed before it was done."""
    record = record_of(container)
    record.write_text(json.dumps(json.loads(record.read_bytes()) | {"done": False}))


def damaged_record(container: Container) -> None:
    """The record cannot be read, and the container is gone."""
    record_of(container).write_bytes(b"{")
    container.delete()


def owner_gone(container: Container) -> None:
    """Neither record nor link is left, but elements in nftables are."""
    mark_without_record(container)
    container.delete()


WAYS: dict[str, Callable[[Container], None]] = {
    "netns gone": netns_gone,
    "interface gone": interface_gone,
    "mark without record": mark_without_record,
    "record without link": record_without_link,
    "unfinished": unfinished,
    "damaged record": damaged_record,
    "owner gone": owner_gone,
}

_ASIDE = (
    HINTS,
    INDEX,
    ledger.about_link("cni0"),
    "node (address|route|neighbour|qdisc|netns) .*",
    "node file (/run/(cni-plugins(/lock)?|netns/.*)|/var/lib/cni/networks/[^/]+/.by-id)",
    "node (iptables|nftables table ip6?) .*",
    "(?!node ).*",
)
"""What goes with a link, what is shared, what is in containers, what the reference's own DEL makes."""


def vanished(before: ledger.Snapshot, after: ledger.Snapshot) -> list[str]:
    """What is on the node no more, apart from what goes with a link; fails when anything came or changed there."""
    lines = ledger.diff(before, after, ignore=_ASIDE)
    assert [line for line in lines if not line.startswith("- ")] == []
    return lines
