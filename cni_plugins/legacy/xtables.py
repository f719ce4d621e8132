"""The nat table of iptables-legacy, which lives in the kernel's x_tables and not in nftables: reached through its own programs.

They are executed only where /proc says that the network namespace has such a table.
"""

from __future__ import annotations

from cni_plugins.kernel import iptables
from cni_plugins.legacy.rules import departing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.iptables import Iptables

_TRIES = 8


def holds(family: str, chain: str) -> bool:
    """Whether the nat table of "ip" or "ip6" has this chain. False as well when no program is there to ask, as for the reference.

    Raises KernelRefused, IoFailure.
    """
    program = _program(family)
    return program is not None and program.chain(chain, table="nat") is not None


def drop(family: str, chain: str, *, entry: str, addresses: list[str] | None = None) -> None:
    """Remove the jumps to a chain in the chain `entry`, and with the last of them the chain itself.

    Only the jumps for `addresses` where there are any, else all. What is gone already is no error. Raises KernelRefused, IoFailure.
    """
    program = _program(family)
    for attempt in range(_TRIES if program else 0):
        # What somebody else took out meanwhile makes the whole of it fail: look again, and let the last failure be told.
        if program is None or program.chain(chain, table="nat") is None:
            return
        jumps = [line for line in program.chain(entry, table="nat") or () if line.endswith(f" -j {chain}")]
        gone, whole = departing([_source(jump) for jump in jumps], addresses or [])
        commands = ["-D" + jumps[index].removeprefix("-A") for index in gone] + ([f"-F {chain}", f"-X {chain}"] if whole else [])
        if program.change(commands, table="nat", final=attempt + 1 == _TRIES):
            return


def _program(family: str) -> Iptables | None:
    return iptables.program(family, "legacy") if iptables.in_legacy(family, "nat") else None


def _source(rule: str) -> str:
    words = rule.split()
    return words[words.index("-s") + 1].removesuffix("/32").removesuffix("/128") if "-s" in words else ""
