"""A network as a runtime sees it: a list of plugins that are called one after the other, on a node of its own."""

from __future__ import annotations

import json
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from benchmarks.timing import Run, run
from tests.support.node import Node

SUBNET = "10.10.0.0/16"


class Chain:
    """Pods on a node, by the plugins in one directory; with `agent` a `cni-agent` of that directory runs beside them.

    `plugins` are the configurations of the list after `bridge`, whose further keys are `keys`. Pod number n has host port 20000 + n
    where the list has portmap.
    """

    def __init__(self, directory: Path, *plugins: dict[str, Any], agent: bool = False, **keys: Any) -> None:
        self.directory = directory
        self.agent = agent
        ipam = {"type": "host-local", "ranges": [[{"subnet": SUBNET}]]}
        self._plugins = [{"type": "bridge", "isGateway": True, "ipam": ipam, **keys}, *plugins]
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self.node = self._open.enter_context(Node(name="bench"))
        self.node.leave()
        if self.agent:
            with self.node.inside():
                self._agent = subprocess.Popen([self.directory / "cni-agent", "--foreground"], stderr=subprocess.PIPE, text=True)
            self._open.callback(self._end_agent)
            self.wait_for_agent("serving")
        return self

    def __exit__(self, *_: object) -> None:
        self.node.enter()
        self._open.close()

    def _end_agent(self) -> None:
        self._agent.send_signal(signal.SIGTERM)
        self._agent.communicate()

    def call(self, verb: str, number: int) -> Run:
        """All plugins of the list for one pod; the milliseconds of all of them."""
        name = f"pod{number}"
        if name not in self.node.containers:
            with self.node.inside():
                self.node.container(name)
        env = self.node.cni_env(verb, container=self.node.containers[name], path=self.directory)
        result: Any = None
        total, peak = 0.0, 0.0
        for plugin in self._plugins if verb == "ADD" else reversed(self._plugins):
            conf = {"cniVersion": "1.0.0", "name": "bench", **plugin, **({"prevResult": result} if result else {})}
            if plugin["type"] == "portmap":
                conf["runtimeConfig"] = {"portMappings": [{"hostPort": 20000 + number, "containerPort": 80, "protocol": "tcp"}]}
            with self.node.inside():
                measured = run([str(self.directory / plugin["type"])], env=env, stdin=json.dumps(conf).encode())
            total, peak = total + measured.ms, max(peak, measured.mib)
            result = json.loads(measured.stdout) if verb == "ADD" else None
        return Run(total, peak, b"")

    def add(self, number: int) -> Run:
        """An ADD, with a DEL afterwards that does not count."""
        measured = self.call("ADD", 10_000 + number)
        self.call("DEL", 10_000 + number)
        return measured

    def delete(self, number: int) -> Run:
        """A DEL, after an ADD that does not count."""
        self.call("ADD", 10_000 + number)
        return self.call("DEL", 10_000 + number)

    def all(self, verb: str, numbers: range, *, at_once: int) -> None:
        """A call for each of many pods, so many at a time."""
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda number: self.call(verb, number), numbers))

    def wait_for_agent(self, text: str) -> None:
        """Read what the agent says up to the line that has `text`. Raises RuntimeError when it ends without it."""
        assert self._agent.stderr
        if not any(text in line for line in self._agent.stderr):
            raise RuntimeError(f"the agent ended without saying {text!r}")

    @property
    def agent_memory(self) -> float:
        """What the agent has in memory, in MB."""
        status = Path(f"/proc/{self._agent.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6
