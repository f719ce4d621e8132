"""Making operations fail that the plugins perform on the machine: all go through `cni_plugins.kernel.calls`, and so can we.

The operations are found there (`calls.__all__`), not listed here: one that is added tomorrow fails in these tests tomorrow.
What is listed are the exceptions: which error number is likely, and what cannot fail after it was carried out.
"""

from __future__ import annotations

import os
import signal
from _socket import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EAGAIN, EIO, EMFILE, ENOBUFS, ENOLCK, ENOSPC, EPERM, ESRCH
from typing import Any

from cni_plugins import main
from cni_plugins.kernel import calls

_LIKELY = {
    "access": EACCES,
    "chmod": EPERM,
    "flock": ENOLCK,
    "ftruncate": ENOSPC,
    "kill": ESRCH,
    "link": ENOSPC,
    "link_fd": ENOSPC,
    "lock_byte": ENOLCK,
    "mkdir": ENOSPC,
    "netfilter_socket": EMFILE,
    "netlink_receive": ENOBUFS,
    "netlink_send": ENOBUFS,
    "netlink_socket": EMFILE,
    "pipe": EMFILE,
    "setns": EPERM,
    "spawn": EAGAIN,
    "symlink": ENOSPC,
    "utime": EPERM,
    "write": ENOSPC,
}
_NEVER_AFTERWARDS = frozenset({
    "access", "connect", "fstat", "library", "listdir", "lstat", "netfilter_socket", "netlink_socket", "ns_type", "pipe", "poll", "read",
    "readlink", "setns", "sleep", "spawn", "stat", "statvfs", "waitpid",
})  # fmt: skip
"""They change nothing, or fail only where they have done nothing."""
_TRUTHFUL = frozenset({"ns_type"})
"""It has one reason to fail: that there is no namespace. The plugins may take its word for it."""
_LOCKS = ("flock", "lock_byte")
"""Nobody else is there: who would wait here waits for itself, for ever, and gets BlockingIOError in place of it."""
_SYNTAX_ERROR = b"make it fail"

Operation = Callable[..., Any]


class Count:
    """Lets every operation through and counts them; the base of all faults. `log` has what was called, for messages."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.struck = False
        self.what = ""

    def __call__(self, name: str, operation: Operation, *args: Any, **kwargs: Any) -> Any:
        self.log.append(f"{name}({', '.join(map(_shown, args))})")
        if self.strikes(name):
            self.what = self.what or self.log[-1]
            self.struck = True
            return self.strike(name, operation, *args, **kwargs)
        return operation(*args, **kwargs)

    def strikes(self, name: str) -> bool:
        """Whether the operation that was logged last is one that is to fail."""
        return False

    def strike(self, name: str, operation: Operation, *args: Any, **kwargs: Any) -> Any:
        """What happens in its place."""
        return operation(*args, **kwargs)


class Refused(Count):
    """Operation number `at`, counted from nought, fails and has done nothing; close(2) closes all the same, as on Linux."""

    spared = _TRUTHFUL

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self._left = at

    def strikes(self, name: str) -> bool:
        if name in self.spared:
            return False
        self._left -= 1
        return self._left == -1

    def strike(self, name: str, operation: Operation, *args: Any, **kwargs: Any) -> Any:
        if name == "nft_run":
            return operation(*args[:2], _SYNTAX_ERROR)
        if name == "close":
            operation(*args)
        raise OSError(_LIKELY.get(name, EIO), os.strerror(_LIKELY.get(name, EIO)))

    def __str__(self) -> str:
        return f"{self.at} {self.what}" if self.struck else "no fault at all"


class AnswerLost(Refused):
    """The operation is carried out, but says that it was not; those that cannot do that are passed over."""

    spared = _NEVER_AFTERWARDS

    def strike(self, name: str, operation: Operation, *args: Any, **kwargs: Any) -> Any:
        result = operation(*args, **kwargs)
        if name in ("open", "dup"):
            os.close(result)
        return super().strike(name, _nothing if name == "close" else operation, *args)


class Persistent(Refused):
    """The operation fails, and so does every later one of the same name."""

    name = ""

    def strikes(self, name: str) -> bool:
        if not self.name and super().strikes(name):
            self.name = name
        return name == self.name


class Interrupted(Refused):
    """A signal arrives before the operation, with the handler that a cold process has: where signals are blocked, it waits."""

    def strike(self, name: str, operation: Operation, *args: Any, **kwargs: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return operation(*args, **kwargs)


class InterruptedAfter(Refused):
    """The signal arrives when the operation is done, and its result is lost with it; what changes nothing is passed over."""

    spared = _NEVER_AFTERWARDS - {"connect", "netlink_socket", "netfilter_socket", "pipe", "spawn"}

    def strike(self, name: str, operation: Operation, *args: Any, **kwargs: Any) -> Any:
        result = operation(*args, **kwargs)
        try:
            signal.raise_signal(signal.SIGTERM)
        except main.Terminated:
            for fd in {"open": [result], "dup": [result], "connect": [result], "netfilter_socket": [result], "pipe": result}.get(name, ()):
                os.close(fd)
            if isinstance(result, socket):
                result.close()
            raise
        return result


EVERY = (Refused, AnswerLost, Persistent, Interrupted, InterruptedAfter)
REMOVALS = [
    *[("DEL", fault) for fault in (Refused, AnswerLost, Persistent, InterruptedAfter)],
    *[("DEL without its record", fault) for fault in (Refused, InterruptedAfter)],
    *[("GC", fault) for fault in (Refused, AnswerLost)],
]
"""What may befall which removal: every pod ends with a DEL, and the others differ from it only in what they read."""


@contextmanager
def injected(fault: Count) -> Iterator[None]:
    """Send every operation through `fault` for the length of a block."""
    saved = {name: getattr(calls, name) for name in calls.__all__}
    for name, operation in saved.items():
        setattr(calls, name, _through(fault, name, operation))
    try:
        yield
    finally:
        for name, operation in saved.items():
            setattr(calls, name, operation)


@contextmanager
def termination() -> Iterator[Callable[[], None]]:
    """SIGTERM raises main.Terminated, once, as in a cold process, until the function that this yields is called.

    The mask of signals is put right at the end.
    """

    def shield() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def terminate(number: int, frame: object) -> None:
        shield()
        raise main.Terminated(f"ended by signal {number}")

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield shield
    finally:
        shield()
        with suppress(main.Terminated):
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGTERM, before)


def _through(fault: Count, name: str, operation: Operation) -> Operation:
    def call(*args: Any, **kwargs: Any) -> Any:
        if name in _LOCKS:
            kwargs["wait"] = False
        return fault(name, operation, *args, **kwargs)

    return call


def _nothing(*args: Any) -> None:
    return None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 90 else f"{text[:90]}…"
