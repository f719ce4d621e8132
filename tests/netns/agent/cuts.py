"""Both ends of a hand-over, which tests cut where they like.

caller = Caller(node, tmp_path)
caller.through("ADD", conf, pod, agent=serve)      # the caller's half is real; `agent` gets the other end of the connection
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cni_plugins import RUN_DIR, handover
from cni_plugins.agent.metrics import Metrics
from cni_plugins.agent.session import Incomplete, Session
from cni_plugins.agent.warm import Warm
from cni_plugins.handler import handle
from cni_plugins.kernel.clib import c_library
from cni_plugins.plan.world import Handles
from cni_plugins.protocol.request import Request
from cni_plugins.registry import PLUGINS
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.outcome import Outcome

CLONE_FS = 0x200


def session(channel: socket.socket) -> None:
    """An agent's half of one call, as its workers do it. A caller that goes away before its call was begun is no error."""
    warm = Warm()
    with channel:
        assert channel.recv(1) == handover.CALL
        try:
            Session(channel, warm=warm, metrics=Metrics(busy=lambda: 0, free=lambda: ()), run_dir=RUN_DIR).serve()
        except (Incomplete, OSError):
            pass
        finally:
            warm.close()


class Caller:
    """Calls that are handed over on a node. `directory` is where it makes what CNI_PATH points at."""

    def __init__(self, node: Node, directory: Path) -> None:
        self.node = node
        self.bin = directory / "bin"
        self.bin.mkdir()
        executable = self.bin / "cni-plugins"
        executable.touch(mode=0o755)
        for name in PLUGINS:
            (self.bin / name).symlink_to(executable.name)
        self.identity = (executable.stat().st_dev, executable.stat().st_ino)

    def call(self, verb: str, conf: Mapping[str, Any], pod: Container) -> handover.Call:
        """What an executable would hand over."""
        variables = self.node.cni_env(verb, container=pod, path=str(self.bin))
        return handover.Call(str(conf["type"]), variables, json.dumps(conf).encode(), executable=self.identity)

    def here(self, call: handover.Call, *, resumes: str = "") -> Outcome:
        """Serve a call as an executable does that has no agent, or none any more."""
        answers: list[bytes] = []
        request = Request(call.plugin, call.environ, call.stdin)
        request.resumes = resumes
        with self.node.inside():
            status = handle(request, lambda answer, status: answers.append(answer), Handles(executable=call.executable))
        return Outcome(status, b"".join(answers).decode(), "")

    def dying(self, call: handover.Call, die: Callable[[], None]) -> tuple[Outcome, bool]:
        """Hand a call over to an agent that runs `die` when it has begun, and do what an executable does when it is dead.

        Returns the outcome, and whether the agent had died.
        """
        ours, theirs = socket.socketpair()
        answers: list[bytes] = []
        with self.node.inside():
            child = os.fork()
            if not child:
                _serve_and_die(ours, theirs, die)
        theirs.close()
        try:
            with ours:
                ours.send(handover.CALL)
                assert ours.recv(1) == handover.READY
                with self.node.inside():
                    assert handover.hand_over(ours, call)
                status = handover.serve(ours, call, answers.append, ended=lambda: 0)
        except handover.Broken as broken:
            assert not answers, "an answer was delivered, and the call was to be done again"
            return self.here(call, resumes=broken.token), True
        finally:
            died = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
        return Outcome(status, b"".join(answers).decode(), ""), died

    def in_thread(self, serve: Callable[[socket.socket], None] = session) -> tuple[socket.socket, threading.Thread]:
        """An agent's half in a thread on the node; the caller's end of the connection."""
        ours, theirs = socket.socketpair()

        def work() -> None:
            c_library().call("unshare", CLONE_FS)
            serve(theirs)

        with self.node.inside():
            thread = threading.Thread(target=work)
            thread.start()
        return ours, thread


def _serve_and_die(ours: socket.socket, theirs: socket.socket, die: Callable[[], None]) -> None:
    """The rest of a forked child's life."""
    status = 1
    try:
        ours.close()
        c_library().call("unshare", CLONE_FS)
        die()
        session(theirs)
        status = 0
    finally:
        os._exit(status)
