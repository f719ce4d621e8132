"""One connection to a server that speaks HTTP/1.1 over TLS, used for a few requests and closed: a process that lives for one call.

Credentials are given as bytes and never written to a file system: what the TLS library wants as files it gets as anonymous
memory (memfd_create(2)).
"""

from __future__ import annotations

import http.client
import posix
import ssl
from _socket import TCP_NODELAY
from socket import IPPROTO_TCP, create_connection
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST = 1 << 24
"""Bytes: the longest answer that is read."""
_PIECE = 1 << 16


class Server:
    """Where a server is, and how the two sides know each other.

    `ca` are certificates (PEM) that its own must descend from, empty for the system's; `verify` false believes any. `certificate` and `key`
    (PEM) are ours, empty when we have none. `name` is what its certificate is for, where that is not `host`. Without `tls` all of that
    goes unread.
    """

    __slots__ = ("ca", "certificate", "host", "key", "name", "port", "tls", "verify")

    def __init__(self, host: str, port: int, *, tls: bool = True) -> None:
        self.host = host
        self.port = port
        self.tls = tls
        self.ca = b""
        self.certificate = b""
        self.key = b""
        self.name = ""
        self.verify = True

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


class Refused(Exception):
    """The two sides do not trust each other; the text says why. Trying again is of no use."""


class Connection:
    """A connection to a server, made with the first request and again after one that failed."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._context: ssl.SSLContext | None = None
        self._http: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", *, seconds: float) -> tuple[int, bytes]:
        """Send one request; the answer's status and content.

        Raises OSError when there is no answer within `seconds` (TimeoutError), or none at all; Refused when the TLS handshake says no.
        """
        deadline = monotonic() + seconds
        try:
            if self._http is None:
                self._http = self._connect(seconds)
            self._http.sock.settimeout(_left(deadline))
            self._http.request(method, path, body or None, dict(headers))
            with self._http.getresponse() as answer:  # the next request waits for its end
                return answer.status, self._content(answer, deadline)
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise Refused(f"{self._server}: its certificate is not to be trusted: {error.verify_message}") from None
        except http.client.HTTPException as error:
            self.close()
            raise ConnectionError(f"{self._server}: not an answer: {type(error).__name__} {error}") from None
        except BaseException:
            self.close()
            raise

    def _content(self, answer: http.client.HTTPResponse, deadline: float) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while True:
            piece = answer.read1(_PIECE)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            size += len(piece)
            if size > LARGEST:
                raise ConnectionError(f"{self._server}: an answer of more than {LARGEST} bytes")
            if self._http is not None and self._http.sock is not None:
                self._http.sock.settimeout(_left(deadline))

    def _connect(self, seconds: float) -> http.client.HTTPConnection:
        server = self._server
        opened = http.client.HTTPConnection(server.host, server.port, timeout=seconds)
        opened.auto_open = 0
        plain = create_connection((server.host, server.port), timeout=seconds)
        plain.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        if not server.tls:
            opened.sock = plain
            return opened
        try:
            self._context = self._context or _context(server)
            opened.sock = self._context.wrap_socket(plain, server_hostname=server.name or server.host)
        except BaseException:
            plain.close()
            raise
        return opened

    def __del__(self) -> None:
        self.close()  # with the call that it belongs to

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._http is not None:
            self._http.close()
            self._http = None


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _context(server: Server) -> ssl.SSLContext:
    """Raises Refused for certificates or a key that cannot be read."""
    try:
        context = ssl.create_default_context(cadata=server.ca.decode() if server.ca else None)
        if not server.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if server.certificate:
            fd = posix.memfd_create("credentials", posix.MFD_CLOEXEC)
            try:
                posix.write(fd, server.certificate + b"\n" + server.key)
                context.load_cert_chain(f"/proc/self/fd/{fd}")
            finally:
                posix.close(fd)
    except (ssl.SSLError, ValueError) as error:
        raise Refused(f"{server}: the certificates or the key cannot be read: {error}") from None
    return context
