"""Netfilter's own netlink messages (linux/netfilter/nfnetlink.h), for what libnftables has no words for, or takes long over.

A message is the netlink header, an address family, and attributes: pairs of a number and bytes, which may hold attributes again.
"""

from __future__ import annotations

from _socket import SOL_SOCKET, socket
from _struct import pack, pack_into, unpack_from
from errno import EAGAIN, ENOBUFS

from cni_plugins.kernel import calls
from cni_plugins.kernel.attributes import parse
from cni_plugins.kernel.rtnl import NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, Channel, NetlinkError, Request, complaint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

NFTABLES = 10
"""The subsystem that has transactions."""
_HEADERS = 20
_FLAGS = 6
_ROOM = 1 << 16
_SO_SNDBUFFORCE = 32
"""A message that is larger than what a socket may send at once needs more room: that of any socket is twice _ROOM or more."""
_BATCH_BEGIN, _BATCH_END = 16, 17


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

    def transact(self, *requests: Request) -> list[NetlinkError]:
        """Have nftables carry out all of these requests, or none. Returns what was refused: nothing when all of it was done.

        The kernel answers those that it refuses, and the last one, which alone asks for that; or the beginning for all of them.
        Raises NetlinkError when nobody knows what became of them.
        """
        pack_into("H", requests[-1].data, _FLAGS, unpack_from("H", requests[-1].data, _FLAGS)[0] | NLM_F_ACK)
        every = [_limit(_BATCH_BEGIN), *requests, _limit(_BATCH_END)]
        size = sum(len(request.data) for request in every)
        if size > _ROOM:
            self._socket.setsockopt(SOL_SOCKET, _SO_SNDBUFFORCE, size)
        refused: list[NetlinkError] = []
        self.broken = True  # until the end of the answers
        first = self._send(every)
        while self.broken:
            for place, errno in self._answers(first, len(requests), known=bool(refused)):
                if errno:
                    refused.append(NetlinkError(errno, every[place].what))
                if place in (0, len(requests)):
                    self.broken = False
        return refused

    def _answers(self, first: int, last: int, *, known: bool) -> list[tuple[int, int]]:
        """What the next datagram says of messages, counted from number `first`: (place, errno or 0).

        When more was refused than the socket's buffer holds, the rest is lost, the last answer too. It is not missed where a refusal is
        `known`: nothing was done.
        """
        try:
            datagram = list(self._receive("change nftables"))
        except NetlinkError as error:
            if error.errno == EAGAIN and known:
                return [(last, 0)]
            if error.errno != ENOBUFS:
                raise
            datagram = list(self._receive("change nftables"))  # those before the loss are still to be read
        found = [(sequence - first, complaint(answer, flags)[0]) for kind, flags, sequence, answer in datagram if kind == NLMSG_ERROR]
        return [(place, errno) for place, errno in found if 0 <= place <= last]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def message(
    subsystem: int, kind: int, what: str, *, family: int, attributes: bytes, flags: int = NLM_F_ACK, tolerated: Sequence[int] = ()
) -> Request:
    """A request of `kind` to a `subsystem` of netfilter; `flags` are NLM_F_*, `what` says in words what is attempted."""
    flags |= NLM_F_REQUEST
    header = pack("IHHII", _HEADERS + len(attributes), subsystem << 8 | kind, flags, 0, 0)
    return Request(bytearray(header + pack("BBH", family, 0, 0) + attributes), what, tolerated)


def _limit(kind: int) -> Request:
    """The beginning or the end of a transaction."""
    header = pack("IHHII", _HEADERS, kind, NLM_F_REQUEST, 0, 0)
    return Request(bytearray(header + pack(">BBH", 0, 0, NFTABLES)), "change nftables", ())


def attributes_of(answer: bytes) -> dict[int, bytes]:
    """The attributes of a whole message."""
    return parse(answer[_HEADERS:])
