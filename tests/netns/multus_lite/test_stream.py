"""An answer that goes on and on, from servers that send it in pieces of any size, or not as they should."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from cni_plugins.agent import stream
from cni_plugins.agent.stream import Stream
from cni_plugins.kernel.https import Server
from multus_lite import kubeconfig
from tests.lab.machine import wait_for
from tests.netns.multus_lite.api_server import ApiServer
from tests.support.node import Node

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n6\r\none\ntw\r\n4;a=b\r\no\n\nt\r\n6\r\nhree\nf\r\n0\r\n\r\n"
PLAIN = HEAD + b"\r\none\ntwo\n\nthree\nf"
SECONDS = 60
LINES = [b"one", b"two", b"", b"three"]


@contextmanager
def server(pieces: Sequence[bytes], *, times: int = 1, reset: bool = False) -> Iterator[Server]:
    """A server that answers one request with these bytes, each in a packet of its own, and closes the connection; and so some `times`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(SECONDS)  # who does not come is an error, and not waited for
        thread = threading.Thread(target=_serve, args=(listening, pieces, times, reset))
        thread.start()
        try:
            yield Server("127.0.0.1", listening.getsockname()[1], tls=False)
        finally:
            thread.join()


def _serve(listening: socket.socket, pieces: Sequence[bytes], times: int, reset: bool) -> None:
    for _ in range(times):
        channel, _ = listening.accept()
        with channel:
            channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while b"\r\n\r\n" not in channel.recv(1 << 16):
                pass
            for piece in pieces:
                channel.sendall(piece)
            if reset:
                channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def read(pieces: Sequence[bytes], *, reset: bool = False) -> list[bytes]:
    """The lines of such an answer."""
    with server(pieces, reset=reset) as one:
        answer = Stream(one, "/", {})
        try:
            assert answer.status == 200
            return list(answer.lines())
        finally:
            answer.close()


@pytest.mark.parametrize("whole", [CHUNKED, PLAIN], ids=["chunked", "plain"])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_lines_are_whole_however_they_come(node: Node, whole: bytes, size: int) -> None:
    assert read([whole[start : start + size] for start in range(0, len(whole), size)]) == LINES


def test_answer_that_was_cut_off_is_an_error(node: Node) -> None:
    with pytest.raises(ConnectionError, match="without sending complete message body"):
        read([CHUNKED.partition(b"hree")[0]])


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        (b"220 mail ready\r\n\r\n", "not an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "not an answer"),
        (b"", "no answer"),
        (HEAD, "no answer"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", "chunk header"),
    ],
)
def test_what_is_no_answer_is_an_error(node: Node, whole: bytes, said: str) -> None:
    with pytest.raises(ConnectionError, match=said):
        read([whole])


def test_connection_that_is_reset_is_an_error(node: Node) -> None:
    with pytest.raises(ConnectionError):
        read([HEAD, b"\r\n", b"one\n"], reset=True)


def test_line_without_end_is_an_error(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LARGEST", 100)
    with pytest.raises(ConnectionError, match="more than 100 bytes without an end"):
        read([HEAD, b"\r\n", b"x" * 200])


def test_reader_has_caught_up_only_when_it_asks_for_more(node: Node) -> None:
    go_on = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield PLAIN
        go_on.wait()

    with server(pieces()) as one:  # type: ignore[arg-type]
        answer = Stream(one, "/", {})
        lines = answer.lines()
        assert next(lines) == b"one"
        assert not answer.caught_up
        reader = threading.Thread(target=lambda: list(lines))
        reader.start()
        wait_for(lambda: answer.caught_up, "it never catches up", seconds=60)
        answer.stop()
        reader.join()
        answer.close()
        go_on.set()


def test_what_came_before_the_reading_was_ended_is_not_read_as_it_was_encrypted(api: ApiServer, tmp_path: Path) -> None:
    api.watchable = True
    one = kubeconfig.server(str(tmp_path / "kubeconfig"), {})
    assert one
    answer = Stream(one, "/api/v1/pods?watch=1&resourceVersion=0", {})
    wait_for(lambda: answer._arrives(0), "nothing comes", seconds=60)
    answer.stop()
    with pytest.raises(ConnectionError):
        list(answer.lines())
    assert json.loads(answer._content)["object"]["metadata"]["name"] == "web"
    answer.close()
