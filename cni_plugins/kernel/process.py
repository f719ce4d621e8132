"""Running another CNI plugin: input on stdin, answer from stdout (SPEC 1.1.0, "Execution Protocol").

posix_spawn(3) and poll(2), without `subprocess`, whose import takes longer than many a plugin. Both pipes are served at once, so that
neither side can wait for the other for ever. A plugin that is being installed (ETXTBSY) is tried again.
"""

from __future__ import annotations

import posix
from errno import ETXTBSY
from time import monotonic

from cni_plugins.kernel import calls, files, signals
from cni_plugins.protocol.errors import IoFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Heed = tuple[int, Callable[[], None]]

_POLLIN, _POLLOUT = 0x1, 0x4
_SIGTERM, _SIGKILL = 15, 9
_BUSY_SECONDS = 2.0
_GRACE_SECONDS = 5.0
_PAUSE = 0.01
_LOCK = 3
"""Which descriptor an inherited lock is in the child; it does not know of it."""


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for another program: without what PyInstaller's bootloader put into ours.

    It makes the dynamic linker prefer the libraries of our bundle (LD_LIBRARY_PATH), which would break a program of the host.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith(("_PYI_", "_MEIPASS"))}
    original = kept.pop("LD_LIBRARY_PATH_ORIG", None)
    if original is not None:
        kept["LD_LIBRARY_PATH"] = original
    elif len(kept) < len(environment):
        kept.pop("LD_LIBRARY_PATH", None)
    return kept


class Finished:
    """What came of a program: `status` (its exit status, or minus the signal that ended it), and what it wrote."""

    __slots__ = ("status", "stderr", "stdout")

    def __init__(self, status: int, stdout: bytes, stderr: bytes) -> None:
        self.status = status
        self.stdout = stdout
        self.stderr = stderr


def run(
    path: str,
    stdin: bytes,
    environment: Mapping[str, str],
    *,
    limit: int = 1 << 24,
    capture_stderr: bool = False,
    stderr: int = 2,
    lock: int = -1,
    heed: Heed | None = None,
) -> Finished:
    """Run the program at `path` with `stdin` as its input and wait for its end.

    Its stderr goes to the descriptor `stderr`, unless it is captured. It inherits `lock`, a descriptor that is locked: should we be killed,
    nobody gets the lock before it has ended. `heed` is a descriptor, and what is called when that can be read.

    Raises OSError if it cannot be started, IoFailure if it writes more than `limit` bytes. If anything is raised here while it runs (by
    `heed` or a signal's handler, too), it is told to end (SIGTERM, and after five seconds SIGKILL), and has ended when we return.
    """
    pipes = _Pipes(stdin, capture_stderr=capture_stderr, limit=limit, path=path)
    inherited = {**({} if capture_stderr else {2: stderr}), **({_LOCK: lock} if lock >= 0 else {})}
    try:
        pid = 0
        deferred = signals.defer()
        try:
            try:
                pid = _spawn(path, clean_environment(environment), descriptors={**pipes.theirs, **inherited}, blocked=deferred)
            finally:
                signals.restore(deferred)
            pipes.close_theirs()
            pipes.serve(heed)
            status = calls.waitpid(pid, 0)[1]
        except BaseException:
            if pid:
                _end(pid)
            raise
    finally:
        pipes.close()
    return Finished(posix.waitstatus_to_exitcode(status), *pipes.received())


def _spawn(path: str, environment: Mapping[str, str], *, descriptors: Mapping[int, int], blocked: Iterable[int]) -> int:
    deadline = monotonic() + _BUSY_SECONDS
    while True:
        try:
            return calls.spawn(path, [path], environment, descriptors=descriptors, blocked=blocked)
        except OSError as error:
            if error.errno != ETXTBSY or monotonic() > deadline:
                raise
        calls.sleep(_PAUSE)


def _end(pid: int) -> None:
    """End a child and reap it."""
    try:
        calls.kill(pid, _SIGTERM)
        deadline = monotonic() + _GRACE_SECONDS
        while monotonic() < deadline:
            if calls.waitpid(pid, posix.WNOHANG)[0]:
                return
            calls.sleep(_PAUSE)
        calls.kill(pid, _SIGKILL)
        calls.waitpid(pid, 0)
    except (ChildProcessError, ProcessLookupError):
        pass  # it had ended, and been reaped, before the exception came


class _Pipes:
    """The pipes to and from a child, ours and theirs."""

    __slots__ = ("_limit", "_path", "_received", "_rest", "_writer", "theirs")

    def __init__(self, stdin: bytes, *, capture_stderr: bool, limit: int, path: str) -> None:
        self._limit = limit
        self._path = path
        self._rest = memoryview(stdin)
        self._received: dict[int, list[bytes]] = {}
        self._writer = -1
        self.theirs: dict[int, int] = {}
        try:
            self.theirs[0], self._writer = calls.pipe()
            posix.set_blocking(self._writer, False)
            for number in (1, 2) if capture_stderr else (1,):
                reader, self.theirs[number] = calls.pipe()
                self._received[reader] = []
        except BaseException:
            self.close()
            raise

    def close_theirs(self) -> None:
        while self.theirs:
            files.let_go(self.theirs.popitem()[1])

    def serve(self, heed: Heed | None) -> None:
        """Write and read until everything has been written (or is not wanted) and the child's ends are closed."""
        open_readers = set(self._received)
        while open_readers or self._writer >= 0:
            watched = dict.fromkeys(open_readers, _POLLIN)
            if self._writer >= 0:
                watched[self._writer] = _POLLOUT
            if heed is not None:
                watched[heed[0]] = _POLLIN
            for fd, _events in calls.poll(watched):
                if heed is not None and fd == heed[0]:
                    heed[1]()
                elif fd == self._writer:
                    self._feed()
                elif not self._take(fd):
                    open_readers.discard(fd)

    def _feed(self) -> None:
        try:
            self._rest = self._rest[calls.write(self._writer, self._rest) :]
        except BrokenPipeError:
            self._rest = memoryview(b"")  # it does not read its input: its own affair
        if not self._rest:
            files.let_go(self._writer)
            self._writer = -1

    def _take(self, reader: int) -> bool:
        piece = calls.read(reader, 1 << 16)
        self._received[reader].append(piece)
        if sum(map(len, self._received[reader])) > self._limit:
            raise IoFailure(f"{self._path} wrote more than {self._limit} bytes")
        return bool(piece)

    def received(self) -> tuple[bytes, bytes]:
        stdout, *stderr = (b"".join(pieces) for pieces in self._received.values())
        return stdout, stderr[0] if stderr else b""

    def close(self) -> None:
        self.close_theirs()
        ours, self._writer = [self._writer, *self._received], -1
        for fd in ours:
            if fd >= 0:
                files.let_go(fd)
