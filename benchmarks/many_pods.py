"""What calls cost on a node with many pods, cold and with an agent, beside the reference plugins with either of their back ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.chains import Chain
from benchmarks.table import Row
from benchmarks.timing import Run, Series, in_turn

PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
BURST, DRAIN, AT_ONCE = 60, 100, 16
Make = Callable[..., Chain]


@contextmanager
def contenders(makers: dict[str, Callable[[], Chain]], *, pods: int) -> Iterator[dict[str, Chain]]:
    """The chains, each on a node of its own with so many pods."""
    with ExitStack() as stack:
        chains = {name: stack.enter_context(make()) for name, make in makers.items()}
        for chain in chains.values():
            chain.all("ADD", range(pods), at_once=4)
        yield chains


def _makers(ours: Path, reference: Path, backend: str, *plugins: dict[str, Any], **keys: Any) -> dict[str, Callable[[], Chain]]:
    theirs = tuple({**plugin, "backend": backend} for plugin in plugins)
    masq: dict[str, Any] = {"ipMasqBackend": backend} if keys.get("ipMasq") else {}
    return {
        "cold": lambda: Chain(ours, *plugins, **keys),
        "agent": lambda: Chain(ours, *plugins, agent=True, **keys),
        "reference": lambda: Chain(reference, *theirs, **keys, **masq),
    }


def pairs(ours: Path, reference: Path, *, times: int, bare: Callable[[int], Run]) -> list[Row]:
    """Rows for calls on a node without other pods."""
    rows = []
    with contenders(_makers(ours, reference, "iptables"), pods=0) as chains:
        series = {name: Series(name, chain.add) for name, chain in chains.items()} | {"bare": Series("bare interpreter", bare)}
        in_turn(list(series.values()), times=times)
        rows += [
            Row("ADD", "agent", series["agent"].ms, "reference", series["reference"].ms, 1.7),
            Row("ADD", "cold", series["cold"].ms, "bare interpreter", series["bare"].ms, 6.5),
        ]
    for backend, warm, cold in (("iptables", 0.7, 2.8), ("nftables", 0.35, 1.5)):
        with contenders(_makers(ours, reference, backend, ipMasq=True), pods=0) as chains:
            rows += _add_and_delete(chains, "masquerade", backend, times=times, add=(warm, cold), delete=(0.5, 1.2))
    return rows


def many(ours: Path, reference: Path, *, times: int, scale: float) -> list[Row]:
    """Rows for bridge and portmap on a node with hundreds of pods, and whether ours stay flat."""
    rows = []
    for backend, pods, warm in (("iptables", 500, 0.12), ("nftables", 300, 0.25)):
        count = max(2, int(pods * scale))
        makers = _makers(ours, reference, backend, PORTMAP, ipMasq=True)
        with ExitStack() as stack:
            full = stack.enter_context(contenders(makers, pods=count))
            rows += _add_and_delete(full, f"portmap, {count} pods", backend, times=times, add=(warm, 0.6), delete=(0.2, 0.6))
            if backend == "iptables":
                del makers["reference"]
                rows += _flat(full, stack.enter_context(contenders(makers, pods=0)), count, times=times)
    return rows


def _add_and_delete(
    chains: dict[str, Chain], work: str, backend: str, *, times: int, add: tuple[float, float], delete: tuple[float, float]
) -> list[Row]:
    rows = []
    for verb, targets in (("ADD", add), ("DEL", delete)):
        series = {name: Series(name, chain.add if verb == "ADD" else chain.delete) for name, chain in chains.items()}
        in_turn(list(series.values()), times=times)
        for who, target in zip(("agent", "cold"), targets, strict=True):
            rows.append(Row(f"{verb}, {work}", who, series[who].ms, f"reference, {backend}", series["reference"].ms, target))
    return rows


def _flat(full: dict[str, Chain], empty: dict[str, Chain], pods: int, *, times: int) -> list[Row]:
    rows = []
    for who, chain in empty.items():
        crowded, alone = Series("crowded", full[who].add), Series("alone", chain.add)
        in_turn([crowded, alone], times=times)
        rows.append(Row(f"ADD, portmap, {pods} pods", who, crowded.ms, "no other pods", alone.ms, 1.1))
    return rows


def bursts(ours: Path, reference: Path) -> list[Row]:
    """Rows for deletions that come together."""
    rows = []
    with contenders(_makers(ours, reference, "iptables", ipMasq=True), pods=BURST) as chains:
        seconds = {name: _seconds(chain, BURST, at_once=BURST) for name, chain in chains.items()}
        for who, target in (("agent", 0.2), ("cold", 0.6)):
            rows.append(Row(f"{BURST} DELs at once", who, seconds[who] * 1000, "reference", seconds["reference"] * 1000, target))
        agent = chains["agent"]
        agent.all("ADD", range(DRAIN), at_once=4)
        drain = _seconds(agent, DRAIN, at_once=AT_ONCE)
        rows.append(Row(f"drain of {DRAIN} pods", "agent", drain * 1000, "allowed", 1200, 1.0))
        rows.append(Row("memory, MB", "agent", agent.agent_memory, "allowed", 70, 1.0))
    return rows


def _seconds(chain: Chain, pods: int, *, at_once: int) -> float:
    """How long the DELs of so many pods take together."""
    begun = time.perf_counter()
    chain.all("DEL", range(pods), at_once=at_once)
    return time.perf_counter() - begun
