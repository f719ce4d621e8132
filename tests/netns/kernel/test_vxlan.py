"""VXLAN devices, neighbours and forwarding entries made here are what ip(8) and bridge(8) show, and what they make is read here."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest

from cni_plugins.kernel import neighbours, vxlan
from cni_plugins.kernel.neighbours import Neighbour
from cni_plugins.kernel.netlink import Netlink, NetlinkError, Route
from cni_plugins.kernel.vxlan import Vxlan
from cni_plugins.protocol.ip import Cidr, parse_address, parse_cidr
from tests.support.node import Node

LOCAL = {4: "192.168.77.11", 6: "fd77::11"}
PEER = {4: "192.168.77.12", 6: "fd77::12"}
MAC = "02:00:00:00:00:0a"


@pytest.fixture
def underlay(node: Node, netlink: Netlink) -> int:
    """A link with an address of each family; its index."""
    index = netlink.add_bridge("eth0").index
    for text in ("192.168.77.11/24", "fd77::11/64"):
        netlink.add_address(index, parse_cidr(text), nodad=True)
    return index


def wanted(underlay: int, family: int, **keys: Any) -> Vxlan:
    settings = {"vni": 100, "port": 8472, "local": parse_address(LOCAL[family]), "underlay": underlay, "mac": MAC, "mtu": 1430}
    return Vxlan(f"vx{family}", **{**settings, **keys})


def shown(node: Node, name: str) -> Any:
    return json.loads(node.run(["ip", "-json", "-details", "link", "show", name]).stdout)[0]


@pytest.mark.parametrize("family", [4, 6])
def test_device_is_made_as_asked(node: Node, netlink: Netlink, *, underlay: int, family: int) -> None:
    made = vxlan.create(netlink, wanted(underlay, family))
    seen = shown(node, made.name)
    data = seen["linkinfo"]["info_data"]
    assert (data["id"], data["port"], data["link"], data["learning"]) == (100, 8472, "eth0", False)
    assert data["local6" if family == 6 else "local"] == LOCAL[family]
    assert (seen["address"], seen["mtu"], seen["ifindex"], "UP" in seen["flags"]) == (MAC, 1430, made.index, False)


@pytest.mark.parametrize("family", [4, 6])
def test_device_that_ip_made_is_read(node: Node, netlink: Netlink, *, underlay: int, family: int) -> None:
    node.run(
        ["ip", "link", "add", "other", "address", MAC, "type", "vxlan", "id", "7", "dev", "eth0", "local", LOCAL[family], "dstport", "99"]
    )
    node.run(["sh", "-ec", "ip link set other alias 'whose it is'; ip link set other up"])
    for read in (vxlan.find(netlink, "other"), *vxlan.devices(netlink)):
        assert read is not None
        assert (read.name, read.vni, read.port, read.underlay, read.local) == ("other", 7, 99, underlay, parse_address(LOCAL[family]))
        assert (read.mac, read.alias, read.learning, read.up) == (MAC, "whose it is", True, True)


def test_what_is_no_vxlan_device_is_not_found(netlink: Netlink, underlay: int) -> None:
    assert vxlan.find(netlink, "eth0") is None
    assert vxlan.find(netlink, "none") is None
    assert vxlan.devices(netlink) == []


def test_second_device_of_a_vni_is_refused(netlink: Netlink, underlay: int) -> None:
    vxlan.create(netlink, wanted(underlay, 4))
    second = wanted(underlay, 4)
    second.name = "second"
    with pytest.raises(NetlinkError) as caught:
        vxlan.create(netlink, second)
    assert caught.value.errno == errno.EEXIST


@pytest.mark.parametrize("family", [4, 6])
def test_entries_of_a_peer_are_what_the_tools_show(node: Node, netlink: Netlink, *, underlay: int, family: int) -> None:
    device = vxlan.create(netlink, wanted(underlay, family))
    netlink.set_link(device.index, up=True)
    subnet = parse_cidr("10.5.2.0/24" if family == 4 else "fd00:5:0:2::/64")
    entries = [Neighbour(subnet.host, MAC), Neighbour(parse_address(PEER[family]), MAC, fdb=True)]
    with netlink.batch():
        for entry in entries:
            neighbours.put(netlink, device.index, entry)
        netlink.add_route(Route(subnet, gateway=subnet.host, index=device.index, onlink=True, protocol=110))
    near = json.loads(node.run(["ip", "-json", f"-{family}", "neighbour", "show", "dev", device.name, "nud", "permanent"]).stdout)
    assert [(one["dst"], one["lladdr"]) for one in near] == [(subnet.address, MAC)]
    far = json.loads(node.run(["bridge", "-json", "fdb", "show", "dev", device.name]).stdout)
    assert [(one["mac"], one["dst"], one["state"]) for one in far] == [(MAC, PEER[family], "permanent")]
    (route,) = json.loads(node.run(["ip", "-json", f"-{family}", "route", "show", "proto", "110"]).stdout)
    assert (route["dst"], route["gateway"], route["dev"], route["flags"]) == (str(subnet), subnet.address, device.name, ["onlink"])
    (read,) = [one for one in netlink.routes(device.index, family=family) if one.protocol == 110]
    assert read.onlink
    for entry in entries:
        assert str(entry) in [str(one) for one in _listed(netlink, device.index, family, fdb=entry.fdb)]
        assert neighbours.remove(netlink, device.index, entry)
        assert not neighbours.remove(netlink, device.index, entry)
        assert str(entry) not in [str(one) for one in _listed(netlink, device.index, family, fdb=entry.fdb)]


def _listed(netlink: Netlink, index: int, family: int, *, fdb: bool) -> list[Neighbour]:
    return neighbours.forwarding(netlink, index) if fdb else neighbours.neighbours(netlink, index, family=family)


def test_entry_replaces_what_was_there(netlink: Netlink, underlay: int) -> None:
    device = vxlan.create(netlink, wanted(underlay, 4))
    netlink.set_link(device.index, up=True)
    first, second = parse_address("192.168.77.12"), parse_address("192.168.77.13")
    for node in (first, second):
        neighbours.put(netlink, device.index, Neighbour(node, MAC, fdb=True))
    assert [one.address for one in neighbours.forwarding(netlink, device.index)] == [second]
    for mac in (MAC, "02:00:00:00:00:0b"):
        neighbours.put(netlink, device.index, Neighbour(first, mac))
    assert [one.mac for one in neighbours.neighbours(netlink, device.index, family=4)] == ["02:00:00:00:00:0b"]


def test_entries_of_other_links_are_not_listed(netlink: Netlink, underlay: int) -> None:
    devices = [
        vxlan.create(netlink, Vxlan(f"vx{vni}", vni=vni, port=8472, local=None, underlay=underlay, mac=MAC, mtu=1430)) for vni in (1, 2)
    ]
    for device in devices:
        netlink.set_link(device.index, up=True)
        neighbours.put(netlink, device.index, Neighbour(Cidr(4, 0x0A050000 + device.vni, 32), MAC))
        neighbours.put(netlink, device.index, Neighbour(Cidr(4, 0xC0A84D00 + device.vni, 32), MAC, fdb=True))
    for device in devices:
        assert [one.address.value & 0xFF for one in neighbours.neighbours(netlink, device.index, family=4)] == [device.vni]
        assert [one.address.value & 0xFF for one in neighbours.forwarding(netlink, device.index)] == [device.vni]


def test_learned_entries_are_told_from_configured_ones(node: Node, netlink: Netlink, underlay: int) -> None:
    node.run(["sh", "-ec", f"ip neighbour add 192.168.77.12 lladdr {MAC} dev eth0 nud reachable"])
    found = {one.address.address: one.permanent for one in neighbours.neighbours(netlink, underlay, family=4)}
    assert found["192.168.77.12"] is False


def test_refused_entries_keep_none_of_the_others_of_their_batch(netlink: Netlink, underlay: int) -> None:
    """A thousand peers go out together: one that the kernel refuses must not keep the others."""
    device = vxlan.create(netlink, wanted(underlay, 4))
    netlink.set_link(device.index, up=True)
    batch = netlink.batch()
    batch.__enter__()
    for number in range(200):
        netlink.add_route(Route(parse_cidr(f"10.5.{number}.0/24"), gateway=parse_address("172.16.0.1"), index=device.index))
        neighbours.put(netlink, device.index, Neighbour(Cidr(4, 0x0A050000 + number, 32), MAC))
    with pytest.raises(NetlinkError, match=r"cannot add route 10\.5\.0\.0/24 via 172\.16\.0\.1"):
        batch.__exit__(None, None, None)
    assert len(neighbours.neighbours(netlink, device.index, family=4)) == 200
