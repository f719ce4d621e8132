"""Nodes whose overlays the agent's keepers keep, in this process."""

from __future__ import annotations

import json
import logging
import queue
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from cni_plugins.agent.conf import OverlayConf
from cni_plugins.agent.overlays import Overlays
from cni_plugins.agent.warm import Warm
from tests.support.node import Node
from tests.support.underlay import Underlay

RUN_DIR = "/run/cni-plugins"
SECONDS = 40
"""Long enough on a busy machine, and a fraction of the minute after which everything is looked at anyhow."""


class Lines(logging.Handler):
    """What the keepers say."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.put(record.getMessage())

    def wait_for(self, pattern: str) -> str:
        """The next line in which a pattern is found. Raises AssertionError when none comes."""
        while True:
            try:
                line = self.lines.get(timeout=SECONDS)
            except queue.Empty:
                raise AssertionError(f"nobody said {pattern!r}: {self.said[-20:]}") from None
            self.said.append(line)
            if re.search(pattern, line):
                return line

    def wait_for_all(self, *patterns: str) -> None:
        """Wait until each pattern has been found in a line from now on, in any order."""
        left = list(patterns)
        while left:
            line = self.wait_for("|".join(left))
            left = [pattern for pattern in left if not re.search(pattern, line)]

    def forget(self) -> None:
        """Pass over what has been said until now."""
        while not self.lines.empty():
            self.said.append(self.lines.get())


def until(condition: Callable[[], object], failure: str) -> None:
    """Ask until a condition is met, which runs a command each time. Raises AssertionError with `failure` when it never is."""
    latest = monotonic() + SECONDS
    while not condition():
        assert monotonic() < latest, failure


def subnet(number: int, overlay: int = 5) -> str:
    """The subnet of a node, counted from 1."""
    return f"10.{overlay}.{number}.0/24"


class Place:
    """A node of an underlay (counted from 1) with an agent's overlays on it."""

    def __init__(self, underlay: Underlay, number: int) -> None:
        self.node: Node = underlay.nodes[number - 1]
        self.address = underlay.addresses[number - 1][0]
        self.number = number
        self.overlays: Overlays | None = None
        self._warm = Warm()

    def start(self, *tables: dict[str, Any]) -> None:
        """Keep these overlays from now on; what is not said in a table is what tests usually have."""
        confs = [OverlayConf.model_validate({"underlay": "eth0", "store": "static", **table}) for table in tables]
        with self.node.inside():
            if self.overlays is None:
                self._warm = Warm()
                self.overlays = Overlays(self._warm, run_dir=RUN_DIR, repaired=lambda name: None)
            self.overlays.keep(confs)
            self._warm.let_go()

    def stop(self) -> None:
        """As when the agent ends."""
        if self.overlays is not None:
            self.overlays.stop()
            self.overlays = None
            self._warm.close()

    def sh(self, command: str) -> str:
        """Run a command on the node."""
        return self.node.run(["sh", "-ec", command]).stdout

    def ip(self, *words: str) -> Any:
        """What ip(8) lists on the node."""
        return json.loads(self.node.run(["ip", "-json", "-details", *words]).stdout or "[]")

    def reaches(self, target: str, *, size: int = 1450) -> bool:
        """Whether a packet of so many bytes gets there and back in one piece, soon: the other node may still be learning of this one."""
        command = ["ping", "-c1", "-i0.2", "-w10", "-M", "do", "-s", str(size - 28), target]
        return self.node.run(command, check=False).returncode == 0


class Listed:
    """A file of peers, the same on all nodes, and an overlay that has its leases from it."""

    def __init__(self, directory: Path, *, number: int = 5, vni: int = 100) -> None:
        self.path = directory / f"peers{number}.json"
        self.number = number
        self.vni = vni

    def write(self, nodes: Sequence[tuple[str, str]]) -> None:
        """Say which nodes (their addresses) have which subnets."""
        draft = self.path.with_suffix(".draft")
        draft.write_text(json.dumps([{"node": node, "subnet": subnet} for node, subnet in nodes]))
        draft.replace(self.path)

    def table(self, **keys: Any) -> dict[str, Any]:
        """The table in the agent's configuration."""
        own = {"name": f"net{self.number}", "network": f"10.{self.number}.0.0/16", "vni": self.vni, "peersFile": str(self.path)}
        return {**own, "subnetFile": f"/run/net{self.number}.env", **keys}
