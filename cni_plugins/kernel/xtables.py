"""What x_tables holds, read without executing anything (linux/netfilter_ipv4/ip_tables.h, ip6_tables.h): for looks that come often.

The programs of iptables take some milliseconds to say the same in words.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6
from _struct import pack_into, unpack_from

from cni_plugins.kernel import calls
from cni_plugins.protocol.errors import KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

_LEVELS = {"ip": (AF_INET, 0), "ip6": (AF_INET6, 41)}
"""The family of a socket, and the protocol whose options its tables are."""
_GET_INFO, _GET_ENTRIES = 64, 65
"""IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES; the same numbers in IPv6."""
_NAME_BYTES = 32
_INFO_BYTES, _SIZE_AT = 84, 80
_HEAD_BYTES = 40
_TRIES = 4


def entries(family: str, table: str) -> bytes:
    """All rules of a table of "ip" or "ip6" as the kernel has them. Asking for a table that is not there makes it.

    Raises KernelRefused.
    """
    domain, level = _LEVELS[family]
    try:
        channel = calls.raw_socket(domain)
        try:
            for _ in range(_TRIES):
                try:
                    return _read(channel, level, table.encode())
                except BlockingIOError:
                    pass  # the table was changed between the two questions
            return _read(channel, level, table.encode())
        finally:
            channel.close()
    except OSError as error:
        raise KernelRefused(f"cannot read the table {table} of {family}tables: {error.strerror}") from error


def _read(channel: socket, level: int, table: bytes) -> bytes:
    info = bytearray(_INFO_BYTES)
    pack_into(f"{_NAME_BYTES}s", info, 0, table)
    calls.fill_option(channel, level, _GET_INFO, info)
    size: int = unpack_from("I", info, _SIZE_AT)[0]
    found = bytearray(_HEAD_BYTES + size)
    pack_into(f"{_NAME_BYTES}sI", found, 0, table, size)
    calls.fill_option(channel, level, _GET_ENTRIES, found)
    return bytes(found[_HEAD_BYTES:])
