"""Small files, written so that nobody sees half of one.

Here OSError becomes IoFailure: each function says what it attempted on which path, and what a person can do about the usual
reasons. Code that uses `calls` on files directly wraps itself in `with attempting("lock", path):` for the same.

A file is written as `.NAME.new` beside its place, and gets its name by rename(2) when all its bytes are there. Whoever replaces a
file is expected to hold the lock that goes with it, so that there is one writer to a name. A process killed in between leaves
at most that draft: the next writer uses it up, and `withdraw` removes it.
"""

from __future__ import annotations

import posix
from errno import EACCES, EDQUOT, EISDIR, ENOSPC, EOPNOTSUPP, EPERM, EROFS

from cni_plugins.kernel import calls
from cni_plugins.protocol.errors import IoFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_ADVICE = {
    ENOSPC: "free some space there, or choose another directory",
    EDQUOT: "raise the quota, or choose another directory",
    EROFS: "the directory must be on a file system that can be written",
    EACCES: "the plugin must be run as root",
    EPERM: "the plugin must be run as root",
}
_O_TMPFILE = 0o20000000 | posix.O_DIRECTORY
_ABSENT = (FileNotFoundError, NotADirectoryError)


class Attempt:
    """See `attempting`."""

    __slots__ = ("_action", "_path")

    def __init__(self, action: str, path: str) -> None:
        self._action = action
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, OSError):
            number = error.errno or 0
            raise IoFailure(f"cannot {self._action} {self._path}: {posix.strerror(number)}", _ADVICE.get(number, "")) from error


def attempting(action: str, path: str) -> Attempt:
    """In `with attempting("lock", path):` an OSError becomes an IoFailure that says "cannot lock PATH: reason"."""
    return Attempt(action, path)


def read(path: str, *, limit: int = 1 << 20) -> bytes | None:
    """Read a whole file; None if it does not exist. Raises IoFailure, also when it has more than `limit` bytes."""
    with attempting("read", path):
        try:
            fd = calls.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        except _ABSENT:
            return None
        try:
            data = read_all(fd, limit=limit + 1)
        finally:
            calls.close(fd)
    if len(data) > limit:
        raise IoFailure(f"cannot read {path}: it has more than {limit} bytes")
    return data


def read_all(fd: int, *, limit: int) -> bytes:
    """Read from a descriptor until its end or until there are `limit` bytes. Raises OSError."""
    pieces = []
    while limit > 0:
        piece = calls.read(fd, min(limit, 1 << 16))
        if not piece:
            break
        pieces.append(piece)
        limit -= len(piece)
    return b"".join(pieces)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data` to a descriptor. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[calls.write(fd, rest) :]


def write_atomic(path: str, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file, replacing what has its name; a reader sees the old bytes or the new ones. Raises IoFailure."""
    draft = draft_of(path)
    with attempting("write", path):
        try:
            fd = calls.open(draft, posix.O_CREAT | posix.O_TRUNC | posix.O_WRONLY | posix.O_CLOEXEC, mode)
            try:
                write_all(fd, data)
            finally:
                calls.close(fd)
            calls.rename(draft, path)
        except BaseException:
            remove_quietly(draft)
            raise


def withdraw(path: str) -> None:
    """Remove a file that `write_atomic` wrote, and what a killed write may have left beside it. Raises IoFailure."""
    with attempting("remove", path):
        remove_quietly(draft_of(path))
        remove_quietly(path)


def draft_of(path: str) -> str:
    """Where `write_atomic` writes before the file gets its name `path`."""
    directory, slash, name = path.rpartition("/")
    return f"{directory}{slash}.{name}.new"


def name_of_draft(name: str) -> str:
    """The name that a draft, a name in a directory, would have got; empty when it is no draft."""
    return name[1:-4] if name.startswith(".") and name.endswith(".new") else ""


def remove_quietly(path: str) -> bool:
    """Remove a file. Returns False if it is not there. Raises OSError."""
    try:
        calls.unlink(path)
    except _ABSENT:
        return False
    return True


def remove(path: str) -> bool:
    """Remove a file. Returns False if it is not there. Raises IoFailure."""
    with attempting("remove", path):
        return remove_quietly(path)


def exists(path: str) -> bool:
    """Whether something has this name (a symlink counts, wherever it leads). Raises IoFailure."""
    with attempting("look at", path):
        try:
            calls.lstat(path)
        except _ABSENT:
            return False
        return True


def names(path: str) -> list[str]:
    """List the names in a directory, in no order; empty if it does not exist. Raises IoFailure."""
    with attempting("list", path):
        try:
            return calls.listdir(path)
        except _ABSENT:
            return []


def make_dirs(path: str, *, mode: int = 0o755) -> None:
    """Make a directory and those above it that are missing. Raises IoFailure."""
    with attempting("make directory", path):
        _make_dirs(path, mode)


def _make_dirs(path: str, mode: int) -> None:
    try:
        calls.mkdir(path, mode)
    except FileNotFoundError:
        parent = path.rstrip("/").rpartition("/")[0]
        if not parent:
            raise
        _make_dirs(parent, mode)
        _make_dirs(path, mode)
    except FileExistsError:
        # A name that is taken by something else is found out by what is done in the directory next.
        pass


def let_go(fd: int) -> None:
    """Close a descriptor that nothing was written through. Linux frees it, and a lock on it, whatever close(2) says."""
    try:
        calls.close(fd)
    except OSError:
        pass


def check_writable(path: str) -> None:
    """Find out whether files could be made in a directory now (in the nearest one above, when it is still to be made).

    Writes a file without a name, of which nothing remains; where the file system has none of those, a draft takes its place.
    Raises IoFailure, also when the disk is full.
    """
    directory = path.rstrip("/")
    while directory and not exists(directory):
        directory = directory.rpartition("/")[0]
    probe = f"{directory}/.probe.new"
    with attempting("write to", path):
        try:
            fd = calls.open(directory or "/", _O_TMPFILE | posix.O_WRONLY | posix.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in (EOPNOTSUPP, EISDIR):
                raise
            fd = calls.open(probe, posix.O_CREAT | posix.O_WRONLY | posix.O_CLOEXEC, 0o600)
            calls.unlink(probe)
        try:
            write_all(fd, b"0")
        finally:
            calls.close(fd)


def append(path: str, data: bytes, *, mode: int = 0o600) -> None:
    """Add `data` to the end of a file in one write, so that lines of several writers do not mix. Raises IoFailure."""
    with attempting("write to", path):
        fd = calls.open(path, posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC, mode)
        try:
            write_all(fd, data)
        finally:
            calls.close(fd)


def open_to_lock(path: str) -> int:
    """Open a file that is only there to be locked; it and its directory (for root alone) are made when missing. Raises OSError."""
    flags = posix.O_CREAT | posix.O_RDWR | posix.O_CLOEXEC
    try:
        return calls.open(path, flags, 0o600)
    except FileNotFoundError:
        make_dirs(path.rpartition("/")[0], mode=0o700)
        return calls.open(path, flags, 0o600)
