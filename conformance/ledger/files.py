"""Files: in state and temporary directories, and the names of network namespaces."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress

SHOWN = 80
"""Text up to this many bytes is shown as it is, anything else by its length and a hash."""

_KINDS = {
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def read(directory: str) -> dict[str, dict[str, str]]:
    """Everything below a directory, that itself apart: path to kind, mode and content. Other file systems are not entered."""
    found: dict[str, dict[str, str]] = {}
    with suppress(FileNotFoundError, NotADirectoryError):
        _walk(directory, os.stat(directory).st_dev, found)
    return found


def names(directory: str) -> dict[str, dict[str, str]]:
    """The names in a directory; nothing if it does not exist."""
    with suppress(OSError):
        return {name: {} for name in os.listdir(directory)}
    return {}


def _walk(directory: str, device: int, found: dict[str, dict[str, str]]) -> None:
    with os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # gone since the directory was read
                status = entry.stat(follow_symlinks=False)
                found[entry.path] = _describe(entry.path, status, device)
                if stat.S_ISDIR(status.st_mode) and status.st_dev == device:
                    _walk(entry.path, device, found)


def _describe(path: str, status: os.stat_result, device: int) -> dict[str, str]:
    if status.st_dev != device:
        return {"kind": "mount"}
    fields = {"kind": _KINDS.get(stat.S_IFMT(status.st_mode), "file"), "mode": f"{stat.S_IMODE(status.st_mode):04o}"}
    if stat.S_ISLNK(status.st_mode):
        fields["to"] = os.readlink(path)
    elif stat.S_ISREG(status.st_mode):
        fields["content"] = _content(path)
    return fields


def _content(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        return f"(unreadable: {error.strerror})"
    with suppress(UnicodeDecodeError):
        if len(data) <= SHOWN:
            return repr(data.decode())
    return f"{len(data)} bytes {hashlib.blake2b(data, digest_size=8).hexdigest()}"
