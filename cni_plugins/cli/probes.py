"""Asking another node: echoes of a given size that may not be fragmented (RFC 792, RFC 4443), and whether a UDP port is open."""

from __future__ import annotations

import os
import select
import socket
import struct
from errno import ECONNREFUSED, EMSGSIZE
from time import monotonic

SECONDS = 1.0
"""How long an answer may take; each question is put twice."""
ANSWERED, SILENT, TOO_BIG, REFUSED, UNREACHABLE = "answered", "silent", "too big", "refused", "unreachable"
HEADERS = {4: 28, 6: 48}
"""Bytes of an echo request around its data."""
_TRIES = 2
_IP_MTU_DISCOVER, _IP_RECVERR, _IPV6_MTU_DISCOVER, _IPV6_RECVERR, _PROBE = 10, 11, 23, 25, 3
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_PROTOCOL = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
_AF = {4: socket.AF_INET, 6: socket.AF_INET6}
_NOT_VXLAN = bytes(8)
"""A VXLAN header without its flag (RFC 7348 section 5): every VTEP drops it."""


def echo(target: str, *, size: int) -> str:
    """Send an echo request of `size` bytes, its IP header included, that nobody may fragment; what comes of it in a word."""
    family = 6 if ":" in target else 4
    try:
        with _open(family, socket.SOCK_RAW, _PROTOCOL[family]) as asking:
            asking.connect((target, 0))
            return _ask_twice(asking, family, size)
    except OSError as error:
        return _word(error)


def port(target: str, number: int) -> str:
    """Send something to a UDP port that it drops; `SILENT` is what an open one is, and one behind a firewall."""
    try:
        with _open(6 if ":" in target else 4, socket.SOCK_DGRAM, 0) as asking:
            asking.connect((target, number))
            asking.send(_NOT_VXLAN)
            if select.select([asking], [], [], SECONDS)[0]:
                asking.recv(1)
            return SILENT
    except OSError as error:
        return _word(error)


def _open(family: int, kind: int, protocol: int) -> socket.socket:
    asking = socket.socket(_AF[family], kind, protocol)
    level, discover, errors = (
        (socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_RECVERR) if family == 4 else (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _IPV6_RECVERR)
    )
    asking.setsockopt(level, discover, _PROBE)
    asking.setsockopt(level, errors, 1)
    return asking


def _ask_twice(asking: socket.socket, family: int, size: int) -> str:
    number = os.getpid() & 0xFFFF
    for sequence in range(_TRIES):
        asking.send(_request(family, number, sequence, size - HEADERS[family]))
        latest = monotonic() + SECONDS
        while (left := latest - monotonic()) > 0 and select.select([asking], [], [], left)[0]:
            answer = asking.recv(1 << 16)
            if family == 4:
                answer = answer[(answer[0] & 0xF) * 4 :]  # a raw IPv4 socket gives the IP header too
            if answer[:1] == bytes([_REPLY[family]]) and struct.unpack_from("!H", answer, 4)[0] == number:
                return ANSWERED
    return SILENT


def _request(family: int, number: int, sequence: int, size: int) -> bytes:
    message = struct.pack("!BBHHH", _REQUEST[family], 0, 0, number, sequence) + bytes(max(size, 0))
    if family == 6:
        return message  # the kernel enters the checksum
    return message[:2] + struct.pack("!H", _checksum(message)) + message[4:]


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _word(error: OSError) -> str:
    return {EMSGSIZE: TOO_BIG, ECONNREFUSED: REFUSED}.get(error.errno or 0, UNREACHABLE)
