"""Where the node would send a packet: the kernel's own answer for one address (RTM_GETROUTE), whatever tables and rules lead to it."""

from __future__ import annotations

from errno import EACCES, EHOSTUNREACH, EINVAL, ENETUNREACH

from cni_plugins.kernel.addresses import AF
from cni_plugins.kernel.rtnl import RTM_GETROUTE, Channel, attributes, decode, encode
from cni_plugins.protocol.ip import BITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.protocol.ip import Cidr

_LOCAL = 2
_NOWHERE = (ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL)
"""No route; and what routes of the types unreachable, prohibit and blackhole answer."""


class Destination:
    """What becomes of a packet to an address: it leaves through the link `index`, or is for the node itself (`local`)."""

    __slots__ = ("index", "local")

    def __init__(self, index: int, *, local: bool) -> None:
        self.index = index
        self.local = local


def destination(netlink: Channel, address: Cidr) -> Destination | None:
    """Ask the kernel for its route to an address; None if there is none. Raises NetlinkError."""
    request = encode(
        "rtmsg",
        RTM_GETROUTE,
        f"find the route to {address.address}",
        fields={"family": AF[address.family], "dst_len": BITS[address.family]},
        attrs=[["RTA_DST", address.address]],
        tolerated=_NOWHERE,
    )
    answers = netlink.ask(request)[0]
    if not answers:
        return None
    route = decode("rtmsg", answers[0])
    return Destination(attributes(route, {"RTA_OIF": "index"}).get("index", 0), local=route["type"] == _LOCAL)
