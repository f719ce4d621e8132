"""nftables and iptables, as the lines that an operator reads."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Things = dict[str, dict[str, str]]

_IPTABLES_TABLES = ("filter", "nat", "mangle", "raw", "security")
_LEGACY = {"iptables-save": "/proc/thread-self/net/ip_tables_names", "ip6tables-save": "/proc/thread-self/net/ip6_tables_names"}


def nftables() -> Things:
    """Every line of the calling thread's network namespace's ruleset, without handles and counters: "TABLE / CHAIN / LINE".

    A set's elements count as a line each. A line that is there more than once says how often. Without nft or kernel support
    there is a single entry that says why.
    """
    try:
        listing = _listing()
    except OSError as error:
        return {"(unreadable)": {"reason": str(error)}}
    return _counted(_lines(listing))


def iptables(rules: Mapping[str, object]) -> Things:
    """What iptables-save and ip6tables-save print, without counters: "COMMAND TABLE LINE".

    They are run only where there is something of iptables': legacy tables, or tables of its names among `rules`, those of `nftables`.
    """
    found: Things = {}
    for command, legacy in _LEGACY.items():
        family = "ip6" if command.startswith("ip6") else "ip"
        if any(f"table {family} {table}" in rules for table in _IPTABLES_TABLES) or _read(legacy):
            path = shutil.which(command)
            done = subprocess.run([path], capture_output=True, text=True, check=False) if path else None
            found |= _counted(_saved(command, done.stdout)) if done else {command: {"reason": "not installed"}}
    return found


def _saved(command: str, listing: str) -> Iterable[str]:
    table = ""
    for line in listing.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            yield f"{command} {table} {line.rpartition(' [')[0]}"
        elif line.startswith("-"):
            yield f"{command} {table} {line}"


def _lines(listing: str) -> Iterable[str]:
    """The lines of a ruleset, each after the blocks that it is in; a block is a line too."""
    blocks: list[str] = []
    pending = ""
    for raw in listing.splitlines():
        line = f"{pending} {raw.strip()}".strip()
        pending = ""
        if not line or line.startswith("#"):
            continue
        if line == "}":
            blocks.pop()
        elif line.startswith("elements = {"):
            if line.count("{") > line.count("}"):
                pending = line
                continue
            yield from (" / ".join([*blocks, element]) for element in _elements(line))
        elif line.endswith("{"):
            blocks.append(line[:-1].strip())
            yield " / ".join(blocks)
        else:
            yield " / ".join([*blocks, line])


def _elements(line: str) -> list[str]:
    """Split `elements = { a, b comment "c, d" }` at the commas that are outside of quotes."""
    inner = line.removeprefix("elements = {").removesuffix("}")
    parts = inner.split('"')
    parts[::2] = [part.replace(",", "\n") for part in parts[::2]]
    return [element.strip() for element in '"'.join(parts).split("\n")]


def _counted(lines: Iterable[str]) -> Things:
    found: Things = {}
    for line in lines:
        times = int(found[line].get("times", "1")) + 1 if line in found else 1
        found[line] = {"times": str(times)} if times > 1 else {}
    return found


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _listing() -> str:
    """The ruleset as text. Raises OSError when there is no nft, or with its words when it fails.

    The command is run rather than its library called: the library, the second time, forgets how to tell the rules of iptables-nft.
    """
    done = subprocess.run(["nft", "--stateless", "list", "ruleset"], capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())
    return done.stdout
