"""Threads that take connections: whatever happens to one, the next connection is taken."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from cni_plugins.agent.workers import Workers

SECONDS = 30


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """A listening socket."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "agent.sock"))
        listening.listen(128)
        yield listening


def connect(listener: socket.socket) -> socket.socket:
    """A connection to it."""
    channel = socket.socket(socket.AF_UNIX)
    channel.settimeout(SECONDS)
    channel.connect(listener.getsockname())
    return channel


def greet(channel: socket.socket) -> None:
    """Serve a connection by a byte."""
    channel.sendall(b"!")


def test_an_agent_that_gets_no_further_thread_goes_on_with_those_it_has(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(listener, greet, limit=8)
    workers.start()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for _ in range(3):
        with connect(listener) as channel:
            assert channel.recv(1) == b"!"
    monkeypatch.undo()
    workers.stop(SECONDS)
    assert workers.busy == 0


def test_a_defect_in_one_call_does_not_keep_the_next_from_being_served(listener: socket.socket) -> None:
    def serve(channel: socket.socket) -> None:
        raise KeyError("a defect")

    workers = Workers(listener, serve, limit=1)
    workers.start()
    for _ in range(3):
        with connect(listener) as channel:
            assert channel.recv(1) == b"", "the caller is told, and serves itself"
    workers.stop(SECONDS)


def test_no_more_calls_are_served_at_a_time_than_the_limit(listener: socket.socket) -> None:
    begun: SimpleQueue[socket.socket] = SimpleQueue()
    go = threading.Event()

    def serve(channel: socket.socket) -> None:
        begun.put(channel)
        go.wait(SECONDS)

    workers = Workers(listener, serve, limit=2)
    workers.start()
    channels = [connect(listener) for _ in range(4)]
    first = {begun.get(timeout=SECONDS).fileno() for _ in range(2)}
    assert len(first) == workers.busy == 2
    assert begun.empty()
    go.set()
    for _ in range(2):
        begun.get(timeout=SECONDS)
    for channel in channels:
        assert channel.recv(1) == b""
        channel.close()
    workers.stop(SECONDS)
