"""A real flanneld on a node, which is cabled to nothing: only what it publishes, reads and programs matters here."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress

from tests.lab import peers
from tests.support.node import Node

SUBNET_FILE = "/run/flannel/subnet.env"
SECONDS = 60


class Flanneld:
    """flanneld with 192.168.77.12 and fd77::12 as its addresses, started when made. `options` say where its store is."""

    def __init__(self, node: Node, *options: str) -> None:
        self.node = node
        self._lines: list[str] = []
        self._ready = threading.Event()
        if "eth0" not in node.run(["ip", "-o", "link"]).stdout:
            for words in (
                "link add eth0 type veth peer name cable",
                "link set cable up",
                "link set eth0 up",
                "addr add 192.168.77.12/24 dev eth0",
                "addr add fd77::12/64 dev eth0 nodad",
                "route add default via 192.168.77.1",
                "-6 route add default via fd77::1",
            ):
                node.run(["ip", *words.split()])
        command: Sequence[str] = [str(peers.program("flanneld")), "-iface", "eth0", "-iptables-forward-rules=false", *options]
        self._process = node.popen(command, env={"NODE_NAME": "flannel"})
        threading.Thread(target=self._drain, args=(self._process,), daemon=True).start()

    def _drain(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr
        with suppress(ValueError):  # the node's end closes the pipe
            for line in process.stderr:
                self._lines.append(line)
                if "Running backend" in line:
                    self._ready.set()

    def wait(self) -> None:
        """Wait until it has a lease and does its work."""
        assert self._ready.wait(SECONDS), "flanneld does not start:\n" + "".join(self._lines[-20:])

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
