"""A server of the network, connections to it over TLS, and requests in HTTP/1.1 over one that stays open.

Credentials are given as bytes and never written to a file system: what the TLS library wants as files it gets as anonymous
memory (memfd_create(2)).
"""

from __future__ import annotations

import http.client
import posix
import ssl
from io import BufferedReader, RawIOBase
from socket import (
    IPPROTO_TCP,
    SO_KEEPALIVE,
    SOL_SOCKET,
    TCP_KEEPCNT,
    TCP_KEEPIDLE,
    TCP_KEEPINTVL,
    TCP_NODELAY,
    TCP_USER_TIMEOUT,
    create_connection,
    socket,
)
from time import monotonic

from cni_plugins.kernel import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

KEEPALIVE = [
    (SOL_SOCKET, SO_KEEPALIVE, 1),
    (IPPROTO_TCP, TCP_KEEPIDLE, 4),
    (IPPROTO_TCP, TCP_KEEPINTVL, 2),
    (IPPROTO_TCP, TCP_KEEPCNT, 3),
    (IPPROTO_TCP, TCP_USER_TIMEOUT, 10_000),
]
"""For a connection that may be silent for hours: the kernel finds out within ten seconds that its other end is gone."""
LARGEST = 1 << 24
"""Bytes: the longest answer, or part of one, that is read."""
_PIECE = 1 << 16
_POLLIN = 1
_ENDED = (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""How a connection fails that the other side has closed."""


class Server:
    """Where a server is, and how the two sides know each other. Two are equal when all of that is the same.

    `ca` are certificates (PEM) that its own must descend from, empty for the system's; `verify` false believes any. `certificate` and `key`
    (PEM) are ours, empty when we have none. `name` is what its certificate is for, where that is not `host`. Without `tls` all of that
    goes unread. `token` is shown with each request, where it is not empty.
    """

    __slots__ = ("ca", "certificate", "host", "key", "name", "port", "tls", "token", "verify")

    def __init__(self, host: str, port: int, *, tls: bool = True) -> None:
        self.host = host
        self.port = port
        self.tls = tls
        self.ca = b""
        self.certificate = b""
        self.key = b""
        self.name = ""
        self.token = ""
        self.verify = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Server) and all(getattr(self, key) == getattr(other, key) for key in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    @property
    def place(self) -> str:
        """HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.place}"


class Refused(Exception):
    """The two sides do not trust each other; the text says why. Trying again is of no use."""


def connect(server: Server, *, seconds: float) -> socket:
    """A connection to a server, ready for requests.

    Raises OSError when there is none within `seconds` (TimeoutError), or none at all; Refused when the TLS handshake says no.
    """
    try:
        return _connect(server, monotonic() + seconds)
    except ssl.SSLCertVerificationError as error:
        raise Refused(f"{server}: its certificate is not to be trusted: {error.verify_message}") from None
    except ValueError as error:
        raise Refused(f"{server}: it cannot have this name: {error}") from None


def _connect(server: Server, deadline: float) -> socket:
    name = (server.name or server.host).encode("idna").decode()  # over one that is none, wrap_socket would leave its socket open
    plain = create_connection((server.host, server.port), timeout=_left(deadline))
    try:
        for level, option, value in ((IPPROTO_TCP, TCP_NODELAY, 1), *KEEPALIVE):
            plain.setsockopt(level, option, value)
        plain.settimeout(_left(deadline))
        return _context(server).wrap_socket(plain, server_hostname=name) if server.tls else plain
    except BaseException:
        plain.close()
        raise


def fields(server: Server, given: Mapping[str, str]) -> dict[str, str]:
    """The header of a request: what is `given`, where it goes, and who asks. Raises Refused for a token that cannot be one."""
    if not (server.token.isascii() and server.token.isprintable()):
        raise Refused(f"{server}: the token has other characters than visible ones of ASCII")
    return {"Host": server.place, **given, **({"Authorization": f"Bearer {server.token}"} if server.token else {})}


class Connection:
    """A connection to `server` for requests one after the other, made with the first one and again after one that failed."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._socket: socket | None = None

    @property
    def at_rest(self) -> bool:
        """Whether it is open, and the other side neither closes it nor says anything unasked."""
        if self._socket is None or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()):
            return False
        return not calls.poll({self._socket.fileno(): _POLLIN}, 0)

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", *, seconds: float) -> tuple[int, bytes]:
        """Send one request, which must do no harm when it is sent twice; the answer's status and content.

        Raises OSError when there is no answer within `seconds` (TimeoutError), or none at all; Refused when the TLS handshake says no.
        """
        deadline, reused = monotonic() + seconds, self.at_rest
        if not reused:
            self.close()
        request = (method, path, body or None, fields(self.server, headers))
        try:
            return self._exchange(request, deadline)
        except _ENDED:
            if not reused:
                raise
        return self._exchange(request, deadline)  # a connection that was idle may end at any moment

    def _exchange(self, request: tuple[str, str, bytes | None, dict[str, str]], deadline: float) -> tuple[int, bytes]:
        try:
            self._socket = self._socket or connect(self.server, seconds=_left(deadline))
            client = http.client.HTTPConnection(self.server.host, self.server.port)
            client.sock = _Turn(self._socket, deadline)
            client.request(*request)
            with client.getresponse() as answer:
                content = self._content(answer)
        except http.client.HTTPException as error:
            self.close()
            if isinstance(error, http.client.RemoteDisconnected):
                raise
            raise ConnectionError(f"{self.server}: not an answer: {error!r}") from None
        except BaseException:
            self.close()
            raise
        if answer.will_close:
            self.close()
        return answer.status, content

    def _content(self, answer: http.client.HTTPResponse) -> bytes:
        content = bytearray()
        try:
            while piece := answer.read1(_PIECE):
                content += piece
                if len(content) > LARGEST:
                    raise ConnectionError(f"{self.server}: an answer of more than {LARGEST} bytes")
        except http.client.IncompleteRead:
            raise ConnectionError(f"{self.server}: an answer that was cut off") from None
        if answer.length:  # http.client leaves that to its callers
            raise ConnectionError(f"{self.server}: an answer that was cut off")
        return bytes(content)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Turn(RawIOBase):
    """A socket as http.client uses it, for one request and its answer: every wait ends at the deadline, and the socket stays open."""

    def __init__(self, inner: socket, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._inner.settimeout(_left(self._deadline))
        self._inner.sendall(data)

    def makefile(self, mode: str) -> BufferedReader:
        return BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._inner.settimeout(_left(self._deadline))
        return self._inner.recv_into(buffer)

    def close(self) -> None:
        pass


class _Secure(ssl.SSLSocket):
    """One that is closed also when the other side resets it before the handshake, which wrap_socket does not do."""

    def __del__(self) -> None:
        self.close()


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _context(server: Server) -> ssl.SSLContext:
    """How to speak TLS with a server. Raises Refused for certificates or a key that cannot be read."""
    try:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.sslsocket_class = _Secure
        if not server.verify:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        elif server.ca:
            made.load_verify_locations(cadata=server.ca.decode())
        else:
            made.load_default_certs()
        if server.certificate:
            fd = posix.memfd_create("credentials", posix.MFD_CLOEXEC)
            try:
                posix.write(fd, server.certificate + b"\n" + server.key)
                made.load_cert_chain(f"/proc/self/fd/{fd}")
            finally:
                posix.close(fd)
    except (ssl.SSLError, ValueError) as error:
        raise Refused(f"{server}: the certificates or the key cannot be read: {error}") from None
    return made
