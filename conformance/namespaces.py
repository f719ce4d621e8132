"""Linux namespaces: made, entered and left by the calling thread, held by file descriptors instead of processes.

Python 3.11 has neither `os.unshare` nor `os.setns`, so both are called in the C library. Everything here needs root.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWNET = 0x40000000
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
KINDS = {"mnt": CLONE_NEWNS, "uts": CLONE_NEWUTS, "net": CLONE_NEWNET}

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces, as unshare(2). Raises OSError."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace that `fd` names, as setns(2). Raises OSError."""
    _check(_libc.setns(fd, kind), f"setns({kind:#x})")


def mount(source: str, target: str, kind: str = "", *, flags: int = 0, data: str = "") -> None:
    """Mount, bind, move or change the propagation of a mount, as mount(2). Raises OSError."""
    done = _libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, data.encode() or None)
    _check(done, f"mount {source} on {target}")


def unmount(target: str) -> None:
    """Take a mount away at once, even while something uses it, as umount2(2) with MNT_DETACH. Raises OSError."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def loopback_up() -> None:
    """Bring `lo` up in the calling thread's network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))


class Namespaces:
    """The mount, UTS and network namespaces that a thread is in, kept alive by open file descriptors."""

    def __init__(self) -> None:
        self._fds = {kind: os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in KINDS}

    def enter(self) -> None:
        """Move the calling thread into all of them; its working directory stays the same path where there is one."""
        directory = os.getcwd()
        unshare(CLONE_FS)  # a mount namespace can't be entered by a thread that shares its root and working directory
        for kind, fd in self._fds.items():
            setns(fd, KINDS[kind])
        if os.path.isdir(directory):
            os.chdir(directory)

    def identity(self, kind: str) -> int:
        """The inode number by which /proc names the namespace of this kind ("mnt", "uts" or "net")."""
        return os.fstat(self._fds[kind]).st_ino

    def close(self) -> None:
        """Let go of the namespaces; the kernel removes them when nothing else holds them."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()


@contextmanager
def elsewhere() -> Iterator[None]:
    """Whatever namespaces the body moves into, come back to the present ones after it. Raises RuntimeError if that failed."""
    home = Namespaces()
    try:
        yield
    finally:
        try:
            home.enter()
            here = Namespaces()
            try:
                if any(here.identity(kind) != home.identity(kind) for kind in KINDS):
                    raise RuntimeError("the thread did not come back to the namespaces that it left")
            finally:
                here.close()
        finally:
            home.close()


@contextmanager
def network(path: str) -> Iterator[bool]:
    """Be in the network namespace at `path` for the length of a block; False, and nothing done, when there is none at this path."""
    try:
        target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(target, CLONE_NEWNET)
        try:
            yield True
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(target)
        os.close(home)


def current(kind: str) -> int:
    """The inode number of the calling thread's namespace of this kind ("mnt", "uts" or "net")."""
    return os.stat(f"/proc/thread-self/ns/{kind}").st_ino


def command(pid: int) -> str:
    """The command line of a process; empty for the kernel's own. Raises OSError when there is no such process."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().replace(b"\0", b" ").decode(errors="replace").strip()


def processes_in(identities: dict[str, set[int]]) -> dict[int, str]:
    """The processes, this one apart, in any of the given namespaces: process number to command line.

    `identities` maps "mnt", "uts" or "net" to inode numbers. Processes that end meanwhile are left out.
    """
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        for kind, inodes in identities.items():
            try:
                inside = os.stat(f"/proc/{entry}/ns/{kind}").st_ino in inodes
                if inside:
                    found[int(entry)] = command(int(entry))
            except OSError:
                break
            if inside:
                break
    return found
