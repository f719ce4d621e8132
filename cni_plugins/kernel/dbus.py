"""Calls over the system's D-Bus (D-Bus Specification 0.43), as few as they are: methods that take strings; and its signals.

    with Bus.connect() as bus:
        bus.call("org.fedoraproject.FirewallD1", "/org/fedoraproject/FirewallD1", "….zone.addSource", ["trusted", "10.1.0.2/32"])

Messages are put together by hand, since a client library costs more to load than all that is done with it.
"""

from __future__ import annotations

import posix
from _struct import pack, unpack_from

from cni_plugins.kernel import calls, files
from cni_plugins.protocol.errors import IoFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

SYSTEM_BUS = "/run/dbus/system_bus_socket"
_DAEMON = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_PATIENCE_SECONDS = 25
_METHOD_CALL, _METHOD_RETURN, _ERROR, _SIGNAL = 1, 2, 3, 4
_NO_AUTO_START = 0x2
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_HEADER_BYTES = 16
_LIMIT = 1 << 20


class BusError(IoFailure):
    """The other side answered with an error: its `name` ("org.fedoraproject.FirewallD1.Exception"), its text as the message."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"D-Bus: {text or name}")
        self.name = name


class Bus:
    """A connection to a bus, for one thread. Errors of the connection are IoFailure."""

    __slots__ = ("_fd", "_serial")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._serial = 0

    @classmethod
    def connect(cls, path: str = SYSTEM_BUS) -> Self | None:
        """Connect to the bus that listens at `path`; None when nobody does. Raises IoFailure."""
        try:
            fd = calls.connect(path, patience=_PATIENCE_SECONDS)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return None
        except OSError as error:
            raise IoFailure(f"cannot connect to {path}: {error.strerror}") from error
        bus = cls(fd)
        try:
            with files.attempting("speak on", path):
                files.write_all(fd, b"\0AUTH EXTERNAL " + str(posix.getuid()).encode().hex().encode() + b"\r\n")
                if not bus._line().startswith(b"OK "):
                    raise IoFailure(f"D-Bus: {path} does not let us in")
                files.write_all(fd, b"BEGIN\r\n")
            bus.call(*_DAEMON[:2], f"{_DAEMON[2]}.Hello", [])
        except BaseException:
            bus.close()
            raise
        return bus

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        files.let_go(self._fd)

    def has(self, name: str) -> bool:
        """Whether somebody answers to `name`; nobody is started for it. Raises IoFailure."""
        answer = self.call(*_DAEMON[:2], f"{_DAEMON[2]}.NameHasOwner", [name])
        return bool(_number(answer, 0))

    def fileno(self) -> int:
        """Its descriptor, which can be read when a signal has come."""
        return self._fd

    def listen(self, rule: str) -> None:
        """Have signals sent here that match a rule ("Match Rules"). Raises BusError, IoFailure."""
        self.call(*_DAEMON[:2], f"{_DAEMON[2]}.AddMatch", [rule])

    def read_signal(self) -> tuple[str, bytes]:
        """Read one message: a signal's name and body, an empty name for what is none. Raises IoFailure."""
        with files.attempting("listen on", "D-Bus"):
            kind, fields, body = self._read()
        return (str(fields.get(_MEMBER, "")) if kind == _SIGNAL else ""), body

    def call(self, destination: str, path: str, method: str, arguments: list[str]) -> bytes:
        """Call `method` (with its interface before it) and return the body of the answer, little-endian. Raises BusError, IoFailure."""
        self._serial += 1
        interface, _, member = method.rpartition(".")
        fields = {_PATH: ("o", path), _INTERFACE: ("s", interface), _MEMBER: ("s", member), _DESTINATION: ("s", destination)}
        if arguments:
            fields[_SIGNATURE] = ("g", "s" * len(arguments))
        with files.attempting("call", method):
            files.write_all(self._fd, _message(self._serial, fields, arguments))
            return self._answer()

    def _answer(self) -> bytes:
        """The answer to the last call; whatever else arrives is for nobody here."""
        while True:
            kind, fields, body = self._read()
            if fields.get(_REPLY_SERIAL) != self._serial:
                continue
            if kind == _ERROR:
                raise BusError(str(fields.get(_ERROR_NAME, "")), text(body) if body else "")
            if kind == _METHOD_RETURN:
                return body

    def _read(self) -> tuple[int, dict[int, object], bytes]:
        """One message: its type, the fields of its header, its body."""
        header = self._exactly(_HEADER_BYTES)
        if header[:1] != b"l":
            raise IoFailure("D-Bus: the bus writes numbers the other way round")
        kind, body_bytes, fields_bytes = header[1], _number(header, 4), _number(header, 12)
        if body_bytes + fields_bytes > _LIMIT:
            raise IoFailure(f"D-Bus: a message of {body_bytes + fields_bytes} bytes")
        fields = _read_fields(self._exactly(_padded(fields_bytes))[:fields_bytes])
        return kind, fields, self._exactly(body_bytes)

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\r\n") and len(line) < _LIMIT:
            line += self._exactly(1)
        return line

    def _exactly(self, size: int) -> bytes:
        data = files.read_all(self._fd, limit=size)
        if len(data) < size:
            raise IoFailure("D-Bus: the bus closed the connection")
        return data


def text(body: bytes) -> str:
    """The string that a body begins with."""
    return body[4 : 4 + _number(body, 0)].decode(errors="replace")


def texts(body: bytes) -> list[str]:
    """The strings of a body that has nothing else."""
    found, at = [], 0
    while at + 4 <= len(body):
        found.append(text(body[at:]))
        at += 4 + _number(body, at) + 1
        at += -at % 4
    return found


def truth(body: bytes) -> bool:
    """The boolean that a body begins with."""
    return bool(_number(body, 0))


def _message(serial: int, fields: dict[int, tuple[str, str]], arguments: list[str]) -> bytes:
    body = b""
    for argument in arguments:
        body = _aligned(body, 4) + _string(argument)
    listed = b""
    for code, (kind, value) in fields.items():
        listed = _aligned(listed, 8) + bytes((code, 1)) + kind.encode() + b"\0"
        listed += bytes((len(value),)) + value.encode() + b"\0" if kind == "g" else _string(value)
    header = pack("<cBBBIII", b"l", _METHOD_CALL, _NO_AUTO_START, 1, len(body), serial, len(listed))
    return _aligned(header + listed, 8) + body


def _read_fields(data: bytes) -> dict[int, object]:
    """The header's fields: strings, and the serial number that is answered."""
    found: dict[int, object] = {}
    at = 0
    while at + 4 < len(data):
        code, kind = data[at], data[at + 2 : at + 3]
        at += 4
        if kind == b"g":
            size = 1 + data[at]
            found[code] = data[at + 1 : at + size].decode()
            at += size + 1
        elif kind == b"u":
            found[code] = _number(data, at)
            at += 4
        else:
            found[code] = text(data[at:])
            at += 4 + _number(data, at) + 1
        at = _padded(at)
    return found


def _string(value: str) -> bytes:
    data = value.encode("utf-8", "replace")
    return pack("<I", len(data)) + data + b"\0"


def _number(data: bytes, at: int) -> int:
    return int(unpack_from("<I", data, at)[0])


def _aligned(data: bytes, width: int) -> bytes:
    return data + b"\0" * (-len(data) % width)


def _padded(size: int) -> int:
    return size + -size % 8
