"""Netfilter's own netlink messages (linux/netfilter/nfnetlink.h), for questions that libnftables has no answer to, or a dear one.

A message is the netlink header, an address family, and attributes: pairs of a number and bytes, which may hold attributes again.
"""

from __future__ import annotations

from _socket import socket
from _struct import pack

from cni_plugins.kernel import calls
from cni_plugins.kernel.attributes import parse
from cni_plugins.kernel.rtnl import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Channel, NetlinkError, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

_HEADERS = 20


class Nfnetlink(Channel):
    """A socket of netfilter in the network namespace of the thread that makes it: `with Nfnetlink() as netfilter: …`.

    Raises NetlinkError for all that the kernel refuses.
    """

    __slots__ = ()

    def __init__(self) -> None:
        try:
            self._socket = socket(fileno=calls.netfilter_socket())
        except OSError as error:
            raise NetlinkError(error.errno or 0, "open a socket of netfilter") from error
        self._sequence = 0
        self.broken = False
        self.collecting = False
        self.collected: list[Request] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def message(
    subsystem: int, kind: int, what: str, *, family: int, attributes: bytes, dump: bool = False, tolerated: Sequence[int] = ()
) -> Request:
    """A request of `kind` to a `subsystem` of netfilter; `dump` asks for a list, `what` says in words what is attempted."""
    flags = NLM_F_REQUEST | NLM_F_ACK | (NLM_F_DUMP if dump else 0)
    header = pack("IHHII", _HEADERS + len(attributes), subsystem << 8 | kind, flags, 0, 0)
    return Request(bytearray(header + pack("BBH", family, 0, 0) + attributes), what, tolerated)


def attributes_of(answer: bytes) -> dict[int, bytes]:
    """The attributes of a whole message."""
    return parse(answer[_HEADERS:])
