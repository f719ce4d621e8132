"""/metrics on the agent's socket, for `curl --unix-socket` and for what scrapes it: one request, one answer."""

from __future__ import annotations

from time import monotonic

from cni_plugins.agent.session import REQUEST_SECONDS, receive_until

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket

    from cni_plugins.agent.metrics import Metrics

_MOST = 1 << 13
_TYPE = "text/plain; version=1.0.0; charset=utf-8"


def answer(channel: socket, begun: bytes, metrics: Metrics) -> None:
    """Read the rest of a request that began with `begun` and answer it. Raises OSError."""
    request, latest = begun, monotonic() + REQUEST_SECONDS
    while b"\r\n\r\n" not in request and len(request) < _MOST:
        part = receive_until(latest, channel, _MOST)
        if not part:
            return
        request += part
    method, _, rest = request.decode("latin-1").partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    if method not in ("GET", "HEAD"):
        status, body = "405 Method Not Allowed", b"only GET\n"
    elif path == "/metrics":
        status, body = "200 OK", metrics.text()
    else:
        status, body = "404 Not Found", b"there is /metrics\n"
    head = f"HTTP/1.1 {status}\r\nContent-Type: {_TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    channel.sendall(head.encode() + (body if method != "HEAD" else b""))
