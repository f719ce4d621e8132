"""Threads that take connections: as many as calls are being served at a time, up to a limit.

One thread waits for a connection, takes it and lets the next one wait. When all are busy nobody takes any: a caller hears nothing,
and serves its call itself. So nothing is queued here; what waits, waits in the socket's backlog, and for a tenth of a second.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from socket import SHUT_RDWR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket

_STACK = 1 << 20
_CLONE_FS = 0x200
_PAUSE = 0.1

log = logging.getLogger(__name__)


class Workers:
    """Serves connections to `listener` by calling `serve` with each, in at most `limit` threads."""

    def __init__(self, listener: socket, serve: Callable[[socket], None], *, limit: int) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._serve = serve
        self._limit = limit
        self._turn = threading.Lock()
        self._count = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._out_of_descriptors = threading.Event()
        self._stopping, self._stop = os.pipe()
        self._ready = select.poll()
        for fd in (listener.fileno(), self._stopping):
            self._ready.register(fd, select.POLLIN | select.POLLHUP)
        threading.stack_size(_STACK)

    def start(self) -> None:
        """Begin to take connections."""
        with self._count:
            self._hire()

    def stop(self, patience: float) -> None:
        """Take no more connections, and wait up to `patience` seconds for the calls that are being served."""
        os.close(self._stop)
        with self._count:
            self._count.wait_for(lambda: self._idle == len(self._threads), patience)

    @property
    def busy(self) -> int:
        """How many calls are being served."""
        return len(self._threads) - self._idle

    def _hire(self) -> None:
        """One thread more. Raises RuntimeError when the system has none to give."""
        thread = threading.Thread(target=self._work, name=f"worker {len(self._threads)}", daemon=True)
        self._threads.append(thread)
        self._idle += 1
        try:
            thread.start()
        except BaseException:
            self._threads.pop()
            self._idle -= 1
            raise

    def _hire_if_needed(self) -> None:
        if self._idle or len(self._threads) >= self._limit:
            return
        try:
            self._hire()
        except RuntimeError as error:
            log.warning("cannot serve more than %d calls at a time: %s", len(self._threads), error)

    def _work(self) -> None:
        from cni_plugins.kernel.clib import c_library

        c_library().call("unshare", _CLONE_FS)  # a working directory and a umask of its own
        while (channel := self._next()) is not None:
            try:
                self._serve(channel)
            except Exception:
                log.exception("a connection ended in a defect")
            finally:
                try:
                    channel.shutdown(SHUT_RDWR)  # a child that inherited it must not keep the caller waiting
                except OSError:
                    pass
                channel.close()
                with self._count:
                    self._idle += 1
                    self._count.notify_all()

    def _next(self) -> socket | None:
        """The next connection; None when there are to be no more."""
        with self._turn:
            while True:
                if any(fd == self._stopping for fd, _ in self._ready.poll()):
                    return None
                try:
                    channel, _ = self._listener.accept()
                except BlockingIOError:
                    continue  # the caller did not wait for us
                except OSError as error:
                    log.warning("cannot take a connection: %s", error)
                    self._out_of_descriptors.wait(_PAUSE)
                    continue
                with self._count:
                    self._idle -= 1
                    self._hire_if_needed()
                return channel
