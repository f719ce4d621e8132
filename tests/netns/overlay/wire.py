"""What arrives on a node's underlay, without tcpdump: a packet socket (packet(7))."""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Self

from tests.support.node import Node

_ETH_P_ALL = 3
_ETHERNET, _UDP, _VXLAN = 14, 8, 8
_IPV4 = b"\x08\x00"
_PROTOCOLS = {"icmp": 1, "udp": 17}


class Wire:
    """IPv4 packets that arrive at a node's `eth0`, from entering the context on; `port` is the tunnels' UDP port."""

    def __init__(self, node: Node, *, port: int) -> None:
        self._node = node
        self._port = port

    def __enter__(self) -> Self:
        with self._node.inside():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            self._socket.bind(("eth0", 0))
            self._socket.setblocking(False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def _arrived(self) -> list[bytes]:
        """The IPv4 packets until now that came in."""
        packets: list[bytes] = []
        while True:
            try:
                frame, sender = self._socket.recvfrom(1 << 16)
            except BlockingIOError:
                return packets
            if sender[2] != socket.PACKET_OUTGOING and frame[12:14] == _IPV4:
                packets.append(frame[_ETHERNET:])

    def outer_sources(self, protocol: str) -> set[str]:
        """Who sent packets of a protocol."""
        return {socket.inet_ntoa(packet[12:16]) for packet in self._arrived() if packet[9] == _PROTOCOLS[protocol]}

    def _tunnelled(self) -> list[tuple[int, bytes]]:
        """The VNI and the frame of every packet of the tunnels."""
        found = []
        for packet in self._arrived():
            start = (packet[0] & 0xF) * 4
            if packet[9] == _PROTOCOLS["udp"] and struct.unpack_from("!H", packet, start + 2)[0] == self._port:
                header = packet[start + _UDP :]
                found.append((int.from_bytes(header[4:7], "big"), header[_VXLAN:]))
        return found

    def vnis(self) -> set[int]:
        """The VNIs on the wire."""
        return {vni for vni, _ in self._tunnelled()}

    def inner_sources(self, vni: int) -> set[str]:
        """Who sent the IPv4 packets that are within tunnels of a VNI."""
        return {
            socket.inet_ntoa(frame[_ETHERNET + 12 : _ETHERNET + 16])
            for number, frame in self._tunnelled()
            if number == vni and frame[12:14] == _IPV4
        }
