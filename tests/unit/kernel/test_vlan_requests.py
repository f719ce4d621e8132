"""Requests about VLANs, byte by byte as bridge(8) sends them: this machine's kernel may have no VLANs to try them on."""

from __future__ import annotations

from struct import pack
from typing import Any

import pytest

from cni_plugins.kernel import calls
from cni_plugins.kernel.netlink import Netlink

SETLINK, DELLINK = 19, 17
AF_BRIDGE = 7
IFLA_AF_SPEC = 26
FLAGS, VLAN_INFO = 0, 2
PVID, UNTAGGED, BEGIN, END, SELF = 2, 4, 8, 16, 2


def info(flags: int, vid: int) -> bytes:
    return pack("HHHH", 8, VLAN_INFO, flags, vid)


def self_flag() -> bytes:
    return pack("HHHxx", 6, FLAGS, SELF)


CASES = {
    "native": ("add_vlan", {"vid": 100, "pvid": True, "untagged": True}, info(PVID | UNTAGGED, 100)),
    "tagged": ("add_vlan", {"vid": 100}, info(0, 100)),
    "range": ("add_vlan", {"vid": 100, "vid_end": 110}, info(BEGIN, 100) + info(END, 110)),
    "range of one": ("add_vlan", {"vid": 100, "vid_end": 100}, info(0, 100)),
    "bridge itself": ("add_vlan", {"vid": 100, "self_": True}, self_flag() + info(0, 100)),
    "out of one": ("del_vlan", {"vid": 1}, info(0, 1)),
    "bridge out of one": ("del_vlan", {"vid": 1, "self_": True}, self_flag() + info(0, 1)),
}


@pytest.mark.parametrize(("method", "arguments", "spec"), CASES.values(), ids=CASES.keys())
def test_a_vlan_is_asked_for_as_bridge_does(method: str, arguments: dict[str, Any], spec: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    monkeypatch.setattr(calls, "netlink_socket", object)
    monkeypatch.setattr(calls, "netlink_send", lambda channel, data: sent.append(bytes(data)))
    monkeypatch.setattr(calls, "netlink_receive", lambda channel: pack("IHHIIi16x", 36, 2, 0, 1, 0, 0))
    getattr(Netlink(), method)(5, **arguments)
    body = pack("BxHiII", AF_BRIDGE, 0, 5, 0, 0) + pack("HH", 4 + len(spec), IFLA_AF_SPEC) + spec
    header = pack("IHHII", 16 + len(body), SETLINK if method == "add_vlan" else DELLINK, 0x1 | 0x4, 1, 0)
    assert sent == [header + body]
