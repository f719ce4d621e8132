"""The attributes of netlink messages (RFC 3549, section 2.2): type, length, value, padded to four bytes; some hold others.

pyroute2 knows what each of them means, and takes a third of a millisecond to say so of one link. Where a call reads many messages,
or messages that it has no layout for, the few attributes that are wanted are picked out here.
"""

from __future__ import annotations

from _struct import pack, unpack_from

_NESTED = 0x8000
_KIND = 0x3FFF


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return pack("HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds others."""
    return attribute(kind | _NESTED, b"".join(attributes))


def parse(data: bytes, start: int = 0) -> dict[int, bytes]:
    """The attributes in `data` from `start` on, by their numbers; of those that come twice the last."""
    found, offset, end = {}, start, len(data)
    while offset + 4 <= end:
        length, kind = unpack_from("HH", data, offset)
        found[kind & _KIND] = data[offset + 4 : offset + length]
        offset += (max(length, 4) + 3) & ~3
    return found


def number(value: bytes) -> int:
    """An integer in the machine's byte order; 0 for an attribute that is not there (an empty value)."""
    return int.from_bytes(value, "little" if _LITTLE else "big")


def text(value: bytes) -> str:
    """A string, which ends with a zero byte."""
    return value.partition(b"\0")[0].decode("utf-8", "replace")


_LITTLE = pack("H", 1) == b"\1\0"
