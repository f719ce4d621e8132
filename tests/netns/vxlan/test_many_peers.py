"""A thousand peers: all are programmed, none is sent twice, and what differs is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.kernel import calls
from tests.netns.vxlan.overlay import Member

COUNT = 1000


def peers() -> list[dict[str, str]]:
    both = []
    for number in range(COUNT):
        high, low = number // 250, number % 250
        both.append({"node": f"192.168.{100 + high}.{low + 1}", "subnet": f"10.{64 + high}.{low}.0/24"})
        both.append({"node": f"fd77::{100 + high}:{low + 1}", "subnet": f"fd00:5:{high + 1:x}:{low:x}::/64"})
    return both


@pytest.fixture
def crowd(member: Member) -> Member:
    """A member of an overlay of a thousand dual-stack nodes."""
    Path("/run/peers.json").write_text(json.dumps(peers()))
    networks = {"network": "10.0.0.0/9", "subnet": "10.5.1.0/24", "ipv6Network": "fd00:5::/32"}
    member.keys = {"peers": None, "peersFile": "/run/peers.json", **networks}
    return member


def test_a_thousand_peers_are_programmed_verified_and_removed(crowd: Member) -> None:
    pod = crowd.pod()
    assert len(crowd.ip("route", "show", "proto", "110")) == COUNT
    assert len(crowd.ip("-6", "route", "show", "proto", "110")) == COUNT
    for device in ("vxlan.100", "vxlan6.100"):
        assert int(crowd.sh(f"ip neighbour show dev {device} nud permanent | wc -l")) == COUNT
        assert int(crowd.sh(f"bridge fdb show dev {device} | grep -c permanent")) == COUNT
    assert crowd.check(pod) == ""
    crowd.sh("ip route delete 10.65.7.0/24; ip neighbour delete 10.66.8.0 dev vxlan.100")
    said = crowd.check(pod)
    assert said.count("peer ") == 2, said
    assert "peer 192.168.101.8 with 10.65.7.0/24: no route" in said
    assert "peer 192.168.102.9 with 10.66.8.0/24: its neighbour entry" in said
    assert crowd.call("DEL", pod).result is None
    assert crowd.ip("route", "show", "proto", "110") == []


def test_second_pod_sends_nothing_about_peers(crowd: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there already is compared, not sent again: a node starts pods all day."""
    sent: list[int] = []
    send = calls.netlink_send

    def counted(channel: Any, data: bytes) -> None:
        sent.append(len(data))
        send(channel, data)

    monkeypatch.setattr(calls, "netlink_send", counted)
    crowd.pod()
    first, sent[:] = sum(sent), []
    crowd.pod("again")
    assert first > COUNT * 6 * 40
    assert sum(sent) < 20_000
