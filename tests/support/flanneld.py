"""Real flanneld on nodes, as a cluster has it: one on each, with its leases in an etcd that all of them reach.

    Flanneld(underlay.nodes[1], "http://192.168.77.11:2379", log=tmp_path / "node2.log")       # returns when its node has a subnet

What it prints goes to a file. It ends with its node.
"""

from __future__ import annotations

import socket
from pathlib import Path

from tests.lab import peers
from tests.support.node import Node

PREFIX = "/coreos.com/network"
SUBNET_FILE = "/run/flannel/subnet.env"
_READY_SECONDS = 60
_QUIETLY = 'log=$1; shift; exec "$@" >"$log" 2>&1'


class Flanneld:
    """flanneld on a node, ready: it has a lease, its device and its subnet file. `endpoint` is etcd's, `words` are further options.

    Raises AssertionError with what it printed when it does not become ready.
    """

    def __init__(self, node: Node, endpoint: str, *words: str, log: Path, subnet_file: str = SUBNET_FILE, prefix: str = PREFIX) -> None:
        self.node = node
        self.subnet_file = subnet_file
        options = [f"--etcd-endpoints={endpoint}", f"--etcd-prefix={prefix}", "--iface=eth0", f"--subnet-file={subnet_file}", *words]
        with node.inside(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            address = f"/run/flanneld-{prefix.replace('/', '-')}.ready"
            ready.bind(address)
            ready.settimeout(_READY_SECONDS)
            command: list[str | Path] = ["sh", "-c", _QUIETLY, "sh", log, peers.program("flanneld"), *options]
            self.process = node.popen(command, env={"NOTIFY_SOCKET": address})
            try:
                assert ready.recv(64) == b"READY=1"
            except TimeoutError:
                raise AssertionError(f"flanneld on {node.name} does not become ready:\n{log.read_text()}") from None
            finally:
                Path(address).unlink()

    def subnet_env(self) -> dict[str, str]:
        """What its subnet file says."""
        with self.node.inside():
            lines = Path(self.subnet_file).read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)
