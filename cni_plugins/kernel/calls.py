"""Every operation by which the plugins read or change the machine, under one roof.

Callers write `calls.rename(a, b)` and so look the name up at the moment of the call: a test can make each operation of
`__all__` fail in turn and prove that nothing is left behind, without any hook in the code that it tests. Nothing else in
the library opens, locks, sends or executes.

The functions raise OSError as the kernel gives it; `files` and `netlink` say it in words. The names are those of the
system calls. Modules that few calls need (select, fcntl) are imported when first used: a cold plugin pays for what it does.
"""

from __future__ import annotations

import posix
import time
from _socket import (
    AF_NETLINK,
    AF_UNIX,
    IPPROTO_RAW,
    MSG_DONTWAIT,
    SO_RCVTIMEO,
    SO_SNDTIMEO,
    SOCK_CLOEXEC,
    SOCK_RAW,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from _struct import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cni_plugins.kernel.clib import Library, Pointer

__all__ = [
    "access",
    "close",
    "connect",
    "fill_option",
    "flock",
    "fstat",
    "ftruncate",
    "kill",
    "library",
    "link_fd",
    "listdir",
    "lock_byte",
    "lstat",
    "mkdir",
    "netfilter_socket",
    "netlink_receive",
    "netlink_send",
    "netlink_socket",
    "nft_run",
    "ns_type",
    "open",
    "pipe",
    "poll",
    "raw_socket",
    "read",
    "readlink",
    "rename",
    "setns",
    "sleep",
    "spawn",
    "stat",
    "symlink",
    "unlink",
    "unlock_byte",
    "utime",
    "waitpid",
    "write",
]

NS_GET_NSTYPE = 0xB703
"""ioctl_ns(2): which kind of namespace a file descriptor stands for."""
CLONE_NEWNET = 0x40000000
"""Its answer for a network namespace."""

SOL_NETLINK = 270
NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12

access = posix.access
close = posix.close
fstat = posix.fstat
ftruncate = posix.ftruncate
kill = posix.kill
listdir = posix.listdir
lstat = posix.lstat
mkdir = posix.mkdir
open = posix.open
read = posix.read
readlink = posix.readlink
rename = posix.rename
sleep = time.sleep
stat = posix.stat
symlink = posix.symlink
unlink = posix.unlink
utime = posix.utime
waitpid = posix.waitpid
write = posix.write


def pipe() -> tuple[int, int]:
    """Make a pipe, closed on exec: (read end, write end)."""
    return posix.pipe2(posix.O_CLOEXEC)


def connect(path: str, *, patience: int) -> int:
    """Connect to the stream socket at `path` (unix(7)): a descriptor on which no reading or writing waits longer than so many seconds."""
    channel = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        for option in (SO_RCVTIMEO, SO_SNDTIMEO):
            channel.setsockopt(SOL_SOCKET, option, pack("ll", patience, 0))
        channel.connect(path)
    except BaseException:
        channel.close()
        raise
    return channel.detach()


def poll(watched: Mapping[int, int], timeout_ms: int | None = None) -> list[tuple[int, int]]:
    """Wait until one of the descriptors `watched` (descriptor: events as in poll(2)) is ready; returns (descriptor, events)."""
    import select

    poller = select.poll()
    for fd, events in watched.items():
        poller.register(fd, events)
    return poller.poll(timeout_ms)


def link_fd(fd: int, path: str) -> None:
    """Give the nameless file `fd` (opened with O_TMPFILE) the name `path`; raises FileExistsError if that is taken.

    Goes through /proc/self/fd, which unlike AT_EMPTY_PATH needs no capability (open(2), "O_TMPFILE"). The directory descriptor
    plays no part for an absolute path, but makes Python call linkat, which alone follows that link.
    """
    posix.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)


def flock(fd: int, *, exclusive: bool = True, wait: bool = True) -> None:
    """Lock a whole file as flock(2) does, the way the reference's host-local does it; raises BlockingIOError if it may not wait."""
    import fcntl

    fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))


def lock_byte(fd: int, offset: int, *, wait: bool = True) -> None:
    """Lock one byte of an open file description (fcntl(2), F_OFD_SETLKW) for writing; the byte need not exist.

    The lock is gone when the last copy of `fd` is closed. Raises BlockingIOError if it is held elsewhere and `wait` is false.
    """
    import fcntl

    whole_lock = pack("hhqqi4x", fcntl.F_WRLCK, 0, offset, 1, 0)
    fcntl.fcntl(fd, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, whole_lock)


def unlock_byte(fd: int, offset: int) -> None:
    """Undo `lock_byte`, for the copies of `fd` that other processes have too."""
    import fcntl

    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, pack("hhqqi4x", fcntl.F_UNLCK, 0, offset, 1, 0))


def ns_type(fd: int) -> int:
    """Tell which kind of namespace a descriptor stands for (CLONE_NEWNET, …); raises OSError (ENOTTY) if it is none."""
    import fcntl

    return fcntl.ioctl(fd, NS_GET_NSTYPE)


def setns(fd: int) -> None:
    """Move the calling thread into the network namespace `fd`."""
    if hasattr(posix, "setns"):
        posix.setns(fd, CLONE_NEWNET)
        return
    from cni_plugins.kernel.clib import c_library

    c_library().call("setns", fd, CLONE_NEWNET)


def netlink_socket() -> socket:
    """Open a NETLINK_ROUTE socket in the calling thread's network namespace.

    Answers are short (no echo of the request) and carry the kernel's own error text; the headers of dumps are checked
    strictly, which is also what makes the kernel filter them.
    """
    opened = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
    for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
        opened.setsockopt(SOL_NETLINK, option, 1)
    return opened


def netlink_send(channel: socket, data: bytes | bytearray) -> None:
    """Send messages to the kernel, which has carried out all of them when this returns (dumps excepted)."""
    channel.send(data)


def netlink_receive(channel: socket) -> bytes:
    """Read one datagram, which may hold several messages. Never waits: raises BlockingIOError when there is none.

    The kernel has queued every answer when the request has been sent, and goes on with a list while its last part is read. So an
    answer that is not there was lost, and whoever waited for it would wait for ever.
    """
    return channel.recv(1 << 16, MSG_DONTWAIT)


def netfilter_socket() -> int:
    """Open a NETLINK_NETFILTER socket, as nftables does, in the calling thread's network namespace: a descriptor.

    Raises OSError if the kernel has no netfilter.
    """
    return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER).detach()


def raw_socket(family: int) -> socket:
    """Open a raw socket of an address family in the calling thread's network namespace: x_tables answers to it (ip(7))."""
    return socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)


def fill_option(channel: socket, level: int, option: int, buffer: bytearray) -> None:
    """Have the kernel read a question out of `buffer` and write its answer there (getsockopt(2), as x_tables uses it)."""
    from cni_plugins.kernel.clib import c_library, memory_of

    length = bytearray(pack("I", len(buffer)))
    c_library().call("getsockopt", channel.fileno(), level, option, memory_of(buffer), memory_of(length))


def library(name: str) -> Library:
    """Load a shared library of the host by its soname; raises OSError if it is not there."""
    from cni_plugins.kernel.clib import Library

    return Library(name)


def nft_run(nftables: Library, context: Pointer, commands: bytes) -> int:
    """Have libnftables execute `commands` as one transaction; its status, 0 for success."""
    return nftables.call_raw("nft_run_cmd_from_buffer", context, commands)


def spawn(
    path: str, arguments: list[str], environment: Mapping[str, str], *, descriptors: Mapping[int, int], blocked: Iterable[int]
) -> int:
    """Start a program and return its process ID.

    `descriptors` says what its descriptors are to be: {0: read_end, 1: write_end}; whatever is not named stays as it is here
    (ours are closed on exec, but for 0, 1 and 2). `blocked` are the signals that it starts with blocked. Signals that Python
    ignores are given back their default actions.
    """
    actions = [(posix.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in descriptors.items()]
    ignored_by_python = [13, 25]  # SIGPIPE, SIGXFSZ
    return posix.posix_spawn(path, arguments, environment, file_actions=actions, setsigdef=ignored_by_python, setsigmask=blocked)
