"""Settings of links are read and changed one by one, and a namespace is told from one that took its place."""

from __future__ import annotations

import errno

import pytest

from cni_plugins.kernel import tunables
from cni_plugins.kernel.netlink import Netlink, NetlinkError
from cni_plugins.kernel.netns import Netns
from tests.netns.plugins.tuning.tuned import LINK
from tests.support.node import Node


def test_what_is_set_is_read_again(node: Node, netlink: Netlink) -> None:
    made = netlink.add_bridge("br0")
    link = tunables.read(netlink, name="br0")
    assert link is not None
    assert (link.index, link.tunables["mac"], link.tunables["promisc"]) == (made.index, made.mac, False)
    tunables.change(netlink, link, LINK)
    again = tunables.read(netlink, index=made.index)
    assert again is not None
    assert again.tunables == LINK
    tunables.change(netlink, again, link.tunables)
    assert vars_of(tunables.read(netlink, name="br0")) == vars_of(link)


def test_one_that_is_refused_keeps_no_other_from_being_set(node: Node, netlink: Netlink) -> None:
    netlink.add_bridge("br0")
    link = tunables.read(netlink, name="br0")
    assert link is not None
    with pytest.raises(NetlinkError, match="set mtu to 10: ") as refused:
        tunables.change(netlink, link, {"mtu": 10, "txQLen": 7})
    assert refused.value.errno == errno.EINVAL
    again = tunables.read(netlink, name="br0")
    assert again is not None
    assert again.tunables["txQLen"] == 7
    tunables.change(netlink, link, {"mtu": 10}, tolerated=[errno.EINVAL])


def test_no_link_is_none(netlink: Netlink) -> None:
    assert tunables.read(netlink, name="none0") is None
    assert tunables.read(netlink, index=999) is None


def test_namespace_that_is_made_anew_has_another_cookie(node: Node) -> None:
    cookies = []
    for _ in range(2):
        container = node.container("pod")
        netns = Netns.open(container.path)
        cookies += [tunables.cookie(netns), tunables.cookie(netns)]
        netns.close()
        container.delete()
    assert cookies[0] == cookies[1] != cookies[2] == cookies[3]
    assert all(cookies)


def vars_of(link: tunables.TunedLink | None) -> tuple[int, object] | None:
    """A link as a value."""
    return None if link is None else (link.index, link.tunables)
