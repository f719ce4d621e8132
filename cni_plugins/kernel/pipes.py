"""The pipes to and from a program that was started: its input, its output, its complaints if they are wanted."""

from __future__ import annotations

import posix

from cni_plugins.kernel import calls, files
from cni_plugins.protocol.errors import IoFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.process import Program

_POLLIN, _POLLOUT = 0x1, 0x4


class Pipes:
    """Our ends and, until it has been started, the program's: `theirs` is {its descriptor: ours}. All are served at once, so that
    neither side can wait for the other for ever. There are none before `open`.
    """

    __slots__ = ("_program", "_readers", "_rest", "_texts", "_writer", "theirs")

    def __init__(self, program: Program) -> None:
        self._program = program
        self._rest = memoryview(program.stdin)
        self._texts: list[list[bytes]] = [[], []]
        self._readers: dict[int, list[bytes]] = {}
        self._writer = -1
        self.theirs: dict[int, int] = {}

    def open(self) -> None:
        """Make them. Raises OSError; what was made by then is to be closed."""
        self.theirs[0], self._writer = calls.pipe()
        posix.set_blocking(self._writer, False)
        for number in (1, 2) if self._program.capture_stderr else (1,):
            reader, self.theirs[number] = calls.pipe()
            self._readers[reader] = self._texts[number - 1]

    def close_theirs(self) -> None:
        """When the program has been started: only it has them then."""
        while self.theirs:
            files.let_go(self.theirs.popitem()[1])

    def watched(self) -> dict[int, int]:
        """The descriptors to wait for, with their events as in poll(2): none when all was written (or is not wanted) and all was read."""
        watched = dict.fromkeys(self._readers, _POLLIN)
        if self._writer >= 0:
            watched[self._writer] = _POLLOUT
        return watched

    def serve(self, fd: int) -> None:
        """Read from or write to the descriptor, which is ready. Raises IoFailure when the program has written more than it may, OSError."""
        if fd == self._writer:
            self._feed()
        else:
            self._take(fd)

    def received(self) -> tuple[bytes, bytes]:
        """What the program wrote: its output, and its complaints if they were wanted."""
        stdout, stderr = self._texts
        return b"".join(stdout), b"".join(stderr)

    def close(self) -> None:
        """Close all that is still open."""
        self.close_theirs()
        while self._readers:
            files.let_go(self._readers.popitem()[0])
        self._close_writer()

    def _feed(self) -> None:
        try:
            self._rest = self._rest[calls.write(self._writer, self._rest) :]
        except BrokenPipeError:
            self._rest = memoryview(b"")  # it does not read its input: its own affair
        if not self._rest:
            self._close_writer()

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, -1
        if writer >= 0:
            files.let_go(writer)

    def _take(self, reader: int) -> None:
        piece = calls.read(reader, 1 << 16)
        pieces = self._readers[reader]
        pieces.append(piece)
        if sum(map(len, pieces)) > self._program.limit:
            raise IoFailure(f"{self._program.path} wrote more than {self._program.limit} bytes")
        if not piece:
            del self._readers[reader]
            files.let_go(reader)
