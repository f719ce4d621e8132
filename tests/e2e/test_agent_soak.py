"""An agent after many calls is what it was after few: as much memory, as many descriptors.

CNI_TEST_CALLS is the number of calls, 1,200 unless given; `make soak` gives 100,000.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.e2e.agents import Agent
from tests.e2e.calls import Caller
from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import bridge
from tests.support.netns import Container
from tests.support.node import Node

CALLS = int(os.environ.get("CNI_TEST_CALLS", "1200"))
AT_A_TIME = 4
LIFE = 6
"""Calls of one container's life, as `live` makes them."""
WARM_UP = max(CALLS // 10, 600)
"""Calls after which every thread has served some, and everything is loaded."""
MOST_BYTES = 70e6
GROWTH = 1.03
NETWORK = bridge(ipMasq=True)


def live(caller: Caller, container: Container, *, lives: int) -> None:
    """A container's life, over and over: attached, looked at, attached once more in vain, asked nonsense of, detached."""
    for _ in range(lives):
        result = caller.add(container)
        checked = Caller(caller.node, caller.directory, {**caller.conf, "prevResult": result})
        assert checked.run("CHECK", container).code == 0
        assert "is attached already" in caller.run("ADD", container).error["msg"]
        assert caller.run("ADD", container, stdin=b"{").code == 1
        caller.delete(container)
        assert caller.run("STATUS", None).code == 0


def footprint(agent: Agent) -> tuple[float, int]:
    """Bytes of memory, and open descriptors, when nothing is being served but this question."""
    found: dict[str, Any] = agent.metrics()
    return found["process_resident_memory_bytes"], int(found["process_open_fds"])


def test_memory_and_descriptors_stay_flat_over_many_calls(node: Node, plugins: Path, nothing_left: NothingLeft) -> None:
    caller = Caller(node, plugins, NETWORK)
    caller.prime(node.container("primer"))
    containers = [node.container(f"pod{number}") for number in range(AT_A_TIME)]

    def serve(calls: int) -> tuple[float, int]:
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            list(pool.map(lambda container: live(caller, container, lives=-(-calls // (LIFE * AT_A_TIME))), containers))
        return footprint(agent)

    with nothing_left(node), Agent(node, plugins, "--workers", str(AT_A_TIME)) as agent:
        memory, descriptors = serve(WARM_UP)
        memory_after, descriptors_after = serve(CALLS - WARM_UP)
        served = sum(count for name, count in agent.metrics().items() if name.startswith("cni_calls_total"))
    print(f"{served:.0f} calls: {memory / 1e6:.1f}, then {memory_after / 1e6:.1f} MB; {descriptors}, then {descriptors_after} descriptors")
    assert served > 0.9 * CALLS, "callers served themselves: nothing was measured"
    assert descriptors_after <= descriptors + AT_A_TIME, "more than a socket for each thread that had not spoken to the kernel before"
    assert memory_after <= MOST_BYTES
    assert memory_after <= memory * GROWTH
