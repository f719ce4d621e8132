"""`make bench`: what calls cost, cold and with an agent, beside a bare interpreter and the reference plugins, on nodes of its own."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import many_pods, restoring
from benchmarks.table import HEAD, Row
from benchmarks.timing import Run, Series, in_turn, run
from cni_plugins.protocol.ip import format_address
from tests.lab import peers
from tests.support.node import Node
from tests.support.paths import PLUGIN_DIR

LEASES = 10_000
BARE = [getattr(sys, "_base_executable", sys.executable), "-I", "-S", "-c", "pass"]


class Network:
    """A network on a node, served by the plugins in one directory; a call of it is one process."""

    def __init__(self, node: Node, directory: Path, *, name: str, subnet: str, **keys: Any) -> None:
        self.node = node
        self.directory = directory
        self.name = name
        ipam = {"type": "host-local", "ranges": [[{"subnet": subnet}]]}
        conf = {"cniVersion": "1.0.0", "name": name, "type": "bridge", "bridge": f"br-{name}", "isGateway": True, "ipam": ipam} | keys
        self._stdin = json.dumps(conf).encode()

    def call(self, verb: str, number: int) -> Run:
        """ADD, DEL or VERSION of container `number`."""
        name = f"{self.name}{number}"
        if verb == "ADD" and name not in self.node.containers:
            self.node.container(name)
        env = self.node.cni_env(verb, container=self.node.containers.get(name), path=self.directory)
        with self.node.inside():
            return run([str(self.directory / "bridge")], env=env, stdin=self._stdin)

    def add_then_delete(self, number: int) -> Run:
        """A DEL, after an ADD that does not count."""
        self.call("ADD", number)
        return self.call("DEL", number)

    def add(self, number: int) -> Run:
        """An ADD, with a DEL afterwards that does not count."""
        measured = self.call("ADD", number)
        self.call("DEL", number)
        return measured

    def fill(self, count: int) -> None:
        """Lease `count` addresses of 10.0.0.0/8 to containers that are not there, as the reference writes them."""
        with self.node.inside():
            directory = Path("/var/lib/cni/networks") / self.name
            directory.mkdir(parents=True, exist_ok=True)
            first = 10 << 24 | 1 << 16
            for number in range(count):
                (directory / format_address(4, first + number)).write_text(f"gone{number}\r\neth0")


@contextmanager
def node() -> Iterator[Node]:
    """A node with nothing on it."""
    with Node(name="bench") as fresh:
        yield fresh


def measure(times: int) -> tuple[list[Row], float]:
    """Rows for a cold process by itself, and the most memory that a call of ours took, in MiB."""
    with node() as here:
        plain = Network(here, PLUGIN_DIR, name="plain", subnet="10.1.0.0/16")
        full = Network(here, PLUGIN_DIR, name="full", subnet="10.0.0.0/8")
        full.fill(LEASES)
        bare = Series("bare interpreter", lambda _: run(BARE))
        version = Series("VERSION", lambda n: plain.call("VERSION", n))
        add, add_full = Series("ADD", plain.add), Series("ADD full", full.add)
        in_turn([bare, version, add, add_full], times=times)
    rows = [
        Row("VERSION", "cold", version.ms, bare.name, bare.ms, 1.9),
        Row(f"ADD with {LEASES:,} leases", "cold", add_full.ms, "the same, empty pool", add.ms, 1.1),
    ]
    return rows, max(series.mib for series in (version, add, add_full))


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("-n", type=int, default=25, dest="times", help="counted runs of each contender (default 25)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="pods on the crowded nodes, as a part of what the targets speak of (default 1)"
    )
    options = parser.parse_args()
    reference = peers.program("bridge").parent
    rows, mib = measure(options.times)
    rows += many_pods.pairs(PLUGIN_DIR, reference, times=options.times, bare=lambda _: run(BARE))
    rows += many_pods.many(PLUGIN_DIR, reference, times=options.times, scale=options.scale)
    rows += many_pods.bursts(PLUGIN_DIR, reference)
    rows += restoring.restored(PLUGIN_DIR, scale=options.scale)
    print(HEAD)
    for row in rows:
        print(row)
    print(f"\nPeak memory of one call: {mib:.1f} MiB (target 30). Medians of whole processes, run in turn.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
