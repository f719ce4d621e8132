"""What a peer may send in place of a request: it gets no call, and takes neither a worker for long nor memory."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from itertools import count

import pytest

from cni_plugins import handover
from cni_plugins.agent import session, web
from cni_plugins.agent.metrics import Metrics
from cni_plugins.agent.session import Incomplete, Session
from cni_plugins.agent.warm import Warm

SECONDS = 30
NUMBERS = Metrics(busy=lambda: 0, free=lambda: ())


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection: the caller's end, the agent's end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(SECONDS)
        yield ours, theirs


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is one second further whenever somebody looks at it."""
    for module in (session, web):
        monkeypatch.setattr(module, "monotonic", count().__next__)


def send(channel: socket.socket, data: bytes, *, descriptors: int = 2) -> None:
    """Send bytes with some descriptors."""
    with open(os.devnull, "rb") as opened:
        socket.send_fds(channel, [data], [opened.fileno()] * descriptors)


def refused(channel: socket.socket) -> None:
    """Have an agent read a request that is none; nothing of it may stay open."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises((Incomplete, TimeoutError)):
        Session(channel, warm=Warm(), metrics=NUMBERS, run_dir="/nonexistent").serve()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("data", [b"\0", b"\0\0\0\2ab", b"\0\0\0\4a\0\0b", b"\0\0\0\x0aa\0b\0c\0d\0\0e"], ids=repr)
def test_garbage_is_no_call(ends: tuple[socket.socket, socket.socket], data: bytes) -> None:
    send(ends[0], data)
    ends[0].shutdown(socket.SHUT_WR)
    refused(ends[1])


def test_a_request_without_descriptors_is_no_call(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].sendall(handover.Call("bridge", {}, b"", executable=(1, 1)).encode(0))
    refused(ends[1])


def test_more_descriptors_than_a_call_has_are_closed(ends: tuple[socket.socket, socket.socket]) -> None:
    send(ends[0], b"\0\0\0\1a", descriptors=200)
    refused(ends[1])


def test_a_huge_request_is_refused_before_it_is_read(ends: tuple[socket.socket, socket.socket]) -> None:
    send(ends[0], b"\xff\xff\xff\xff" + b"a" * 1000)
    with pytest.raises(Incomplete, match="a request of 4294967295 bytes"):
        Session(ends[1], warm=Warm(), metrics=NUMBERS, run_dir="/nonexistent").serve()


class Dripping:
    """The agent's end of a connection to which `data` comes byte by byte, whenever one is asked for."""

    def __init__(self, ends: tuple[socket.socket, socket.socket], data: bytes) -> None:
        self._caller, self._agent = ends
        self.left = data

    def recv(self, size: int) -> bytes:
        """The next byte."""
        self._caller.sendall(self.left[:1])
        self.left = self.left[1:]
        return self._agent.recv(1)

    def __getattr__(self, name: str) -> object:
        return getattr(self._agent, name)


def test_a_request_that_comes_in_drops_is_given_up(ends: tuple[socket.socket, socket.socket], hurried: None) -> None:
    data = handover.Call("bridge", {}, b"x" * 64, executable=(1, 1)).encode(0)
    send(ends[0], data[:8])
    dripping = Dripping(ends, data[8:])
    refused(dripping)  # type: ignore[arg-type]  # a socket in all that is asked of it
    assert dripping.left


def test_a_question_that_comes_in_drops_is_given_up(ends: tuple[socket.socket, socket.socket], hurried: None) -> None:
    dripping = Dripping(ends, b"ET /metrics HTTP/1.0\r\n\r\n")
    with pytest.raises(TimeoutError):
        web.answer(dripping, b"G", NUMBERS)  # type: ignore[arg-type]  # a socket in all that is asked of it
    assert dripping.left
