"""The plugins called in the test's own process: the handler, with nothing between it and the test.

    plugins = InProcess(node, tmp_path)
    result = plugins("bridge", "ADD", conf, container=pod).result

With CNI_TEST_AGENT=1 in the environment every call goes through an agent (tests.support.warm); what comes out must be the same.

A call takes milliseconds, and whatever the library uses can be watched or replaced. Delegates that CNI_PATH leads to are the library's
own, as they are for the built executables; further directories may hold foreign ones.
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cni_plugins.handler import handle
from cni_plugins.plan.world import Handles
from cni_plugins.protocol.request import Request
from cni_plugins.registry import PLUGINS
from tests.support.outcome import Outcome
from tests.support.warm import WarmCaller

if TYPE_CHECKING:
    from cni_plugins.agent.warm import Warm
    from tests.support.netns import Container
    from tests.support.node import Node

THROUGH_AGENT = os.environ.get("CNI_TEST_AGENT") == "1"


class InProcess:
    """Calls plugins on a node. `directory` is where it makes what CNI_PATH points at; `answers` are those of the last call.

    `agent` says whether every call goes through an agent.
    """

    def __init__(self, node: Node, directory: Path, *, agent: bool = THROUGH_AGENT) -> None:
        self.node = node
        self.directory = directory / "bin"
        self.directory.mkdir()
        executable = self.directory / "cni-plugins"
        executable.touch(mode=0o755)
        for name in PLUGINS:
            (self.directory / name).symlink_to(executable.name)
        found = executable.stat()
        self._executable = (found.st_dev, found.st_ino)
        self.answers: list[bytes] = []
        self._warm = WarmCaller() if agent else None
        if self._warm:
            weakref.finalize(self, self._warm.close)

    def __call__(
        self,
        plugin: str,
        verb: str,
        conf: Mapping[str, Any] | str | bytes,
        *,
        container: Container | None = None,
        ifname: str = "eth0",
        args: str = "",
        path: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
        deliver: Callable[[bytes], None] | None = None,
        delivering: Callable[[], None] | None = None,
    ) -> Outcome:
        """Serve one call on the node. `conf` is text or bytes as they are; `path` are directories that come before our own.

        `env` comes last: it adds variables and replaces CNI_* ones. `deliver` stands in for standard output, `delivering` is
        called before an answer goes there. Raises AssertionError when there was more than one answer.
        """
        variables = self.node.cni_env(verb, container=container, ifname=ifname, args=args, path=self.cni_path(path)) | dict(env or {})
        stdin = conf if isinstance(conf, bytes) else (conf if isinstance(conf, str) else json.dumps(conf)).encode()
        self.answers = []

        def answer(data: bytes, status: int) -> None:
            if delivering:
                delivering()
            (deliver or self.answers.append)(data)

        with self.node.inside():
            request = Request(plugin, variables, stdin)
            if self._warm:
                status = self._warm(request, answer, executable=self._executable)
            else:
                status = handle(request, answer, Handles(executable=self._executable))
        assert len(self.answers) < 2, f"more than one answer: {self.answers}"
        return Outcome(status, b"".join(self.answers).decode(), "")

    def good(self, *args: Any, **kwargs: Any) -> Any:
        """One call, like calling the object itself, that must succeed; its result, None when the verb has none. Raises AssertionError."""
        return self(*args, **kwargs).result

    def rest(self) -> None:
        """Close what an agent keeps from call to call, so that descriptors can be counted."""
        if self._warm:
            self._warm.rest()

    @property
    def warm(self) -> Warm:
        """What the agent keeps from call to call."""
        assert self._warm
        return self._warm.warm

    def cni_path(self, before: Sequence[Path] = ()) -> str:
        """CNI_PATH: the directories given, then our own."""
        return os.pathsep.join(map(str, (*before, self.directory)))
