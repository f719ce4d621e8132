"""Links, addresses, routes and VLANs of one network namespace, by way of the kernel's routing socket.

    netlink = Netlink()                      # speaks to the namespace of the thread that makes it, from then on
    bridge = netlink.add_bridge("cni0", mac="02:…")
    veth = netlink.add_veth("veth1", peer_name="eth0", peer_netns=fd, master=bridge.index)
    with inside.batch():                     # the Netlink of the other namespace: one request for all
        inside.set_link(veth.peer_index, up=True)
        inside.add_address(veth.peer_index, parse_cidr("10.1.0.2/16"))
        inside.add_route(Route(None, gateway=parse_address("10.1.0.1")))

What does not exist is None, False or an empty list; everything else that the kernel refuses is a NetlinkError, which says what was
attempted and the kernel's own reason.
"""

from __future__ import annotations

from cni_plugins.kernel.addresses import IFA_F_DADFAILED, IFA_F_NODAD, IFA_F_TENTATIVE, Address, Addresses
from cni_plugins.kernel.links import Link, Links
from cni_plugins.kernel.routes import SCOPE_LINK, SCOPE_UNIVERSE, TABLE_MAIN, Route, Routes
from cni_plugins.kernel.rtnl import NetlinkError
from cni_plugins.kernel.vlans import Vlan, Vlans

__all__ = [
    "IFA_F_DADFAILED",
    "IFA_F_NODAD",
    "IFA_F_TENTATIVE",
    "SCOPE_LINK",
    "SCOPE_UNIVERSE",
    "TABLE_MAIN",
    "Address",
    "Link",
    "Netlink",
    "NetlinkError",
    "Route",
    "Vlan",
]


class Netlink(Links, Addresses, Routes, Vlans):
    """A blocking netlink socket in the network namespace of the thread that makes it; for one thread at a time."""

    __slots__ = ()
