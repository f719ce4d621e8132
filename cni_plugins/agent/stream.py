"""Lines that a server goes on sending as an answer to one request, over a connection of its own."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator, Mapping

import h11

from cni_plugins.kernel.https import LARGEST, Server, connect, fields

HEAD_SECONDS = 10.0
"""For connecting, and again for the head of the answer."""
_PAUSE_MS = 1000
_PIECE = 1 << 16


class Stream:
    """The answer to a GET of `path`: its `status`, and its lines. `headers` say what is wanted.

    Raises OSError, https.Refused when the TLS handshake says no.

    One thread reads. Another one may ask whether it has `caught_up`, and end it with `stop`.
    """

    def __init__(self, server: Server, path: str, headers: Mapping[str, str]) -> None:
        request = h11.Request(method="GET", target=path, headers=list(fields(server, {**headers, "Connection": "close"}).items()))
        self._http = h11.Connection(h11.CLIENT)
        self._content = b""
        self._ended = False
        self._busy = True
        self.status = 0
        self._socket = connect(server, seconds=HEAD_SECONDS)
        try:
            self._socket.settimeout(HEAD_SECONDS)
            self._socket.sendall((self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b""))
            while not self.status:
                self._take(self._socket.recv(_PIECE))
            self._socket.settimeout(0)
        except BaseException:
            self._socket.close()
            raise

    def _take(self, piece: bytes) -> None:
        """Take in what has come; none of it is the end of the connection. Raises ConnectionError."""
        if not (piece or self.status):
            raise ConnectionError("no answer")
        self._http.receive_data(piece)
        try:
            while not self._ended and (event := self._http.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Response):
                    self.status = event.status_code
                elif isinstance(event, h11.Data):
                    self._content += event.data
                self._ended = isinstance(event, h11.EndOfMessage)
        except h11.RemoteProtocolError as error:
            raise ConnectionError(f"not an answer: {error}") from None
        if len(self._content) > LARGEST:
            raise ConnectionError(f"more than {LARGEST} bytes without an end")

    def lines(self) -> Iterator[bytes]:
        """Every line that is whole, until the answer ends. Raises OSError."""
        while True:
            *whole, self._content = self._content.split(b"\n")
            yield from whole
            if self._ended:
                return
            self._receive()

    def rest(self) -> bytes:
        """All that comes without a longer pause: what a server says that has no lines to send. Raises OSError."""
        while not self._ended and self._arrives(_PAUSE_MS):
            self._receive()
        return self._content

    def _arrives(self, milliseconds: int | None) -> bool:
        """Wait for more."""
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        return bool(poll.poll(milliseconds))

    def _receive(self) -> None:
        """Wait for more, and take what there is. What has come is either still in the socket, or we are busy with it: see `caught_up`."""
        self._busy = False
        self._arrives(None)
        self._busy = True
        try:
            while not self._ended:
                self._take(self._socket.recv(_PIECE))
        except (ssl.SSLWantReadError, BlockingIOError):
            pass  # that was all

    @property
    def caught_up(self) -> bool:
        """Whether all that has come was read, and whoever reads has done with it and asked for more."""
        return not self._arrives(0) and not self._busy  # in this order

    def stop(self) -> None:
        """End the reading, from another thread."""
        try:
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # an SSLSocket's own would have the reader go on without TLS
        except OSError:
            pass  # it has ended by itself

    def close(self) -> None:
        """Close the connection, when nobody reads any more."""
        self._socket.close()
