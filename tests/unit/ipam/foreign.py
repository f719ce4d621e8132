"""What others do to a directory of leases: the reference's host-local, step by step as its source has it, and operators."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def reserve(directory: Path, address: str, content: str, *, set_index: int = 0) -> None:
    """The reference leases an address: an empty file first, its content then, and the note of the last address, cut and rewritten."""
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / address, "xb", opener=_private) as file:
        file.write(content.encode())
    with open(directory / f"last_reserved_ip.{set_index}", "wb", opener=_private) as file:
        file.write(address.encode())


def die_reserving(directory: Path, address: str) -> None:
    """The reference is killed between creating a lease file and writing it."""
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / address, "xb", opener=_private):
        pass


def release(directory: Path, container_id: str, ifname: str) -> None:
    """The reference releases an owner: whatever file below the directory has the content, or that of old if there is none."""
    for content in (f"{container_id}\r\n{ifname}", container_id):
        matching = [path for path in _walk(directory) if _content(path) == content.encode()]
        for path in matching:
            path.unlink(missing_ok=True)
        if matching:
            return


def _walk(directory: Path) -> Iterator[Path]:
    """Everything below that is no directory itself, in the order in which the reference comes by."""
    for entry in sorted(directory.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(entry)
        else:
            yield entry


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes().strip()
    except OSError:
        return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
