"""Calls through an agent, in the test's own process: both halves of the hand-over, the agent's in a thread of its own.

    caller = WarmCaller()
    status = caller(request, deliver, executable=(device, inode))      # as `handle`, by way of a socket and the agent's session

The socket's name, who may use it, and how many calls are served at a time have tests of their own, with a real agent.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from cni_plugins import RUN_DIR, handover
from cni_plugins.agent.metrics import Metrics
from cni_plugins.agent.session import Session
from cni_plugins.agent.warm import Warm
from cni_plugins.kernel.clib import c_library
from cni_plugins.protocol.request import Request

_CLONE_FS = 0x200


class WarmCaller:
    """Serves calls one after the other in one thread, which is in the namespaces of the thread that makes the first call."""

    def __init__(self) -> None:
        self.warm = Warm()
        self._metrics = Metrics(busy=lambda: 0, free=lambda: ())
        self._pool = ThreadPoolExecutor(1, initializer=lambda: c_library().call("unshare", _CLONE_FS))
        self.faults: list[BaseException] = []

    def __call__(self, request: Request, deliver: Callable[[bytes, int], None], *, executable: tuple[int, int]) -> int:
        """One call. What `deliver` raises but OSError comes out of here when the agent has undone the call, as out of a cold process."""
        ours, theirs = socket.socketpair()
        raised: list[BaseException] = []

        def write(answer: bytes) -> None:
            try:
                deliver(answer, 0)
            except OSError:
                raise
            except BaseException as error:
                raised.append(error)
                raise BrokenPipeError(32, str(error)) from error

        served = self._pool.submit(self._serve, theirs)
        call = handover.Call(request.plugin, request.environ, request.stdin, executable=executable)
        with ours:
            ours.send(handover.CALL)
            assert ours.recv(1) == handover.READY
            assert handover.hand_over(ours, call)
            status = handover.serve(ours, call, write, ended=lambda: 0)
        served.result()
        if raised:
            raise raised[0]
        return status

    def _serve(self, channel: socket.socket) -> None:
        with channel:
            assert channel.recv(1) == handover.CALL
            Session(channel, warm=self.warm, metrics=self._metrics, run_dir=RUN_DIR).serve()

    def rest(self) -> None:
        """Close what is kept from call to call; the next one opens it anew."""
        self._pool.submit(self.warm.close).result()

    def close(self) -> None:
        """End the thread, and close what it kept."""
        with suppress(RuntimeError):  # the interpreter is ending, and has ended the thread
            self._pool.submit(self.warm.close)
        self._pool.shutdown()
