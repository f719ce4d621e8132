"""A real agent on a node."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

from tests.support.node import Node

TIMEOUT = 30
RUN_DIR = Path("/run/cni-plugins")


class Agent:
    """`cni-agent --foreground` on a node, from entering the context to leaving it. `log` is what it has said so far."""

    def __init__(self, node: Node, plugins: Path, *options: str) -> None:
        self.node = node
        self.plugins = plugins
        self.options = options
        self.log: list[str] = []

    def __enter__(self) -> Self:
        self.process = self.node.popen([self.plugins / "cni-agent", "--foreground", *self.options])
        self.wait_for("serving the plugins")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(TIMEOUT)

    def wait_for(self, text: str) -> str:
        """Read the log up to the line that has `text`, and return it. Raises AssertionError when the agent ends without it."""
        assert self.process.stderr
        for line in self.process.stderr:
            self.log.append(line)
            if text in line:
                return line
        raise AssertionError(f"the agent ended without saying {text!r}: {''.join(self.log)}")

    @property
    def path(self) -> Path:
        """Its socket."""
        with self.node.inside():
            (found,) = RUN_DIR.glob("agent-*.sock")
        return found

    def connect(self) -> socket.socket:
        """A connection, from the thread's own place."""
        channel = socket.socket(socket.AF_UNIX)
        channel.settimeout(TIMEOUT)
        channel.connect(str(self.path))
        return channel

    def metrics(self) -> dict[str, float]:
        """Its numbers: name and labels as Prometheus writes them, without quotes."""
        with self.node.inside(), self.connect() as channel:
            channel.sendall(b"GET /metrics HTTP/1.1\r\nHost: agent\r\n\r\n")
            answer = b"".join(iter(lambda: channel.recv(1 << 16), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK"), head
        found = {}
        for family in text_string_to_metric_families(body.decode()):
            for sample in family.samples:
                labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found

    def calls(self, plugin: str, verb: str) -> int:
        """How many calls of a plugin it has served."""
        return int(self.metrics().get(f"cni_calls_total{{plugin={plugin},verb={verb}}}", 0))
