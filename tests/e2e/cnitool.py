"""The real `cnitool` on a node: what a runtime does with a network configuration list, by the same library that kubelet's runtimes use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lab import peers
from tests.support.netns import Container
from tests.support.node import Node


class CnitoolError(AssertionError):
    """cnitool ended with an error; the text is all that it printed."""


class Cnitool:
    """One network of a node. Making it writes the configuration list where runtimes look for it.

    `path` lists the directories of the executables, the first that has a plugin winning, as CNI_PATH does.
    """

    def __init__(self, node: Node, path: list[Path], *, name: str, plugins: list[dict[str, Any]], version: str = "1.1.0") -> None:
        self.node = node
        self.path = ":".join(map(str, path))
        self.name = name
        text = json.dumps({"cniVersion": version, "name": name, "plugins": plugins})
        with node.inside():
            Path(f"/etc/cni/net.d/{name}.conflist").write_text(text)

    def add(self, container: Container, **how: Any) -> dict[str, Any]:
        """ADD the container; returns the chain's result. Raises CnitoolError."""
        result: dict[str, Any] = json.loads(self.run("add", container, **how))
        return result

    def check(self, container: Container, **how: Any) -> None:
        """CHECK the container against what ADD answered. Raises CnitoolError."""
        self.run("check", container, **how)

    def delete(self, container: Container, **how: Any) -> None:
        """DEL the container. Raises CnitoolError."""
        self.run("del", container, **how)

    def collect_garbage(self, container: Container) -> None:
        """GC the network: cnitool gives no list of valid attachments and so DELs all that it knows. Raises CnitoolError."""
        self.run("gc", container)

    def status(self, container: Container) -> None:
        """Ask whether the network could take an ADD now. Raises CnitoolError."""
        self.run("status", container)

    def run(self, verb: str, container: Container, *, ifname: str = "eth0", capabilities: Mapping[str, Any] | None = None) -> str:
        """Run one verb of cnitool and return its standard output; `capabilities` becomes the plugins' runtimeConfig."""
        env = {"CNI_PATH": self.path, "CNI_IFNAME": ifname, "CAP_ARGS": json.dumps(capabilities or {})}
        done = self.node.run([peers.program("cnitool"), verb, self.name, container.path], env=env, check=False)
        if done.returncode:
            raise CnitoolError(f"cnitool {verb} {self.name}: {done.stdout}{done.stderr}")
        return done.stdout
