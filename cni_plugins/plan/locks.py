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

_OFFSET_BITS = 62


class AttachmentLock:
    """Held from entering to leaving the context; entering waits for the holder, or gives up at once with `wait=False`.

    `key` is the attachment's; `held` tells whether the lock was had; a process that inherits `fd` has it too, until it is left here.
    Raises IoFailure when its file cannot be opened.
    """

    __slots__ = ("_offset", "_path", "_wait", "fd", "held")

    def __init__(self, run_dir: str, plugin: str, key: bytes, *, wait: bool = True) -> None:
        digest = blake2b(plugin.encode() + b"\0" + key, digest_size=8).digest()
        self._offset = int.from_bytes(digest, "big") >> 64 - _OFFSET_BITS
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
