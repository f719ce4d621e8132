"""How long pods are cut off after `nft flush ruleset`, on a node with hundreds of them and an agent."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.chains import Chain
from benchmarks.table import Row
from tests.support.node import Node

PODS, TIMES = 500, 3
ALLOWED_MS = 1000
PLUGINS: tuple[dict[str, Any], ...] = ({"type": "portmap", "capabilities": {"portMappings": True}}, {"type": "firewall"})


def restored(ours: Path, *, scale: float) -> list[Row]:
    """A row for how long it takes until all has been put back that masqueraded, port-mapped, accepted pods need."""
    pods = max(2, int(PODS * scale))
    with Chain(ours, *PLUGINS, agent=True, ipMasq=True) as chain:
        chain.all("ADD", range(pods), at_once=4)
        before = _elements(chain.node)
        ms = median(_flush(chain) for _ in range(TIMES))
        if _elements(chain.node) != before:
            raise RuntimeError("not all of it was put back")
    return [Row(f"put back after a flush, {pods} pods", "agent", ms, "allowed", ALLOWED_MS, 1.0)]


def _flush(chain: Chain) -> float:
    """Milliseconds from the flush until the agent says that it has put everything back."""
    begun = time.perf_counter()
    chain.node.run(["nft", "flush", "ruleset"])
    chain.wait_for_agent("put back")
    return (time.perf_counter() - begun) * 1000


def _elements(node: Node) -> int:
    """How many elements of attachments there are."""
    return node.run(["nft", "list", "ruleset"]).stdout.count(" comment ")
