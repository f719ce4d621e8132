"""Traffic between the places of a lab: echoes, connections, datagrams, bare Ethernet frames, and how fast a stream is.

Sockets are made inside the namespaces by the suite itself: that needs no program on the machine. What is sent is written down as a comment.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from conformance.case import Failed
from conformance.lab import Lab
from conformance.netns import Container, Netns, Outside
from conformance.node import Node

Place = Node | Netns
PATIENCE = 5.0
"""Seconds that an answer may take."""
_EXPERIMENTAL = 0x88B5
"""An EtherType that IEEE 802 leaves to experiments: no kernel answers it."""
_CHUNK = 1 << 16
_BUFFER = 1 << 22
"""Bytes that may wait for the reader of a stream: the kernel goes on with it while a busy machine lets this process wait."""
_SO_RCVBUFFORCE = 33
_FRAME = 1514 / 1448
"""Bytes on the wire for each byte of a TCP stream on a link of MTU 1500."""


def echo(lab: Lab, source: Container, address: str, *, own: str = "", size: int = 56, whole: bool = False) -> bool:
    """Send echo requests until one is answered; returns whether one was.

    `own` is the address to send from, the kernel's choice if empty; `size` is the payload in bytes; `whole` forbids to fragment it.
    """
    words = f"ping -n -c1 -w{PATIENCE:.0f} -s {size}{' -M do' if whole else ''}{own and f' -I {own}'} {address}"
    return "bytes from" in lab.do(words, within=source, check=False)


def expect_echo(lab: Lab, source: Container, address: str, *, own: str = "", size: int = 56, whole: bool = False) -> None:
    """Expect an answer; arguments as for `echo`. Raises Failed."""
    if not echo(lab, source, address, own=own, size=size, whole=whole):
        raise Failed(f"{address} answers {source.name}" + (f" to {size} bytes in one packet" if whole else ""), "no answer")


def outside(lab: Lab) -> Outside:
    """Return a host beyond the node, which knows no way to the containers; the node is its neighbour."""
    host = lab.node.outside()
    lab.transcript.step("ip netns add outside; ip link add outside type veth peer name eth0 netns outside; ip link set outside up")
    for end, address in zip(("outside", "-n outside … eth0"), (host.node_addresses, host.addresses), strict=True):
        lab.transcript.step(f"# {end} has {' and '.join(address)}")
    lab.do("ip address add fe80::2/64 dev outside nodad")
    return host


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def connect(lab: Lab, client: Place, server: Place, target: str, *, at: int, port: int = 0, own: str = "") -> str:
    """Connect by TCP from `client` to `target`, port `port` (`at` if 0), where `server` listens at port `at`.

    `own` is the client's address, the kernel's choice if empty. Returns the client's address as the server sees it. Raises Failed.
    """
    lab.transcript.step(f"# TCP from {client.name} to {target}, port {port or at}; {server.name} listens at port {at}")
    with server.inside():
        listener = socket.create_server(("", at), family=_family(target))
    with listener:
        listener.settimeout(PATIENCE)
        try:
            with client.inside(), socket.create_connection((target, port or at), PATIENCE, source_address=(own, 0)) as stream:
                accepted, peer = listener.accept()
                with accepted:
                    accepted.sendall(server.name.encode())
                if (said := stream.recv(_CHUNK).decode()) != server.name:
                    raise Failed(f"{server.name} answers {client.name}", f"{said!r}")
        except OSError as error:
            raise Failed(
                f"{client.name} can connect to {server.name} by {target}, port {port or at}", f"{type(error).__name__}: {error}"
            ) from None
    return str(peer[0])


def datagram(lab: Lab, client: Place, server: Place, target: str, *, at: int, port: int = 0, own: str = "", source: int = 0) -> str:
    """As `connect`, by UDP; `source` is the client's port, any if 0."""
    lab.transcript.step(f"# UDP from {client.name} to {target}, port {port or at}; {server.name} listens at port {at}")
    with server.inside():
        receiver = socket.socket(_family(target), socket.SOCK_DGRAM)
    with client.inside():
        sender = socket.socket(_family(target), socket.SOCK_DGRAM)
    with receiver, sender:
        try:
            receiver.bind((target if own else "", at))
            sender.bind((own, source))
            sender.connect((target, port or at))
            for end in (receiver, sender):
                end.settimeout(PATIENCE)
            sender.send(b"question")
            peer = receiver.recvfrom(_CHUNK)[1]
            receiver.sendto(b"answer", peer)
            sender.recv(_CHUNK)
        except OSError as error:
            raise Failed(
                f"{server.name} and {client.name} exchange datagrams by {target}, port {port or at}", f"{type(error).__name__}: {error}"
            ) from None
    return str(peer[0])


@dataclass(frozen=True, slots=True)
class Wire:
    """A container's interface, for bare Ethernet frames."""

    name: str
    mac: bytes
    socket: socket.socket

    def shout(self, text: str) -> None:
        """Send a frame to all on the link."""
        self.socket.send(b"\xff" * 6 + self.mac + _EXPERIMENTAL.to_bytes(2, "big") + text.encode().ljust(46, b"\0"))

    def heard(self) -> str | None:
        """Return the text of the next frame that came; None when there is none within the patience."""
        try:
            return self.socket.recv(_CHUNK)[14:].rstrip(b"\0").decode(errors="replace")
        except TimeoutError:
            return None


@contextmanager
def wire(lab: Lab, pod: Container, *, patience: float = PATIENCE) -> Iterator[Wire]:
    """Open a container's interface for bare Ethernet frames."""
    lab.transcript.step(f"# Ethernet frames of type {_EXPERIMENTAL:#x} on {lab.profile.ifname} of {pod.name}")
    with pod.inside():
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EXPERIMENTAL))
    with packets:
        packets.bind((lab.profile.ifname, _EXPERIMENTAL))
        packets.settimeout(patience)
        yield Wire(pod.name, packets.getsockname()[4], packets)


def rate(lab: Lab, client: Place, server: Place, target: str, *, skip: int, seconds: float) -> float:
    """Return how many bits per second of Ethernet a TCP stream from `client` to `target`, an address of `server`, takes.

    The first `skip` bytes, a burst, do not count; then it is measured for some seconds. Raises Failed when there is no stream.
    """
    lab.transcript.step(f"# a TCP stream from {client.name} to {target}, for {seconds:g} s after {skip} bytes")
    with server.inside():
        listener = socket.create_server(("", 0), family=_family(target))
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        listener.settimeout(PATIENCE)
        try:
            with client.inside():
                sender = socket.create_connection((target, listener.getsockname()[1]), timeout=PATIENCE)
            receiver, _ = listener.accept()
        except OSError as error:
            raise Failed(f"{client.name} can connect to {server.name}", f"{type(error).__name__}: {error}") from None
    with sender, receiver:
        return _pump(sender, receiver, skip=skip, seconds=seconds) * 8 * _FRAME


def _pump(sender: socket.socket, receiver: socket.socket, *, skip: int, seconds: float) -> float:
    """Keep the sender busy; returns the bytes per second that the receiver gets."""
    block = bytes(_CHUNK)
    come, since, now = 0, 0.0, 0.0
    with selectors.DefaultSelector() as ready:
        for end, event in ((sender, selectors.EVENT_WRITE), (receiver, selectors.EVENT_READ)):
            end.setblocking(False)
            ready.register(end, event)
        while not since or now - since < seconds:
            events = ready.select(PATIENCE)
            if not events:
                raise Failed("a stream that goes on", f"nothing for {PATIENCE:g} s")
            for key, _ in events:
                if key.fileobj is sender:
                    sender.send(block)
                    continue
                come, now = come + len(receiver.recv(_BUFFER)), time.monotonic()
                if not since and come >= skip:
                    come, since = 0, now
        return come / (now - since)
