"""Reading the kernel's tables over rtnetlink: the few message formats that the ledger needs (RFC 3549, linux/rtnetlink.h)."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

RTM_GETLINK = 18
RTM_GETADDR = 22
RTM_GETROUTE = 26
RTM_GETNEIGH = 30
RTM_GETRULE = 34
RTM_GETQDISC = 38

Attributes = dict[int, bytes]

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_DUMP = 0x301
_NLM_F_DUMP_INTR = 0x10
_NESTED = 0x3FFF
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_BUFFER = 1 << 18


class Reader:
    """A socket for dumps, in the network namespace that the thread is in when it is made. Use it as a context manager."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def dump(self, message: int, header: struct.Struct, request: bytes = b"") -> list[tuple[tuple[int, ...], Attributes]]:
        """Read a whole table: for each row the fields of its fixed header, and its attributes by number.

        `message` is an RTM_GET… number, `header` the layout of that message's fixed part, `request` its contents that select what is asked
        for (the first byte is the address family). Interrupted dumps are repeated.
        Raises OSError with the kernel's number.
        """
        request = request.ljust(header.size, b"\0")
        while True:
            self._socket.send(_HEADER.pack(_HEADER.size + len(request), message, _NLM_F_DUMP, 0, 0) + request)
            rows, interrupted = self._answer(header)
            if not interrupted:
                return rows

    def _answer(self, header: struct.Struct) -> tuple[list[tuple[tuple[int, ...], Attributes]], bool]:
        rows: list[tuple[tuple[int, ...], Attributes]] = []
        interrupted = False
        while True:
            data = self._socket.recv(_BUFFER)
            offset = 0
            while offset < len(data):
                length, kind, flags, _, _ = _HEADER.unpack_from(data, offset)
                interrupted |= bool(flags & _NLM_F_DUMP_INTR)
                start = offset + _HEADER.size
                if kind == _NLMSG_DONE:
                    return rows, interrupted
                if kind == _NLMSG_ERROR:
                    number = -struct.unpack_from("=i", data, start)[0]
                    raise OSError(number, f"netlink dump: {os.strerror(number)}")
                rows.append((header.unpack_from(data, start), attributes(data[start + header.size : offset + length])))
                offset += length + 3 & ~3


def attributes(data: bytes) -> Attributes:
    """Take a sequence of attributes apart: number (without the flags in its upper bits) to value."""
    return dict(attribute_list(data))


def attribute_list(data: bytes) -> Iterator[tuple[int, bytes]]:
    """As `attributes`, for sequences in which a number comes more than once."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        yield kind & _NESTED, data[offset + _ATTRIBUTE.size : offset + length]
        offset += max(length, _ATTRIBUTE.size) + 3 & ~3


def number(data: bytes | None, default: int = 0) -> int:
    """An attribute's value as an unsigned number in the machine's byte order."""
    return int.from_bytes(data, "little" if struct.pack("=H", 1)[0] else "big") if data else default


def text(data: bytes | None) -> str:
    """An attribute's value as text, without its closing zero."""
    return data.rstrip(b"\0").decode(errors="replace") if data else ""


def address(data: bytes | None) -> str:
    """An attribute's value as an IP address (4 or 16 bytes) or a hardware address (any other length); empty if there is none."""
    if not data:
        return ""
    if len(data) in (4, 16):
        return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)
    return ":".join(f"{byte:02x}" for byte in data)
