"""One attachment, one call at a time, whoever makes it.

A byte-range lock that belongs to an open file description (F_OFD_SETLKW), on one file, at an offset hashed from plugin and
attachment: there is nothing to clean up, the kernel frees it when its holder dies, and thousands of attachments need one file.
"""

from __future__ import annotations

from _blake2 import blake2b

from cni_plugins.kernel import calls, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from cni_plugins.plan.world import Handles

_OFFSET_BITS = 62


class AttachmentLock:
    """Held from entering to leaving the context; entering waits for the holder, or gives up at once with `wait=False`.

    `key` is the attachment's; `held` tells whether the lock was had; a process that inherits `fd` has it too, until it is left here.
    Raises IoFailure when its file cannot be opened.
    """

    __slots__ = ("_offset", "_path", "_wait", "fd", "held")

    def __init__(self, run_dir: str, plugin: str, key: bytes, *, wait: bool = True) -> None:
        self._offset = _offset(plugin, key)
        self._path = f"{run_dir}/lock"
        self._wait = wait
        self.fd = -1
        self.held = False

    def __enter__(self) -> Self:
        with files.attempting("lock", self._path):
            self.fd = files.open_to_lock(self._path)
            try:
                calls.lock_byte(self.fd, self._offset, wait=self._wait)
                self.held = True
            except BlockingIOError:
                self.held = False
            except BaseException:
                files.let_go(self.fd)
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.held:
            try:
                calls.unlock_byte(self.fd, self._offset)
            except OSError:
                pass  # closing it does the same, unless a program that a delegate left behind has it
        files.let_go(self.fd)


class LentLock(AttachmentLock):
    """The lock of the attachment that a call is about: while it is held, delegates that are executed inherit it from `handles`.

    Where calls are nested, they get the outermost one's.
    """

    __slots__ = ("_handles", "_lent")

    def __init__(self, handles: Handles, plugin: str, key: bytes, *, wait: bool = True) -> None:
        super().__init__(handles.run_dir, plugin, key, wait=wait)
        self._handles = handles
        self._lent = False

    def __enter__(self) -> Self:
        super().__enter__()
        self._lent = self.held and self._handles.lock < 0
        if self._lent:
            self._handles.lock = self.fd
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._lent:
            self._handles.lock = -1
        super().__exit__(kind, error, trace)


class AttachmentLocks:
    """Locks of many attachments on one descriptor, each taken when nobody has it; all are let go of when the context is left.

    Raises IoFailure when their file cannot be opened.
    """

    __slots__ = ("_fd", "_path")

    def __init__(self, run_dir: str) -> None:
        self._path = f"{run_dir}/lock"
        self._fd = -1

    def __enter__(self) -> Self:
        with files.attempting("lock", self._path):
            self._fd = files.open_to_lock(self._path)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        files.let_go(self._fd)

    def take(self, plugin: str, key: bytes) -> bool:
        """Have one more; False when somebody is working on the attachment. Raises IoFailure."""
        with files.attempting("lock", self._path):
            try:
                calls.lock_byte(self._fd, _offset(plugin, key), wait=False)
            except BlockingIOError:
                return False
        return True


def _offset(plugin: str, key: bytes) -> int:
    digest = blake2b(plugin.encode() + b"\0" + key, digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 64 - _OFFSET_BITS
