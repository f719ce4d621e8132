"""Links made here are what ip(8) shows, and links that ip(8) makes are what is read here."""

from __future__ import annotations

import errno
import json
from socket import socket
from typing import Any

import pytest

from cni_plugins.kernel import calls
from cni_plugins.kernel.netlink import Netlink, NetlinkError
from cni_plugins.kernel.netns import Netns
from tests.support.netns import Netns as Place
from tests.support.node import Node

BRIDGE_MAC, HOST_MAC, POD_MAC = (f"02:00:00:00:00:{n:02x}" for n in (1, 2, 3))


def shown(place: Node | Place, name: str) -> Any:
    """What ip(8) says of a link."""
    return json.loads(place.run(["ip", "-json", "-details", "link", "show", name]).stdout)[0]


def test_a_bridge_is_made_as_asked(node: Node, netlink: Netlink) -> None:
    made = netlink.add_bridge("cni0", mtu=1400, mac=BRIDGE_MAC)
    seen = shown(node, "cni0")
    assert (made.index, made.kind, made.up, made.mtu, made.mac) == (seen["ifindex"], "bridge", True, 1400, BRIDGE_MAC)
    assert seen["linkinfo"]["info_kind"] == "bridge"
    assert (seen["mtu"], seen["address"]) == (1400, BRIDGE_MAC)
    assert "UP" in seen["flags"]


def test_a_bridges_address_stays_when_ports_with_lower_ones_come(node: Node, netlink: Netlink) -> None:
    """A bridge without an address of its own takes its lowest port's: peers keep the old one in their ARP tables."""
    bridge = netlink.add_bridge("cni0", mac="0e:00:00:00:00:01")
    netlink.add_veth("veth0", peer_name="peer0", mac=HOST_MAC, master=bridge.index)
    assert shown(node, "cni0")["address"] == "0e:00:00:00:00:01"


def test_a_veth_is_born_where_it_belongs(node: Node, netlink: Netlink) -> None:
    pod = node.container()
    netns = Netns.open(pod.path)
    bridge = netlink.add_bridge("cni0")
    made = netlink.add_veth(
        "veth0", peer_name="eth0", peer_netns=netns.fd, mtu=1400, mac=HOST_MAC, peer_mac=POD_MAC,
        master=bridge.index, alias="whose it is ä", hairpin=True, isolated=True,
    )  # fmt: skip
    host, inside = shown(node, "veth0"), shown(pod, "eth0")
    assert (host["address"], host["mtu"], host["master"], host["ifalias"]) == (HOST_MAC, 1400, "cni0", "whose it is ä")
    assert (inside["address"], inside["mtu"], inside["ifindex"]) == (POD_MAC, 1400, made.peer_index)
    port = host["linkinfo"]["info_slave_data"]
    assert (port["hairpin"], port["isolated"]) == (True, True)
    assert "UP" in host["flags"]
    read = netlink.link(name="veth0")
    assert read is not None
    assert (read.alias, read.hairpin, read.isolated, read.master) == ("whose it is ä", True, True, bridge.index)
    assert (made.alias, made.hairpin, made.isolated, made.index) == (read.alias, True, True, read.index)
    netns.close()


def test_a_port_gets_no_address_that_nobody_can_use(node: Node, netlink: Netlink) -> None:
    """A hundred ports would have three hundred routes, all of which the kernel goes through whenever a link goes."""
    bridge = netlink.add_bridge("cni0")
    netlink.add_veth("port", peer_name="peer", master=bridge.index)
    netlink.add_veth("alone", peer_name="other")
    assert [shown(node, name)["inet6_addr_gen_mode"] for name in ("port", "alone")] == ["none", "eui64"]


def test_a_name_that_is_taken_inside_leaves_nothing_outside(node: Node, netlink: Netlink) -> None:
    pod = node.container()
    pod.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other"])
    netns = Netns.open(pod.path)
    with pytest.raises(NetlinkError, match="cannot create veth veth0 with its other end eth0: File exists") as refused:
        netlink.add_veth("veth0", peer_name="eth0", peer_netns=netns.fd, alias="mine")
    assert refused.value.errno == errno.EEXIST
    assert netlink.link(name="veth0") is None
    netns.close()


def test_somebody_elses_link_of_that_name_is_not_touched(node: Node, netlink: Netlink) -> None:
    node.run(["ip", "link", "add", "veth0", "type", "veth", "peer", "name", "other"])
    node.run(["ip", "link", "set", "veth0", "alias", "theirs"])
    with pytest.raises(NetlinkError, match="File exists"):
        netlink.add_veth("veth0", peer_name="eth9", alias="mine", hairpin=True)
    assert shown(node, "veth0")["ifalias"] == "theirs"


def test_what_ip_changes_is_read(node: Node, netlink: Netlink) -> None:
    for command in (
        "link add br0 type bridge", "link add a0 mtu 1300 address 02:00:00:00:00:0a type veth peer name b0", "link set a0 master br0",
        "link set a0 up", "link set b0 up promisc on", "link set a0 group 7 alias hello", "link set a0 type bridge_slave hairpin on",
    ):  # fmt: skip
        node.run(["ip", *command.split()])
    a0, b0, lo = netlink.link(name="a0"), netlink.link(name="b0"), netlink.link(name="lo")
    assert a0 is not None
    assert b0 is not None
    assert lo is not None
    assert (a0.kind, a0.mtu, a0.mac, a0.up, a0.group, a0.alias) == ("veth", 1300, "02:00:00:00:00:0a", True, 7, "hello")
    assert (a0.hairpin, a0.isolated, a0.promisc, b0.promisc) == (True, False, False, True)
    assert (a0.peer_index, b0.peer_index, lo.kind, lo.up) == (b0.index, a0.index, "", True)
    assert netlink.link(index=a0.index).name == "a0"  # type: ignore[union-attr]


def test_what_is_changed_here_is_what_ip_shows(node: Node, netlink: Netlink) -> None:
    bridge = netlink.add_bridge("br0")
    link = netlink.add_veth("a0", peer_name="b0", up=False)
    assert "UP" not in shown(node, "a0")["flags"]
    netlink.set_link(link.index, up=True, promisc=True, master=bridge.index, mtu=1234, mac=HOST_MAC, alias="x")
    seen = shown(node, "a0")
    assert (seen["mtu"], seen["address"], seen["master"], seen["ifalias"]) == (1234, HOST_MAC, "br0", "x")
    assert {"UP", "PROMISC"} <= set(seen["flags"])
    netlink.set_port(link.index, isolated=True)
    netlink.set_link(link.index, promisc=False)
    seen = shown(node, "a0")
    assert seen["linkinfo"]["info_slave_data"]["isolated"]
    assert not seen["linkinfo"]["info_slave_data"]["hairpin"]
    assert "PROMISC" not in seen["flags"]
    netlink.set_link(link.index, up=False, master=0, alias="")
    netlink.set_link(link.index, name="c0")
    seen = shown(node, "c0")
    assert "UP" not in seen["flags"]
    assert "master" not in seen
    assert "ifalias" not in seen


def test_a_link_is_moved_to_another_namespace(node: Node, netlink: Netlink) -> None:
    pod = node.container()
    netns = Netns.open(pod.path)
    link = netlink.add_veth("a0", peer_name="b0")
    netlink.set_link(link.index, netns_fd=netns.fd)
    assert netlink.link(name="a0") is None
    assert netns.netlink().link(name="a0") is not None
    netns.close()


def test_links_are_chosen_by_kind_and_by_bridge(node: Node, netlink: Netlink) -> None:
    bridge = netlink.add_bridge("br0")
    for n in range(3):
        netlink.add_veth(f"a{n}", peer_name=f"b{n}", master=bridge.index)
    assert [link.name for link in netlink.links(master=bridge.index)] == ["a0", "a1", "a2"]
    assert [link.name for link in netlink.links(kind="bridge")] == ["br0"]
    assert netlink.links(kind="no-such-kind") == []
    assert len(netlink.links()) == 8


def test_many_links_are_deleted_and_others_stay(node: Node, netlink: Netlink) -> None:
    kept = netlink.add_veth("kept", peer_name="kept-peer")
    doomed = [netlink.add_veth(f"a{n}", peer_name=f"b{n}").index for n in range(100)]
    netlink.delete_links([*doomed, 9999])
    assert {link.name for link in netlink.links()} == {"lo", "kept", "kept-peer"}
    netlink.delete_links([kept.index])
    netlink.delete_links([])
    assert [link.name for link in netlink.links()] == ["lo"]


def test_deleting_what_is_gone_is_no_error(node: Node, netlink: Netlink) -> None:
    link = netlink.add_veth("a0", peer_name="b0")
    assert netlink.delete_link(link.index)
    assert not netlink.delete_link(link.index)
    assert netlink.link(name="a0") is None


def test_a_list_is_whole_while_links_come_and_go(node: Node, netlink: Netlink, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump that changes while it is read is taken again (plugins#1121), and never comes back short or doubled."""
    other = Netlink()
    stable = {netlink.add_veth(f"stable{n}", peer_name=f"peer{n}").name for n in range(150)}
    receive, taken = calls.netlink_receive, []

    def meanwhile(channel: socket) -> bytes:
        part = receive(channel)
        taken.append(part)
        if len(taken) in (1, 5, 9):
            with monkeypatch.context() as genuine:
                genuine.setattr(calls, "netlink_receive", receive)
                other.delete_link(other.add_veth("coming", peer_name="going").index)
        return part

    monkeypatch.setattr(calls, "netlink_receive", meanwhile)
    names = [link.name for link in netlink.links(kind="veth")]
    assert stable <= set(names)
    assert len(names) == len(set(names))
    alone = len(taken)
    netlink.links(kind="veth")
    assert alone >= 2 * (len(taken) - alone) > 2, "it was taken in parts, and more than once"
    other.close()
