"""HTTP to a store that may be restarted, cut off or half open at any time."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import httpx2

from cni_plugins.kernel.https import KEEPALIVE

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
TIMEOUT = httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
STREAM_TIMEOUT = httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, read=None)


class Wire(httpx2.HTTPTransport):
    """A transport whose reads another thread can end by closing it. `on_answer` is called when the head of an answer is there."""

    def __init__(
        self, verify: ssl.SSLContext | bool, *, on_answer: Callable[[httpx2.Request, httpx2.Response], None] | None = None
    ) -> None:
        super().__init__(verify=verify, trust_env=False, socket_options=KEEPALIVE)
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._closed = threading.Event()
        self._on_answer = on_answer

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; a closed wire refuses to."""
        if self._closed.is_set():
            raise httpx2.ConnectError("the store was closed", request=request)
        response = super().handle_request(request)
        stream = response.extensions.get("network_stream")
        if stream is not None:
            with self._lock:
                self._sockets = {one for one in self._sockets if one.fileno() >= 0}
                self._sockets.add(stream.get_extra_info("socket"))
            if self._closed.is_set():
                self._interrupt()
        if self._on_answer:
            self._on_answer(request, response)
        return response

    def _interrupt(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for one in sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended by itself

    def close(self) -> None:
        """End all reads, and refuse requests from now on."""
        self._closed.set()
        self._interrupt()
        super().close()
