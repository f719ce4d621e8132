"""The attributes of netlink messages (RFC 3549, section 2.2): type, length, value, padded to four bytes; some hold others.

Where a call reads many messages, or ones that no other call has to do with, what is wanted of them is packed and picked out here; for all
others there are tables (see codec.py), which cost a little more and say more.
"""

from __future__ import annotations

from _struct import Struct, pack

_NESTED = 0x8000
_KIND = 0x3FFF
_HEAD = Struct("HH")
_read_head = _HEAD.unpack_from
_pack_head = _HEAD.pack


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _pack_head(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds others."""
    return attribute(kind | _NESTED, b"".join(attributes))


def listed(data: bytes, start: int = 0) -> list[tuple[int, bytes]]:
    """The attributes in `data` from `start` on, one by one: some kinds come many times."""
    found, offset, end = [], start, len(data) - 4
    while offset <= end:
        length, kind = _read_head(data, offset)
        found.append((kind & _KIND, data[offset + 4 : offset + length]))
        offset += (length + 3) & ~3 if length > 4 else 4
    return found


def parse(data: bytes, start: int = 0) -> dict[int, bytes]:
    """The attributes in `data` from `start` on, by their numbers; of those that come twice the last."""
    return dict(listed(data, start))


def number(value: bytes) -> int:
    """An integer in the machine's byte order; 0 for an attribute that is not there (an empty value)."""
    return int.from_bytes(value, "little" if _LITTLE else "big")


def text(value: bytes) -> str:
    """A string, which ends with a zero byte."""
    return value.partition(b"\0")[0].decode("utf-8", "replace")


_LITTLE = pack("H", 1) == b"\1\0"
