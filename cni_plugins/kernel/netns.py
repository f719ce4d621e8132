"""A container's network namespace: opened once by its path, entered by the calling thread for a moment at a time.

Nothing here forks or makes threads: setns(2) moves the calling thread in and back. What is done in between must be short, and
what was opened inside (a netlink socket) goes on speaking to that namespace from outside.
"""

from __future__ import annotations

import posix

from cni_plugins.kernel import calls, files, signals
from cni_plugins.protocol.errors import InvalidEnvironment, KernelRefused, UnknownContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from cni_plugins.kernel.netlink import Netlink

_OWN = "/proc/thread-self/ns/net"


class Inside:
    """The calling thread is in the namespace while this is open; it may be opened again within itself.

    Signals wait until the thread is back: a handler that raises in between would leave it in the wrong namespace.
    """

    __slots__ = ("_deferred", "_netns")

    def __init__(self, netns: Netns) -> None:
        self._netns = netns
        self._deferred: Iterable[int] = ()

    def __enter__(self) -> None:
        self._deferred = signals.defer()
        try:
            if not self._netns.depth:
                self._netns.enter()
        except BaseException:
            signals.restore(self._deferred)
            raise
        self._netns.depth += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._netns.depth -= 1
        if not self._netns.depth:
            self._netns.leave()
        signals.restore(self._deferred)


class Netns:
    """An open network namespace, for one thread at a time.

    `path` is for messages, `fd` for requests that name a namespace (a veth's other end).
    """

    __slots__ = ("_home", "_netlink", "depth", "fd", "path")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.depth = 0
        self._home = -1
        self._netlink: Netlink | None = None

    @classmethod
    def open(cls, path: str) -> Netns:
        """Open the namespace at `path`, as CNI_NETNS gives it.

        Raises UnknownContainer if there is nothing, InvalidEnvironment if it is something else; both name CNI_NETNS and the path.
        """
        try:
            fd = calls.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            raise UnknownContainer(f"CNI_NETNS: there is no network namespace at {path}") from None
        except OSError as error:
            raise InvalidEnvironment(f"CNI_NETNS: {path} cannot be opened: {error.strerror}") from None
        return cls.adopt(path, fd)

    @classmethod
    def adopt(cls, path: str, fd: int) -> Netns:
        """Take over the descriptor `fd` of a namespace, which `path` names in messages; closes it when it is not one.

        Raises InvalidEnvironment as `open` does.
        """
        netns = cls(path, fd)
        try:
            fitting = calls.ns_type(fd) == calls.CLONE_NEWNET
        except OSError:
            fitting = False
        except BaseException:
            netns.close()
            raise
        if not fitting:
            netns.close()
            raise InvalidEnvironment(f"CNI_NETNS: {path} is not a network namespace")
        return netns

    @property
    def is_own(self) -> bool:
        """Whether it is the one that the calling thread is in: the node's, which no plugin may treat as a container's."""
        ours, theirs = calls.stat(_OWN), calls.fstat(self.fd)
        return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)

    def inside(self) -> Inside:
        """Work in the namespace: `with netns.inside(): …` enters it with the calling thread, and returns at the end.

        Raises KernelRefused if it cannot be entered.
        """
        return Inside(self)

    def enter(self) -> None:
        """Move the calling thread in; for `inside`, which sees to it that it comes back."""
        try:
            if self._home < 0:
                self._home = calls.open(_OWN, posix.O_RDONLY | posix.O_CLOEXEC)
            calls.setns(self.fd)
        except OSError as error:
            raise KernelRefused(f"cannot enter the network namespace {self.path}: {error.strerror}") from error

    def leave(self) -> None:
        """Return to where `enter` was called. If that fails twice the process ends: it must not go on in the wrong namespace."""
        try:
            calls.setns(self._home)
        except OSError:
            try:
                calls.setns(self._home)
            except OSError as error:
                posix.write(2, f"cannot return from the network namespace {self.path}: {error.strerror}\n".encode())
                posix._exit(1)

    def netlink(self) -> Netlink:
        """The netlink socket in this namespace, opened at the first call and closed with it; another one when it is broken."""
        if self._netlink is not None and self._netlink.broken:
            self._netlink.close()
            self._netlink = None
        if self._netlink is None:
            from cni_plugins.kernel.netlink import Netlink

            with self.inside():
                self._netlink = Netlink()
        return self._netlink

    def close(self) -> None:
        """Close the namespace and its socket; closing twice is harmless."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None
        for fd in (self.fd, self._home):
            if fd >= 0:
                files.let_go(fd)
        self.fd = self._home = -1
