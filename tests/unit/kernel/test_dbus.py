"""Messages on the bus are as the D-Bus Specification has them, and a bus that misbehaves is an error, not a hang."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cni_plugins.kernel import dbus
from cni_plugins.kernel.dbus import Bus, BusError
from cni_plugins.protocol.errors import IoFailure

HELLO = bytes.fromhex(
    "6c 01 02 01 00000000 01000000 6d000000"  # little-endian, a call, nobody is started for it, version 1; no body; serial 1; fields
    "01 01 6f 00 15000000 2f6f72672f667265656465736b746f702f4442757300 0000"  # path /org/freedesktop/DBus
    "02 01 73 00 14000000 6f72672e667265656465736b746f702e4442757300 000000"  # interface
    "03 01 73 00 05000000 48656c6c6f00 0000"  # member Hello
    "06 01 73 00 14000000 6f72672e667265656465736b746f702e4442757300 000000".replace(" ", "")  # destination
)
ERROR_NAME = b"org.example.Broken"


def answer(serial: int, body: bytes = b"", *, kind: int = 2, error: bytes = b"") -> bytes:
    """An answer as a bus sends it."""
    fields = b"\x05\x01u\0" + struct.pack("<I", serial)
    fields += b"\x08\x01g\0\x01s\0" + b"\0" if body else b""
    if error:
        fields += b"\0" * (-len(fields) % 8) + b"\x04\x01s\0" + struct.pack("<I", len(error)) + error + b"\0"
    head = struct.pack("<cBBBIII", b"l", kind, 1, 1, len(body), 7, len(fields)) + fields
    return head + b"\0" * (-len(head) % 8) + body


def signal(member: bytes, body: bytes = b"") -> bytes:
    """A signal as a bus sends it."""
    fields = b"\x03\x01s\0" + struct.pack("<I", len(member)) + member + b"\0"
    head = struct.pack("<cBBBIII", b"l", 4, 1, 1, len(body), 9, len(fields)) + fields
    return head + b"\0" * (-len(head) % 8) + body


def string(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode() + b"\0"


class FakeBus:
    """Lets one client in, greets it, then answers every message with the next of `answers`; `heard` is what came."""

    def __init__(self, path: Path) -> None:
        self.answers: list[bytes] = []
        self.heard: list[bytes] = []
        self.greeting = b"OK 0123456789abcdef\r\n"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):  # the client may leave at any time
            self._talk()

    def _talk(self) -> None:
        client, _ = self._listener.accept()
        with client:
            self.heard.append(client.recv(4096))
            client.sendall(self.greeting)
            said = client.recv(4096)
            for one in (answer(1, string(":1.7")), *self.answers):
                said = said.removeprefix(b"BEGIN\r\n") or client.recv(4096)
                self.heard.append(said)
                client.sendall(one)
                said = b""

    def close(self) -> None:
        self._listener.close()
        self._thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus"


@pytest.fixture
def fake(path: Path) -> Iterator[FakeBus]:
    fake = FakeBus(path)
    yield fake
    fake.close()


def connect(path: Path) -> Bus:
    bus = Bus.connect(str(path))
    assert bus is not None
    return bus


def test_first_message_is_to_the_byte_what_the_specification_asks_for(fake: FakeBus, path: Path) -> None:
    connect(path).close()
    assert fake.heard[0].startswith(b"\0AUTH EXTERNAL ")
    assert fake.heard[1] == HELLO + b"\0" * (-len(HELLO) % 8)


def test_answers_of_every_kind_are_read(fake: FakeBus, path: Path) -> None:
    fake.answers = [answer(2, string("trusted")), answer(3, struct.pack("<I", 1)), answer(99, string("a signal")) + answer(4)]
    with connect(path) as bus:
        assert dbus.text(bus.call("a.b", "/a", "a.b.c", ["x"])) == "trusted"
        assert dbus.truth(bus.call("a.b", "/a", "a.b.c", ["x", "longer"]))
        assert bus.call("a.b", "/a", "a.b.c", []) == b""


def test_signals_are_read_and_what_is_none_has_no_name(fake: FakeBus, path: Path) -> None:
    changed = string("org.example.Owner") + b"\0" * 2 + string("") + b"\0" * 3 + string(":1.5")
    fake.answers = [answer(2) + signal(b"Reloaded") + answer(77) + signal(b"NameOwnerChanged", changed)]
    with connect(path) as bus:
        bus.listen("type='signal',member='Reloaded'")
        assert bus.fileno() >= 0
        assert bus.read_signal() == ("Reloaded", b"")
        assert bus.read_signal()[0] == ""
        name, body = bus.read_signal()
        assert (name, dbus.texts(body)) == ("NameOwnerChanged", ["org.example.Owner", "", ":1.5"])
        fake.close()
        with pytest.raises(IoFailure):
            bus.read_signal()
    assert b"AddMatch" in fake.heard[-1]


def test_error_of_the_other_side_has_its_name_and_text(fake: FakeBus, path: Path) -> None:
    fake.answers = [answer(2, string("NO: not today"), kind=3, error=ERROR_NAME)]
    with connect(path) as bus, pytest.raises(BusError, match="NO: not today") as caught:
        bus.call("a.b", "/a", "a.b.c", ["x"])
    assert caught.value.name == ERROR_NAME.decode()


@pytest.mark.parametrize("broken", [b"", b"l", b"B" + bytes(15), struct.pack("<cBBBIII", b"l", 2, 1, 1, 1 << 30, 7, 0)])
def test_nonsense_is_an_error(fake: FakeBus, path: Path, broken: bytes) -> None:
    fake.answers = [broken]
    with connect(path) as bus, pytest.raises(IoFailure):
        bus.call("a.b", "/a", "a.b.c", ["x"])


def test_bus_that_lets_nobody_in_is_an_error(fake: FakeBus, path: Path) -> None:
    fake.greeting = b"REJECTED EXTERNAL\r\n"
    with pytest.raises(IoFailure, match="does not let us in"):
        Bus.connect(str(path))


def test_no_bus_is_no_error(path: Path) -> None:
    assert Bus.connect(str(path)) is None
    path.touch()
    assert Bus.connect(str(path)) is None
    assert Bus.connect(f"{path}/below") is None
