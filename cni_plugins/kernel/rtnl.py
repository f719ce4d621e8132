"""Talking to the kernel's routing socket (rtnetlink(7)): requests, their acknowledgements, dumps.

One blocking socket, one thread. Every request asks for an acknowledgement and every acknowledgement is looked at; several
requests may go out in one datagram, which the kernel works through in order. It goes on after one that fails: so nothing may be
put behind a request that would do harm if that one was refused.

A dump that the kernel could not make in one piece, since something changed meanwhile, is marked by it (NLM_F_DUMP_INTR) and is
taken again (containernetworking/plugins#1121).
"""

from __future__ import annotations

from _struct import pack, pack_into, unpack_from
from errno import EINTR
from posix import strerror

from cni_plugins.kernel import calls
from cni_plugins.kernel.layouts import LAYOUTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any

    from cni_plugins.kernel.codec import Message

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x4, 0x10
NLM_F_DUMP = 0x300
NLM_F_EXCL, NLM_F_CREATE = 0x200, 0x400
NLM_F_ACK_TLVS = 0x200

NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLMSGERR_ATTR_MSG = 1
_HEADER = 16
_PER_SEND = 64
"""Acknowledgements wait in the socket's buffer until we read them: more would overflow it."""
_DUMP_ATTEMPTS = 20


class NetlinkError(OSError):
    """The kernel refused a request: `errno`, `what` was attempted, and what the kernel `said` about it (may be empty)."""

    def __init__(self, errno: int, what: str, said: str = "") -> None:
        super().__init__(errno, strerror(errno))
        self.what = what
        self.said = said

    def __str__(self) -> str:
        reason = f"{self.strerror}: {self.said}" if self.said else self.strerror
        return f"cannot {self.what}: {reason}"


class Request:
    """One message to the kernel, encoded, and what it attempts in words; errors in `tolerated` make its answer None."""

    __slots__ = ("data", "tolerated", "what")

    def __init__(self, data: bytearray, what: str, tolerated: Sequence[int]) -> None:
        self.data = data
        self.what = what
        self.tolerated = tolerated


def encode(
    layout: str,
    kind: int,
    what: str,
    *,
    fields: Mapping[str, int],
    attrs: Sequence[Sequence[Any]] = (),
    flags: int = 0,
    tolerated: Sequence[int] = (),
) -> Request:
    """A request whose body has the `layout` of that name (see layouts.py).

    `kind` is one of RTM_*, `what` says what is attempted ("delete link veth1"), `fields` and `attrs` are what the layout packs,
    `flags` are NLM_F_* beside the two that every request has.
    """
    body = LAYOUTS[layout].pack({**fields, "attrs": attrs})
    header = pack("IHHII", _HEADER + len(body), kind, NLM_F_REQUEST | NLM_F_ACK | flags, 0, 0)
    return Request(bytearray(header + body), what, tolerated)


def decode(layout: str, data: bytes) -> Message:
    """Read one message; its attributes are decoded when they are asked for."""
    return LAYOUTS[layout].read(data, _HEADER)


def attributes(message: Message, wanted: Mapping[str, str]) -> dict[str, Any]:
    """Pick attributes out of a message (or of a nested one): {our name: value} for {the kernel's name: our name}."""
    return {ours: value for name, ours in wanted.items() if (value := message.get_attr(name)) is not None}


def split(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Take a datagram apart: (type, flags, sequence number, message with its header)."""
    offset = 0
    while offset + _HEADER <= len(datagram):
        length, kind, flags, sequence = unpack_from("IHHI", datagram, offset)
        yield kind, flags, sequence, datagram[offset : offset + length]
        offset += (max(length, _HEADER) + 3) & ~3


def complaint(message: bytes, flags: int) -> tuple[int, str]:
    """Read an acknowledgement: (errno or 0, the kernel's text); the header of the request comes back between them."""
    (negative,) = unpack_from("i", message, _HEADER)
    offset = _HEADER + 4 + _HEADER
    while flags & NLM_F_ACK_TLVS and offset + 4 <= len(message):
        length, kind = unpack_from("HH", message, offset)
        if kind == _NLMSGERR_ATTR_MSG:
            return -negative, message[offset + 4 : offset + length].rstrip(b"\0").decode("utf-8", "replace")
        offset += (max(length, 4) + 3) & ~3
    return -negative, ""


class Batch:
    """While open, what changes something is collected, and is sent at the end; see `Channel.batch`."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def __enter__(self) -> None:
        self._channel.collecting = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._channel.collecting = False
        collected, self._channel.collected = self._channel.collected, []
        if kind is None:
            self._channel.ask(*collected)


class Channel:
    """A routing socket in the network namespace of the thread that made it. Raises NetlinkError for all that the kernel refuses.

    `broken` when an error or a signal left a list half read: nobody knows how much of it is still to come, so that another one
    needs another socket. Changes and single look-ups still work.
    """

    __slots__ = ("_sequence", "_socket", "broken", "collected", "collecting")

    def __init__(self) -> None:
        try:
            self._socket = calls.netlink_socket()
        except OSError as error:
            raise NetlinkError(error.errno or 0, "open a netlink socket") from error
        self._sequence = 0
        self.broken = False
        self.collecting = False
        self.collected: list[Request] = []

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def batch(self) -> Batch:
        """Send several changes as one: `with netlink.batch(): netlink.add_address(…); netlink.add_route(…)`.

        They go out when the block ends, in order, and the first refusal is raised then; the kernel has carried out the others
        all the same. Reading within the block sends first what has been collected. An exception in the block discards it.
        """
        return Batch(self)

    def tell(self, request: Request) -> bool:
        """Send a change, or collect it while a batch is open. Returns False if it ended in an error that it tolerates."""
        if self.collecting:
            self.collected.append(request)
            return True
        return self.ask(request)[0] is not None

    def ask(self, *requests: Request) -> list[list[bytes] | None]:
        """Send requests (after those collected) and return, for each, the messages that answer it, or None if it was tolerated.

        Raises NetlinkError for the first that was refused, when all have been answered.
        """
        collected, self.collected = self.collected, []
        every = [*collected, *requests]
        answers: list[list[bytes] | None] = []
        refused: list[NetlinkError] = []
        for start in range(0, len(every), _PER_SEND):
            self._exchange(every[start : start + _PER_SEND], answers, refused)
        if refused:
            raise refused[0]
        return answers[len(collected) :]

    def _exchange(self, requests: Sequence[Request], answers: list[list[bytes] | None], refused: list[NetlinkError]) -> None:
        first = self._send(requests)
        messages: list[list[bytes]] = [[] for _ in requests]
        waiting = len(requests)
        while waiting:
            for kind, flags, sequence, message in self._receive(requests[0].what):
                place = sequence - first
                if not 0 <= place < len(requests):
                    continue
                if kind != NLMSG_ERROR:
                    messages[place].append(message)
                    continue
                waiting -= 1
                errno, said = complaint(message, flags)
                answers.append(None if errno else messages[place])
                if errno and errno not in requests[place].tolerated:
                    refused.append(NetlinkError(errno, requests[place].what, said))

    def _send(self, requests: Sequence[Request]) -> int:
        first = self._sequence + 1
        for request in requests:
            self._sequence += 1
            pack_into("I", request.data, 8, self._sequence)
        try:
            calls.netlink_send(self._socket, b"".join([request.data for request in requests]))
        except OSError as error:
            raise NetlinkError(error.errno or 0, requests[0].what, "the request could not be sent") from error
        return first

    def _receive(self, what: str) -> Iterator[tuple[int, int, int, bytes]]:
        """Wait for the next datagram and take it apart; what a failed one would have said stays unknown."""
        try:
            return split(calls.netlink_receive(self._socket))
        except OSError as error:
            raise NetlinkError(error.errno or 0, what, "the kernel's answer could not be read") from error

    def dump(self, request: Request) -> list[bytes]:
        """Send a request for a list and return its messages; taken again while the kernel says that they do not fit together."""
        if self.collected:
            self.ask()
        for _attempt in range(_DUMP_ATTEMPTS):
            messages = self._dump_once(request)
            if messages is not None:
                return messages
        raise NetlinkError(EINTR, request.what, "it kept changing while it was read")

    def _dump_once(self, request: Request) -> list[bytes] | None:
        self.broken = True  # until its end has been read: the kernel starts no other dump on this socket before
        number = self._send([request])
        found: list[bytes] = []
        whole = True
        while self.broken:
            for kind, flags, sequence, message in self._receive(request.what):
                if sequence != number:
                    continue
                whole = whole and not flags & NLM_F_DUMP_INTR
                if kind not in (_NLMSG_DONE, NLMSG_ERROR):
                    found.append(message)
                    continue
                self.broken = False
                errno, said = complaint(message, flags) if kind == NLMSG_ERROR else (-unpack_from("i", message, _HEADER)[0], "")
                if errno == EINTR:
                    return None
                if errno and errno not in request.tolerated:
                    raise NetlinkError(errno, request.what, said)
        return found if whole else None
