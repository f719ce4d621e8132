"""An agent after many calls is what it was after few: as much memory, as many descriptors.

CNI_TEST_CALLS is the number of calls, 1,200 unless given; `make soak` gives 100,000. They go straight over the agent's socket, as an
executable hands them over: what is tested is the agent, and processes that start and end would take most of the time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cni_plugins import handover
from tests.e2e.agents import Agent
from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import bridge
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.outcome import Outcome

CALLS = int(os.environ.get("CNI_TEST_CALLS", "1200"))
AT_A_TIME = 4
PARTS = (0.01, 0.1, 0.5, 1.0)
"""After which parts of the calls the agent is looked at."""
WARM_UP = max(CALLS // 10, 600)
"""Calls after which every thread has served some, and everything is loaded."""
MOST_BYTES = 70e6
GROWTH = 1.03
CHAIN: tuple[dict[str, Any], ...] = (
    bridge(ipMasq=True),
    {"type": "portmap"},
    {"type": "bandwidth", "ingressRate": 1_000_000, "ingressBurst": 1_000_000, "egressRate": 1_000_000, "egressBurst": 1_000_000},
    {"type": "firewall", "ingressPolicy": "same-bridge"},
    {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}},
)
LIFE = 3 * len(CHAIN) + 3
"""Calls of one container's life, as `Runtime.live` makes them."""


class Runtime:
    """Calls plugins for a container on the node that the thread is on, through an agent alone."""

    def __init__(self, node: Node, plugins: Path, socket: str, *, container: Container, port: int) -> None:
        self._node = node
        self._plugins = plugins
        self._socket = socket
        self._container = container
        self._ports = {"portMappings": [{"hostPort": port, "containerPort": 80, "protocol": "udp"}]}
        found = (plugins / "bridge").stat()
        self._executable = (found.st_dev, found.st_ino)

    def call(self, verb: str, keys: Mapping[str, Any], *, prev: Any = None, stdin: bytes = b"") -> Outcome:
        """One call of the plugin that `keys` configure, as often offered as the agent is busy."""
        conf = {"cniVersion": "1.1.0", "name": "pods", **keys, "runtimeConfig": self._ports}
        conf |= {"prevResult": prev} if prev is not None else {}
        environ = self._node.cni_env(verb, container=self._container, path=self._plugins)
        call = handover.Call(str(keys["type"]), environ, stdin or json.dumps(conf).encode(), executable=self._executable)
        while (channel := handover.offer(self._socket)) is None:
            pass
        answers: list[bytes] = []
        with closing(channel):
            assert handover.hand_over(channel, call)
            status = handover.serve(channel, call, answers.append, ended=lambda: 0)
        return Outcome(status, b"".join(answers).decode(), "")

    def live(self) -> None:
        """A container's life: attached, looked at, attached once more in vain, asked nonsense of, detached."""
        result: Any = None
        for keys in CHAIN:
            result = self.call("ADD", keys, prev=result).result
        assert [outcome for outcome in (self.call("CHECK", keys, prev=result) for keys in CHAIN) if outcome.code] == []
        assert "is attached already" in self.call("ADD", CHAIN[0]).error["msg"]
        assert self.call("ADD", CHAIN[0], stdin=b"{").code == 1
        assert self.call("STATUS", CHAIN[0]).code == 0
        assert [outcome for outcome in (self.call("DEL", keys, prev=result) for keys in reversed(CHAIN)) if outcome.code] == []


def footprint(agent: Agent) -> tuple[int, float, int]:
    """Calls served, bytes of memory, and open descriptors, when nothing is being served but this question."""
    found = agent.metrics()
    calls = sum(count for name, count in found.items() if name.startswith("cni_calls_total"))
    return int(calls), found["process_resident_memory_bytes"], int(found["process_open_fds"])


@pytest.fixture
def live(node: Node, plugins: Path) -> Callable[[Agent, int], None]:
    """Makes so many calls through an agent, some at a time."""
    containers = [node.container(f"pod{number}") for number in range(AT_A_TIME)]

    def serve(agent: Agent, calls: int) -> None:
        path = str(agent.path)
        runtimes = [Runtime(node, plugins, path, container=one, port=20000 + number) for number, one in enumerate(containers)]
        lives = -(-calls // (LIFE * AT_A_TIME))
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            list(pool.map(lambda runtime: [runtime.live() for _ in range(lives)], runtimes))

    return serve


def test_memory_and_descriptors_stay_flat_over_many_calls(
    node: Node, plugins: Path, live: Callable[[Agent, int], None], nothing_left: NothingLeft
) -> None:
    with Agent(node, plugins) as agent:
        live(agent, 1)  # makes what networks share
    with nothing_left(node), Agent(node, plugins, "--workers", str(AT_A_TIME)) as agent:
        seen: list[tuple[int, float, int]] = []
        for part in PARTS:
            live(agent, int(CALLS * part) - (seen[-1][0] if seen else 0))
            seen.append(footprint(agent))
            served, memory, descriptors = seen[-1]
            print(f"{served:,} calls: {memory / 1e6:.1f} MB, {descriptors} descriptors", flush=True)
    _, memory_before, descriptors_before = next(one for one in seen if one[0] >= WARM_UP)
    assert served >= CALLS
    assert descriptors <= descriptors_before + AT_A_TIME, "more than a socket for each thread that had not spoken to the kernel before"
    assert memory <= MOST_BYTES
    assert memory <= memory_before * GROWTH
