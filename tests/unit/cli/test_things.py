"""How things are told in a list."""

from __future__ import annotations

from typing import Any

import pytest

from cni_plugins.cli.attachments import state
from cni_plugins.cli.inventory import Entry
from cni_plugins.cli.things import Thing, describe
from cni_plugins.plan.resource import Owned
from cni_plugins.protocol.attachment import Attachment


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"kind": "veth", "name": "veth1"}, "veth1"),
        ({"kind": "masquerade", "addresses": ["10.1.0.2", "fd00::2"]}, "10.1.0.2 fd00::2"),
        ({"kind": "spoofcheck", "port": "veth1", "mac": "02:00:00:00:00:01"}, "veth1 02:00:00:00:00:01"),
        ({"kind": "portmap", "ports": [["10.88.0.4/32", 6, "", 8082, 80]]}, "10.88.0.4/32 6 8082 80"),
        ({"kind": "loopback", "netns": "/run/netns/a", "was_up": False}, "was_up=False"),
        ({"kind": "masquerade", "legacy": {"rules": []}}, "-"),
    ],
)
def test_an_item_is_told_without_what_is_said_elsewhere(item: dict[str, Any], text: str) -> None:
    assert describe(item) == text


def test_a_thing_says_whose_it_is_and_why_it_goes() -> None:
    entry = Entry(Attachment("net", "pod", "eth0").key)
    entry.att, entry.why = Attachment("net", "pod", "eth0"), "netns gone"
    assert str(Thing("veth", "veth1", entry)) == "veth        veth1  (net/pod/eth0: netns gone)"


def test_what_tells_no_names_is_told_by_its_key() -> None:
    assert str(Entry(b"\x01" * 16)) == f"?/{'01' * 16}/?"


def test_the_state_is_told_in_words() -> None:
    entry = Entry(b"\x01" * 16)
    entry.in_use = True
    assert state(entry) == "live, no record: another plugin's"
    entry.marks = [Owned(entry.key, {"kind": "veth"})]
    assert state(entry) == "live"
    entry.why = "owner gone"
    assert state(entry) == "stale: owner gone"
    entry.busy = True
    assert state(entry) == "being added or deleted"
