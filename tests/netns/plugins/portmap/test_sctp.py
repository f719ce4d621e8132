"""SCTP ports are mapped like others. Its packets are made here: many kernels can pass them on, and have no sockets for them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from tests.netns.plugins.portmap.talk import PATIENCE, Place, attach, detach, network, port
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node

SCTP = 132
INIT, INIT_ACK = 1, 2
_HEADER = ">HHII"


class Packet(NamedTuple):
    """An SCTP packet with one chunk (RFC 9260): `peer` is where it goes to or comes from, `tag` the sender's."""

    peer: str
    source: int
    destination: int
    verification: int
    chunk: int
    tag: int


def crc32c(data: bytes) -> int:
    """The checksum of RFC 9260, appendix A."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@contextmanager
def raw(place: Place, family: int) -> Iterator[socket.socket]:
    """A socket for SCTP packets of an address family."""
    with place.inside():
        opened = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_RAW, SCTP)
    with opened:
        opened.settimeout(PATIENCE)
        yield opened


def send(opened: socket.socket, packet: Packet) -> None:
    chunk = struct.pack(">BBHIIHHI", packet.chunk, 0, 20, packet.tag, 65536, 1, 1, 1)
    bare = struct.pack(_HEADER, packet.source, packet.destination, packet.verification, 0) + chunk
    opened.sendto(bare[:8] + struct.pack("<I", crc32c(bare)) + bare[12:], (packet.peer, 0))


def receive(opened: socket.socket) -> Packet:
    data, sender = opened.recvfrom(2048)
    data = data[20:] if opened.family == socket.AF_INET else data
    source, destination, verification, _ = struct.unpack_from(_HEADER, data)
    return Packet(sender[0], source, destination, verification, data[12], struct.unpack_from(">I", data, 16)[0])


@pytest.mark.parametrize("asker", ["outside", "node", "pod"])
@pytest.mark.parametrize("family", [4, 6])
def test_an_association_is_set_up_through_the_node(plugins: InProcess, node: Node, pod: Container, *, asker: str, family: int) -> None:
    outside = node.outside()
    attach(plugins, pod, port(8080, 80, "sctp"), net=network(hairpinMode=True))
    places: dict[str, Place] = {"outside": outside, "node": node, "pod": pod}
    here = outside.node_addresses[family == 6]
    with raw(places[asker], family) as client, raw(pod, family) as server:
        send(client, Packet(here, 5000, 8080, 0, INIT, 77))
        asked = receive(server)
        if asker == "pod":
            asked = asked if asked.destination == 80 else receive(server)
        assert (asked.destination, asked.chunk, asked.tag) == (80, INIT, 77)
        send(server, Packet(asked.peer, 80, asked.source, 77, INIT_ACK, 88))
        answer = receive(client)
        while answer.chunk == INIT:
            answer = receive(client)
    assert answer == Packet(here, 8080, 5000, 77, INIT_ACK, 88)


def test_a_port_of_one_protocol_is_not_another_s(plugins: InProcess, node: Node, pod: Container, other: Container) -> None:
    confs = [attach(plugins, pod, port(8080, 80, "sctp")), attach(plugins, other, port(8080, 80), port(8080, 80, "udp"))]
    for container, conf in zip((pod, other), confs, strict=True):
        detach(plugins, container, conf)
