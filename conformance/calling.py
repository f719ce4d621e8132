"""Calling plugins as a runtime does: the part of the vocabulary (`conformance.lab`) that executes them.

Whatever a call does is written down in the transcript. A call that hangs, floods or leaves processes behind raises `Failed`.
"""

from __future__ import annotations

import json
import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance import execute
from conformance.answer import Answer
from conformance.case import Failed, Skipped
from conformance.execute import Running
from conformance.netns import Container
from conformance.node import Node
from conformance.profile import Profile
from conformance.transcript import Transcript

Conf = dict[str, Any]
Env = Mapping[str, str | None]


@dataclass
class Call:
    """A call that has been started; `wait` for its answer, or `kill` it first."""

    caller: Caller
    verb: str
    running: Running
    number: int
    started: float = field(default_factory=time.monotonic)
    answer: Answer | None = field(default=None, init=False)

    def kill(self, number: int = signal.SIGKILL, *, group: bool = True) -> None:
        """Send a signal to the plugin and to what it started (`group=False`: to the plugin alone)."""
        self.caller.transcript.killed(self.number, signal.Signals(number).name, time.monotonic() - self.started)
        self.running.kill(number, group=group)

    def ends_within(self, seconds: float) -> bool:
        """Wait for the plugin's end, until it has been running for so long at most; returns whether it has ended."""
        return self.running.ends_within(self.started + seconds)

    def wait(self) -> Answer:
        """Return the answer. Raises Failed when the plugin did what no runtime can live with."""
        if self.answer is None:
            self.answer = self.caller.finished(self)
        return self.answer


class Caller(ABC):
    """Executes the plugins of a directory on a node.

    `helpers` are directories with the plugins that the one under test delegates to or comes after. `timeout` is how many seconds a call
    may take before the plugin counts as hanging.
    """

    def __init__(self, profile: Profile, plugin_dir: Path, *, helpers: Sequence[Path] = (), timeout: float = execute.TIMEOUT) -> None:
        self.profile = profile
        self.timeout = timeout
        self.node = Node("node", plugin_dir=plugin_dir, keep=[plugin_dir, *helpers])
        self.cni_path = ":".join(map(str, [plugin_dir, *helpers]))
        self.transcript = Transcript()
        self._calls: list[Call] = []

    @abstractmethod
    def conf(self) -> Conf:
        """Return the configuration of a call that is given none."""

    def call(
        self,
        verb: str | None,
        conf: Conf | str | bytes | None = None,
        *,
        container: Container | None = None,
        ifname: str | None = None,
        timeout: float | None = None,
        stderr: execute.Stderr = "read",
        plugin: str | None = None,
        **env: str | None,
    ) -> Answer:
        """Execute the plugin once, and wait for its answer.

        `conf` is passed as it is; text and bytes too, and `self.conf()` if None. `env` adds or replaces variables, None removes one.
        `timeout` is in seconds, the lab's if None. `plugin` executes another one of CNI_PATH.
        Raises Failed when it hangs, floods or leaves processes behind.
        """
        return self._start(
            verb, conf, env, container=container, ifname=ifname, timeout=timeout, stderr=stderr, plugin=plugin
        ).wait()  # fmt: skip

    def start(
        self,
        verb: str | None,
        conf: Conf | str | bytes | None = None,
        *,
        container: Container | None = None,
        ifname: str | None = None,
        timeout: float | None = None,
        **env: str | None,
    ) -> Call:
        """As `call`, without waiting: for calls beside each other, and for killing them."""
        return self._start(verb, conf, env, container=container, ifname=ifname, timeout=timeout)

    def run(
        self, verb: str, conf: Conf | None, env: Env, *, container: Container | None = None, ifname: str | None = None
    ) -> Answer:  # fmt: skip
        return self._start(verb, conf, env, container=container, ifname=ifname).wait()

    def _start(
        self,
        verb: str | None,
        conf: Conf | str | bytes | None,
        env: Env,
        *,
        container: Container | None = None,
        ifname: str | None = None,
        timeout: float | None = None,
        stderr: execute.Stderr = "read",
        plugin: str | None = None,
    ) -> Call:
        conf = self.conf() if conf is None else conf
        given = self.environment(verb, container=container, ifname=ifname) | dict(env)
        variables = {name: value for name, value in given.items() if value is not None}
        command = [self.executable(plugin or self.profile.plugin)]
        data = conf if isinstance(conf, bytes) else (conf if isinstance(conf, str) else json.dumps(conf)).encode()
        number = self.transcript.call(command, variables, data if isinstance(conf, str | bytes) else conf, closed=stderr == "closed")
        try:
            running = Running(command, env=variables, stdin=data, timeout=timeout or self.timeout, stderr=stderr)
        except OSError as error:
            raise Failed("the plugin can be executed", f"{command[0]}: {error.strerror}") from error
        call = Call(self, verb or "(no command)", running, number)
        self._calls.append(call)
        return call

    def environment(self, verb: str | None, *, container: Container | None = None, ifname: str | None = None) -> dict[str, str | None]:
        """Return the environment of a call: PATH and CNI_*, nothing of the suite's own."""
        variables: dict[str, str | None] = {"PATH": os.environ.get("PATH", os.defpath), "CNI_PATH": self.cni_path}
        if verb is not None:
            variables["CNI_COMMAND"] = verb
        if container:
            variables |= {"CNI_CONTAINERID": container.id, "CNI_NETNS": container.path, "CNI_IFNAME": ifname or self.profile.ifname}
        return variables

    def executable(self, plugin: str) -> str:
        """Return the path of a plugin in CNI_PATH. Raises Skipped when there is none."""
        for directory in self.cni_path.split(":"):
            if os.access(path := os.path.join(directory, plugin), os.X_OK):
                return path
        raise Skipped(f"there is no plugin {plugin} in {self.cni_path}")

    def finished(self, call: Call) -> Answer:
        """Wait for a started call, and write down how it ended; `Call.wait` does this."""
        execution = call.running.wait(self._left)
        self._calls.remove(call)
        answer = Answer(call.verb, execution)
        self.transcript.answered(call.number, execution.stdout, execution.trouble or str(answer))
        if execution.trouble:
            raise Failed(f"{call.verb} ends by itself and leaves no process behind", f"{execution.trouble}; {answer}")
        return answer

    def _left(self) -> dict[int, str]:
        """Processes that nobody may have left behind; nothing as long as another call goes on."""
        if len(self._calls) > 1:
            return {}
        return {pid: command for pid, command in self.node.processes().items() if pid not in self.node.started}
