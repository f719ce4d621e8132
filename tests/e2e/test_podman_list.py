"""What podman does with its own list of plugins: bridge, portmap, firewall, tuning."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import PATIENCE
from tests.e2e.podman import Podman
from tests.support.node import Node

PODMAN = {
    "cniVersion": "0.4.0",
    "name": "podman",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni-podman0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "routes": [{"dst": "0.0.0.0/0"}],
                "ranges": [[{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}]],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "firewall"},
        {"type": "tuning"},
    ],
}
"""The list that podman brings along (87-podman.conflist)."""


class Publishing(Podman):
    """podman whose containers publish a port of the node as their port 80, and answer there with their name."""

    port = 0

    def serve(self, name: str, port: int) -> str:
        """Start a container that answers; returns its address."""
        self.port = port
        address = self.start(name)
        self.execute(name, "/bin/sh", "-c", f"echo {name} > /tmp/index.html; exec /bin/busybox httpd -p 80 -h /tmp")
        return address

    def podman(self, *words: str) -> str:
        """One podman command; a run publishes the port."""
        verb, *rest = words
        return super().podman(verb, *(("--publish", f"{self.port}:80") if verb == "run" else ()), *rest)


@pytest.fixture
def podman(node: Node, plugins: Path, tmp_path: Path) -> Iterator[Publishing]:
    """podman on the node, with its own list."""
    podman = Publishing(node, plugins=plugins, scratch=tmp_path, conflist=PODMAN)
    yield podman
    podman.close()


def fetch(client: Any, address: str, port: int) -> str:
    """What a web server answers to a client, which is a node or a namespace."""
    with client.inside(), socket.create_connection((address, port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while more := connection.recv(4096):
            answer += more
    return answer.decode().split()[-1]


def test_podman_s_own_list_publishes_ports_and_leaves_nothing(podman: Publishing, node: Node, nothing_left: NothingLeft) -> None:
    outside = node.outside()
    podman.serve("primer", 8000)
    podman.remove("primer")
    with nothing_left(node):
        one, two = podman.serve("one", 8081), podman.serve("two", 8082)
        here = outside.node_addresses[0]
        for client, address in ((outside, here), (node, here), (node, "127.0.0.1")):
            assert [fetch(client, address, port) for port in (8081, 8082)] == ["one", "two"]
        for name in ("one", "two"):  # by the node's address: the other one, and itself
            assert [podman.execute(name, "/bin/busybox", "wget", "-qO-", f"http://{here}:{port}").strip() for port in (8081, 8082)] == [
                "one",
                "two",
            ]
        podman.execute("one", "ping", "-c1", "-W30", two)
        podman.execute("one", "ping", "-c1", "-W30", outside.addresses[0])
        podman.remove("one")
        assert fetch(outside, here, 8082) == "two"
        with pytest.raises(OSError, match="refused"):
            fetch(node, "127.0.0.1", 8081)
        assert podman.serve("three", 8081) not in (one, two)
        assert fetch(outside, here, 8081) == "three"
        podman.remove("two", "three")
