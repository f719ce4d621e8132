"""Waiting for a file to change (inotify(7)), for long-lived processes.

The file's directory is watched, not the file: a writer that replaces it by rename, as all good ones do, leaves a new file there. Kubernetes
replaces the files of a volume by moving a symbolic link whose name begins with two dots, so such names count too.
"""

from __future__ import annotations

import os
import select
import struct
from typing import Self

from cni_plugins.kernel.clib import c_library

_IN_CLOSE_WRITE = 0x8
_IN_MOVED_FROM = 0x40
_IN_MOVED_TO = 0x80
_IN_CREATE = 0x100
_IN_DELETE = 0x200
_IN_Q_OVERFLOW = 0x4000
_IN_IGNORED = 0x8000
_IN_ONLYDIR = 0x01000000
_MASK = _IN_CLOSE_WRITE | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE | _IN_ONLYDIR
_HEADER = struct.Struct("iIII")


class FileWatch:
    """Watches one file, which need not be there; its directory must. Raises OSError when the directory is not there.

    With `directory`, `path` is a directory, and all files in it are watched. Use it as a context manager, or `close` it. Changes are kept
    from the moment it is made, so make it before reading the file.
    """

    def __init__(self, path: str, *, directory: bool = False) -> None:
        place, self._name = (path, "") if directory else os.path.split(os.path.abspath(path))
        self._fd = self._stop = self._stopper = -1
        self._fd = c_library().call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        self._stop, self._stopper = os.pipe2(os.O_CLOEXEC)
        try:
            c_library().call("inotify_add_watch", self._fd, os.fsencode(place), _MASK)
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self) -> bool:
        """Wait until the file may have changed; False when `stop` was called. Raises OSError when the directory is gone."""
        while True:
            ready = {fd for fd, _ in self._poll()}
            if self._stop in ready:
                return False
            if self._changed():
                return True

    def stop(self) -> None:
        """Make the one who waits return; any thread may call it, more than once."""
        if self._stopper >= 0:
            os.write(self._stopper, b"0")

    def _poll(self) -> list[tuple[int, int]]:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        return poll.poll()

    def _changed(self) -> bool:
        changed, data, at = False, os.read(self._fd, 1 << 16), 0
        while at < len(data):
            _, mask, _, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size
            name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
            at += length
            if mask & _IN_IGNORED:
                raise FileNotFoundError(f"the directory of {self._name} is gone")
            changed = changed or bool(mask & _IN_Q_OVERFLOW) or self._name in ("", name) or name.startswith("..")
        return changed

    def close(self) -> None:
        """Stop watching."""
        for fd in (self._fd, self._stop, self._stopper):
            if fd >= 0:
                os.close(fd)
        self._fd = self._stop = self._stopper = -1
