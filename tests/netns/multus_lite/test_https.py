"""Requests over one connection to servers that end it, or their answers, where they should and where they should not."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.kernel import https
from cni_plugins.kernel.https import Connection, Server
from multus_lite import kubeconfig
from tests.netns.multus_lite import api_server
from tests.netns.multus_lite.api_server import ApiServer
from tests.netns.multus_lite.test_stream import CHUNKED, HEAD, PLAIN, SECONDS, server
from tests.support.node import Node

COUNTED = HEAD + b"Content-Length: 4\r\n\r\nfour"


@pytest.mark.parametrize(
    ("whole", "content"),
    [
        (COUNTED, b"four"),
        (CHUNKED, b"one\ntwo\n\nthree\nf"),
        (PLAIN, b"one\ntwo\n\nthree\nf"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
    ids=["counted", "chunked", "to the end", "none"],
)
def test_content_ends_where_the_head_says(node: Node, whole: bytes, content: bytes) -> None:
    with server([whole[:30], whole[30:]]) as one:
        connection = Connection(one)
        assert connection.ask("GET", "/", {}, seconds=SECONDS)[1] == content
        connection.close()


def test_connection_that_has_had_its_last_answer_is_made_anew(node: Node) -> None:
    with server([COUNTED.replace(b"Content-Length", b"Connection: close\r\nContent-Length")], times=3) as one:
        connection = Connection(one)
        assert [connection.ask("GET", "/", {}, seconds=SECONDS) for _ in range(3)] == [(200, b"four")] * 3
        assert not connection.at_rest


def test_connection_that_ends_without_a_word_is_made_anew(node: Node) -> None:
    with server([COUNTED], times=3) as one:
        connection = Connection(one)
        assert [connection.ask("GET", "/", {}, seconds=SECONDS) for _ in range(3)] == [(200, b"four")] * 3
        connection.close()


def test_connection_that_ends_right_before_a_request_is_made_anew(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    with server([COUNTED], times=2) as one:
        connection = Connection(one)
        connection.ask("GET", "/", {}, seconds=SECONDS)
        monkeypatch.setattr(Connection, "at_rest", True)  # as it was when it was looked at
        assert connection.ask("GET", "/", {}, seconds=SECONDS) == (200, b"four")
        connection.close()


def test_connection_that_is_reset_before_the_handshake_is_closed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = Server("127.0.0.1", listening.getsockname()[1])
        one.verify = False
        before = set(os.listdir("/proc/self/fd"))
        thread = threading.Thread(target=_reset, args=(listening,))
        thread.start()
        monkeypatch.setattr(https, "create_connection", lambda *where, **how: _after(thread, *where, **how))
        with pytest.raises(ConnectionError) as kept:
            Connection(one).ask("GET", "/", {}, seconds=SECONDS)
        del kept
        gc.collect()  # a socket that was left open would warn now, which is an error
        assert set(os.listdir("/proc/self/fd")) <= before


def _after(thread: threading.Thread, *where: Any, **how: Any) -> socket.socket:
    made = socket.create_connection(*where, **how)
    thread.join()
    return made


def _reset(listening: socket.socket) -> None:
    channel, _ = listening.accept()
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    channel.close()


def test_more_than_was_announced_is_not_taken_for_the_next_answer(node: Node) -> None:
    with server([COUNTED + COUNTED.replace(b"four", b"evil")], times=2) as one:
        connection = Connection(one)
        assert [connection.ask("GET", "/", {}, seconds=SECONDS) for _ in range(2)] == [(200, b"four")] * 2
        connection.close()


@pytest.mark.parametrize("whole", [COUNTED[:-1], CHUNKED[:-8]], ids=["counted", "chunked"])
def test_answer_that_was_cut_off_is_an_error(node: Node, whole: bytes) -> None:
    with server([whole]) as one, pytest.raises(ConnectionError, match="cut off"):
        Connection(one).ask("GET", "/", {}, seconds=SECONDS)


def test_answer_without_end_is_an_error(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "LARGEST", 100)
    with server([HEAD, b"\r\n", b"x" * 200]) as one, pytest.raises(ConnectionError, match="more than 100 bytes"):
        Connection(one).ask("GET", "/", {}, seconds=SECONDS)


def test_answer_that_trickles_is_not_waited_for_longer_than_was_said(node: Node) -> None:
    given_up = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield HEAD
        for _ in range(100):
            if given_up.wait(0.05):
                return
            yield b"x"

    with server(pieces()) as one:  # type: ignore[arg-type]
        with pytest.raises(TimeoutError):
            Connection(one).ask("GET", "/", {}, seconds=1)
        given_up.set()


def test_connection_over_which_more_comes_than_was_announced_is_not_at_rest(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_server._Handler, "answer", lambda self, status, data: self.wfile.write(COUNTED + b"x" * 10_000))
    one = kubeconfig.server(str(tmp_path / "kubeconfig"), {})
    assert one
    connection = Connection(one)
    assert connection.ask("GET", "/api/v1/namespaces/default/pods/web", {}, seconds=SECONDS) == (200, b"four")
    assert not connection.at_rest
    connection.close()
