"""What can be set about a link of any kind, by the names that the tuning plugin's configuration and state files have for it:

mac        hardware address, "02:00:5e:10:00:01"
mtu        size in bytes of the largest packet
txQLen     length in packets of the transmit queue
promisc    takes every frame (IFF_PROMISC, as somebody set it: a packet capture does not count)
allmulti   takes every multicast frame (IFF_ALLMULTI)
"""

from __future__ import annotations

from _socket import SOL_SOCKET
from _struct import unpack
from errno import ENODEV

from cni_plugins.kernel import calls
from cni_plugins.kernel.links import IFF_PROMISC
from cni_plugins.kernel.rtnl import RTM_GETLINK, RTM_SETLINK, attributes, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from cni_plugins.kernel.netns import Netns
    from cni_plugins.kernel.rtnl import Channel

    Tunables = dict[str, Any]

IFF_ALLMULTI = 0x200
_FLAGS = {"promisc": IFF_PROMISC, "allmulti": IFF_ALLMULTI}
_ATTRIBUTES = {"mac": "IFLA_ADDRESS", "mtu": "IFLA_MTU", "txQLen": "IFLA_TXQLEN"}
_WANTED = {attribute: name for name, attribute in _ATTRIBUTES.items()}
_SO_NETNS_COOKIE = 71


class TunedLink:
    """A link's `index` and its `tunables`, by name."""

    __slots__ = ("index", "tunables")

    def __init__(self, index: int, tunables: Tunables) -> None:
        self.index = index
        self.tunables = tunables


def read(channel: Channel, *, name: str = "", index: int = 0) -> TunedLink | None:
    """Find one link by its name or by its index; None if it does not exist. Raises NetlinkError."""
    attrs = [["IFLA_IFNAME", name]] if name else []
    what = f"look up link {name or index}"
    answer = channel.ask(encode("ifinfmsg", RTM_GETLINK, what, fields={"index": index}, attrs=attrs, tolerated=(ENODEV,)))[0]
    if not answer:
        return None
    decoded = decode("ifinfmsg", answer[0])
    flags = {name: bool(decoded["flags"] & flag) for name, flag in _FLAGS.items()}
    return TunedLink(decoded["index"], attributes(decoded, _WANTED) | flags)


def change(channel: Channel, link: TunedLink, wanted: Mapping[str, Any], *, tolerated: Sequence[int] = ()) -> None:
    """Give a link what it has not yet of `wanted`. Raises NetlinkError unless its errno is one of `tolerated`.

    Each is a request of its own, so that one that is refused keeps no other from being carried out.
    """
    requests = []
    for name, value in wanted.items():
        if link.tunables.get(name) == value:
            continue
        flag = _FLAGS.get(name, 0)
        fields = {"index": link.index, "flags": flag if value else 0, "change": flag}
        attrs = [[_ATTRIBUTES[name], value]] if name in _ATTRIBUTES else []
        what = f"set {name} to {value}"
        requests.append(encode("ifinfmsg", RTM_SETLINK, what, fields=fields, attrs=attrs, tolerated=tolerated))
    if requests:
        channel.ask(*requests)


def cookie(netns: Netns) -> int:
    """The number of a network namespace that no other gets until the node restarts, while paths and inodes are used again.

    0 where the kernel (before 5.14) has none. Raises OSError, or KernelRefused when the namespace cannot be entered.
    """
    with netns.inside():
        channel = calls.netlink_socket()
        try:
            (number,) = unpack("Q", channel.getsockopt(SOL_SOCKET, _SO_NETNS_COOKIE, 8))
        except OSError:
            return 0
        finally:
            channel.close()
    return int(number)
