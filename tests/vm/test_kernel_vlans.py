"""VLANs on bridges, which need a kernel with vlan_filtering: what is set here is what bridge(8) shows, and the other way round."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cni_plugins.kernel.netlink import Netlink, Vlan
from tests.support.node import Node


@pytest.fixture
def netlink(node: Node) -> Iterator[Netlink]:
    """A netlink socket on the node."""
    netlink = Netlink()
    yield netlink
    netlink.close()


def shown(node: Node, name: str) -> list[tuple[int, int, frozenset[str]]]:
    """What bridge(8) says of a link's VLANs: (first, last, flags)."""
    listed: list[dict[str, Any]] = json.loads(node.run(["bridge", "-json", "vlan", "show", "dev", name]).stdout or "[]")
    vlans = listed[0]["vlans"] if listed else []
    return [(vlan["vlan"], vlan.get("vlanEnd", vlan["vlan"]), frozenset(vlan.get("flags", ()))) for vlan in vlans]


def read(vlans: list[Vlan]) -> list[tuple[int, bool, bool]]:
    return [(vlan.vid, vlan.pvid, vlan.untagged) for vlan in vlans]


def test_vlans_of_a_port_and_of_its_bridge(node: Node, netlink: Netlink) -> None:
    bridge = netlink.add_bridge("br0", vlan_filtering=True)
    assert (bridge.vlan_filtering, bridge.vlan_default_pvid) == (True, 1)
    port = netlink.add_veth("a0", peer_name="b0", master=bridge.index)
    assert read(netlink.vlans(port.index)) == [(1, True, True)]
    assert netlink.del_vlan(port.index, 1)
    assert netlink.vlans(port.index) == []
    with netlink.batch():
        netlink.add_vlan(port.index, 100, pvid=True, untagged=True)
        netlink.add_vlan(port.index, 200, vid_end=203)
        netlink.add_vlan(bridge.index, 100, self_=True)
    assert shown(node, "a0") == [(100, 100, frozenset({"PVID", "Egress Untagged"})), *[(vid, vid, frozenset()) for vid in range(200, 204)]]
    assert (100, 100, frozenset()) in shown(node, "br0")
    assert read(netlink.vlans(port.index)) == [(100, True, True), *[(vid, False, False) for vid in range(200, 204)]]
    assert netlink.del_vlan(port.index, 200, vid_end=202)
    node.run(["bridge", "vlan", "add", "dev", "a0", "vid", "300", "untagged"])
    assert read(netlink.vlans(port.index)) == [(100, True, True), (203, False, False), (300, False, True)]
    netlink.del_vlan(port.index, 4000)


def test_a_bridge_may_give_new_ports_no_vlan_at_all(node: Node, netlink: Netlink) -> None:
    bridge = netlink.add_bridge("br0", vlan_filtering=True, vlan_default_pvid=0)
    port = netlink.add_veth("a0", peer_name="b0", master=bridge.index)
    assert netlink.vlans(port.index) == []
    found = netlink.link(name="br0")
    assert found is not None
    assert (found.vlan_filtering, found.vlan_default_pvid) == (True, 0)
