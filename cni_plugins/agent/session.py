"""One connection, the agent's half of cni_plugins.handover: read the call, serve it, deliver the answer, hear that it arrived."""

from __future__ import annotations

import os
from errno import ETIMEDOUT
from socket import CMSG_SPACE, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOL_SOCKET, socket
from time import monotonic

from cni_plugins.agent.warm import WarmHandles
from cni_plugins.handler import handle
from cni_plugins.handover import ANSWER, DONE, ENDED, FAILED, READY, WRITTEN, decode
from cni_plugins.protocol.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.agent.metrics import Metrics
    from cni_plugins.agent.warm import Warm
    from cni_plugins.handover import Call
    from cni_plugins.kernel.process import Heed

REQUEST_SECONDS = 5.0
"""A caller that has not sent its request by then is not going to."""
LARGEST = 1 << 22
"""Bytes: the largest request that is read; a larger one is served by its caller. A GC that lists 20,000 attachments has half of it."""
_DESCRIPTORS = 3
_WORD = 4


class Ended(BaseException):
    """A signal has ended the caller, which waits for its call to be undone. As in a cold process, nothing may take it for a failure."""


class Incomplete(Exception):
    """The caller did not send a whole request: nothing was begun, and it knows."""


def receive_until(latest: float, channel: socket, size: int) -> bytes:
    """Some bytes, at most `size`; nothing at the end. Raises TimeoutError when none come until `latest`, however slowly others came."""
    left = latest - monotonic()
    if left <= 0:
        raise TimeoutError(ETIMEDOUT, os.strerror(ETIMEDOUT))
    channel.settimeout(left)
    return channel.recv(size)


class Session:
    """One call over a connection from a peer who may speak. `run_dir` is where records and locks are."""

    def __init__(self, channel: socket, *, warm: Warm, metrics: Metrics, run_dir: str) -> None:
        self._channel = channel
        self._warm = warm
        self._metrics = metrics
        self._run_dir = run_dir
        self._delivering = 0.0
        self._wanted = True

    def serve(self) -> None:
        """Say that we are ready, and serve the call. Raises Incomplete, or OSError, before anything was begun."""
        begun = monotonic()
        self._channel.send(READY)
        descriptors: list[int] = []
        try:
            call, umask = self._receive(descriptors)
            self._channel.settimeout(None)
            received = monotonic()
            status = self._handle(call, umask, descriptors)
        finally:
            for fd in descriptors:
                os.close(fd)
        phases = {"receive": received - begun, "work": monotonic() - received - self._delivering, "deliver": self._delivering}
        self._metrics.served(call.plugin, call.environ.get("CNI_COMMAND", ""), status=status, phases=phases)
        try:
            self._channel.sendall(DONE + bytes([status]))
        except OSError:
            pass  # the caller is gone, and has its answer

    def _receive(self, descriptors: list[int]) -> tuple[Call, int]:
        """Read the request; `descriptors` gets what came along: the working directory, the standard error, the namespace if it has one."""
        latest = monotonic() + REQUEST_SECONDS
        self._channel.settimeout(REQUEST_SECONDS)
        data, ancillary, _, _ = self._channel.recvmsg(1 << 16, CMSG_SPACE(_DESCRIPTORS * 4), MSG_CMSG_CLOEXEC)
        for level, kind, content in ancillary:
            if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
                descriptors += memoryview(content[: len(content) // 4 * 4]).cast("i")
        if len(data) < _WORD or len(descriptors) < 2:
            raise Incomplete("no request")
        size = int.from_bytes(data[:_WORD], "big")
        if size > LARGEST:
            raise Incomplete(f"a request of {size} bytes")
        body = bytearray(data[_WORD:])
        while len(body) < size:
            part = receive_until(latest, self._channel, size - len(body))
            if not part:
                raise Incomplete("half a request")
            body += part
        try:
            return decode(bytes(body[:size]))
        except ValueError as error:
            raise Incomplete(str(error)) from None

    def _handle(self, call: Call, umask: int, descriptors: list[int]) -> int:
        """Serve the call as its caller would: with its working directory, its umask, its standard error."""
        directory, stderr, *container = descriptors
        request = Request(call.plugin, call.environ, call.stdin)
        request.token = call.token
        handles = WarmHandles(
            self._warm,
            run_dir=self._run_dir,
            executable=call.executable,
            stderr=stderr,
            container=(request.netns, container[0]) if container else None,
            heed=self._heed,
        )
        os.fchdir(directory)
        before = os.umask(umask & 0o777)
        try:
            return handle(request, self._deliver, handles)
        except Ended:
            return 1  # ended while it was being told that it had failed
        finally:
            os.umask(before)
            os.chdir("/")

    def _heed(self) -> Heed | None:
        """Once, when the caller says while a delegate runs that it has been ended, or is gone: as a signal ends a process of its own."""
        return (self._channel.fileno(), self._end) if self._wanted else None

    def _end(self) -> None:
        self._wanted = False  # undoing is not to be interrupted again
        reply = self._channel.recv(2)
        raise Ended(f"ended by signal {reply[1]}" if reply[:1] == ENDED else "the caller is gone")

    def _deliver(self, answer: bytes, status: int) -> None:
        """Have the caller write the answer. Raises OSError when it could not, Ended when a signal came to it meanwhile."""
        begun = monotonic()
        try:
            self._channel.sendall(ANSWER + bytes([status]) + len(answer).to_bytes(_WORD, "big") + answer)
            reply = self._channel.recv(2)
            self._wanted = reply == WRITTEN
        finally:
            self._delivering += monotonic() - begun
        if reply[:1] == ENDED:
            raise Ended(f"ended by signal {reply[1]}")
        if reply[:1] == FAILED:
            raise OSError(reply[1], os.strerror(reply[1]))
        if reply != WRITTEN:
            raise BrokenPipeError(32, os.strerror(32))
