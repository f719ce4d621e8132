"""Routing messages (rtnetlink(7)) packed and read by tables: a layout names the fields of a message's header and its attributes.

    LINK = Layout("BxHiII", ("family", "type", "index", "flags", "change"), {"IFLA_IFNAME": (3, TEXT), "IFLA_LINKINFO": (18, INFO), …})
    LINK.pack({"index": 7, "attrs": [["IFLA_IFNAME", "veth1"]]})        # the bytes behind netlink's own header
    LINK.read(message, start=16).get_attr("IFLA_IFNAME")

Names are the kernel's. The layouts are in layouts.py; what they have no name for is passed over in what the kernel sends. Nothing is
decoded before it is asked for.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from _struct import Struct

from cni_plugins.kernel.attributes import attribute, listed, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any


class Value:
    """What an attribute holds that holds no others: `pack` makes bytes of it, `read` makes it of bytes."""

    __slots__ = ("pack", "read")

    def __init__(self, pack: Callable[[Any], bytes], read: Callable[[bytes], Any]) -> None:
        self.pack = pack
        self.read = read


class Layout:
    """A header (`form` is that of struct), whose integers are the `fields`, and attributes behind it: name -> (number, what it holds).

    Of a message, or of an attribute's value; either part may be empty.
    """

    __slots__ = ("attributes", "fields", "header")

    def __init__(
        self, form: str = "", fields: tuple[str, ...] = (), attributes: Mapping[str, tuple[int, Value | Layout]] | None = None
    ) -> None:
        self.header = Struct(form)
        self.fields = fields
        self.attributes = attributes or {}

    def pack(self, value: Mapping[str, Any]) -> bytes:
        """Bytes of the fields by their names (0 where left out) and, under "attrs", pairs of an attribute's name and its value."""
        packed = self.header.pack(*[value.get(field, 0) for field in self.fields])
        for name, content in value.get("attrs", ()):
            number, holds = self.attributes[name]
            packed += attribute(number, holds.pack(content))
        return packed

    def read(self, data: bytes, start: int = 0) -> Message:
        """What is in `data` from `start` on."""
        return Message(self, data, start)


class Message:
    """What was read by a layout: `message["index"]` is a field of the header, `message.get_attr("IFLA_MTU")` an attribute."""

    __slots__ = ("_attributes", "_layout", "_values")

    def __init__(self, layout: Layout, data: bytes, start: int) -> None:
        self._layout = layout
        self._values = layout.header.unpack_from(data, start)
        self._attributes = listed(data, start + layout.header.size)

    def __getitem__(self, field: str) -> int:
        value: int = self._values[self._layout.fields.index(field)]
        return value

    def get_attrs(self, name: str) -> list[Any]:
        """The values of all attributes of this name."""
        number, holds = self._layout.attributes[name]
        return [holds.read(value) for kind, value in self._attributes if kind == number]

    def get_attr(self, name: str) -> Any:
        """The value of the first attribute of this name; None when there is none."""
        number, holds = self._layout.attributes[name]
        return next((holds.read(value) for kind, value in self._attributes if kind == number), None)


def _number(form: str) -> Value:
    packing = Struct(form)
    return Value(packing.pack, lambda data: packing.unpack_from(data)[0])


def _pack_address(address: str) -> bytes:
    return inet_pton(AF_INET6 if ":" in address else AF_INET, address)


def _read_address(data: bytes) -> str:
    return inet_ntop(AF_INET6 if len(data) == 16 else AF_INET, data)


def in_a_row(entry: Layout) -> Value:
    """Entries one after the other, each of which begins with its length (16 bits), padded to four bytes."""

    def pack(entries: Iterable[Mapping[str, Any]]) -> bytes:
        return b"".join(entry.pack(one) for one in entries)

    def read(data: bytes) -> list[Message]:
        found, offset = [], 0
        while offset + entry.header.size <= len(data):
            length = max(U16.read(data[offset:]), entry.header.size)
            found.append(entry.read(data[offset : offset + length]))
            offset += (length + 3) & ~3
        return found

    return Value(pack, read)


U8, U16, U32, U64 = (_number(form) for form in "BHIQ")
PORT = _number(">H")
"""A number of 16 bits in the network's order."""
BYTES = Value(bytes, bytes)
TEXT = Value(lambda value: value.encode() + b"\0", text)
MAC = Value(lambda value: bytes.fromhex(value.replace(":", "")), lambda data: data.hex(":"))
ADDRESS = Value(_pack_address, _read_address)
"""An IPv4 or IPv6 address, as text."""
