"""Port mappings by the reference's portmap, v1.9.1 (plugins/meta/portmap), in three forms:

    rules     tables ip cni_hostport and ip6 cni_hostport: rules whose comments are the container's ID, in three chains
    nft       iptables-nft, tables ip nat and ip6 nat: a chain named by a hash of network and container, jumps to it in CNI-HOSTPORT-DNAT
    legacy    iptables-legacy, the same in the tables of x_tables

A comment does not tell the network, so that the reference's own DEL takes a container's ports on all of them: here addresses tell them
apart, where they are known. The chains that all mappings share stay, as they do with the reference. CNI-SN-… is what old releases made.
"""

from __future__ import annotations

from cni_plugins.kernel import iptables
from cni_plugins.legacy import rules, xtables
from cni_plugins.legacy.names import sha512_hex
from cni_plugins.protocol.errors import CniError, KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from cni_plugins.kernel.nft import Nft
    from cni_plugins.legacy.rules import Rule
    from cni_plugins.protocol.attachment import Attachment

    Item = dict[str, Any]

_FAMILIES = ("ip", "ip6")
_TABLE = "cni_hostport"
_CHAINS = ("hostports", "hostip_hostports", "masquerading")
_ENTRY = {"CNI-DN-": "CNI-HOSTPORT-DNAT", "CNI-SN-": "CNI-HOSTPORT-SNAT"}
"""Where the jumps to a container's chain are, by the beginning of the chain's name."""
_NAME = 28


def find(nft: Nft, att: Attachment, addresses: Iterable[str] = ()) -> Item | None:
    """What the reference left for an attachment, or None. `addresses` are its own, as far as they are known.

    Raises KernelRefused, IoFailure.
    """
    digest = sha512_hex(att.network + att.container_id)
    chains = [(start + digest)[:_NAME] for start in _ENTRY]
    item: Item = {"container": att.container_id, "addresses": list(addresses)}
    item["rules"] = [family for family in _FAMILIES if _rules(nft, family, item)]
    item["nft"] = _in_nft(nft, chains)
    item["legacy"] = {family: present for family in _FAMILIES if (present := [chain for chain in chains if xtables.holds(family, chain)])}
    return item if any(item[form] for form in ("rules", "nft", "legacy")) else None


def stale(nft: Nft, network: str, valid: set[tuple[str, str]]) -> Item | None:
    """The chains of `network` whose containers are none of `valid` (container ID, interface), for `drop`; None if there are none.

    The form that is rules alone does not tell the network. Raises KernelRefused, IoFailure.
    """
    kept = {container_id for container_id, _ in valid}
    item: Item = {"container": "", "addresses": [], "rules": [], "nft": {}, "legacy": {}}
    for family in _FAMILIES:
        entry = _ENTRY["CNI-DN-"]
        if rules.listing(nft, f"chain {family} nat {entry}") is not None:
            item["nft"][family] = _stale_chains(iptables.program(family, "nft"), entry, network, kept)
        if iptables.in_legacy(family, "nat"):
            item["legacy"][family] = _stale_chains(iptables.program(family, "legacy"), entry, network, kept)
    return item if any((*item["nft"].values(), *item["legacy"].values())) else None


def drop(nft: Nft, item: Item) -> None:
    """Remove what `find` or `stale` found; what is gone already is no error. Tries all. Raises KernelRefused."""
    errors: list[CniError] = []

    def attempt(change: Callable[..., None], *args: object) -> None:
        try:
            change(*args)
        except CniError as error:
            errors.append(error)

    for family in item["rules"]:
        attempt(rules.change, nft, lambda family=family: "".join(_rules(nft, family, item)))
    for family, chains in item["nft"].items():
        for chain in chains:
            attempt(rules.change, nft, lambda family=family, chain=chain: _without_chain(nft, family, chain))
    for family, chains in item["legacy"].items():
        for chain in chains:
            attempt(lambda family=family, chain=chain: xtables.drop(family, chain, entry=_entry_to(chain)))
    if errors:
        raise KernelRefused("; ".join(error.msg for error in errors), "\n".join(error.details for error in errors if error.details))


def _rules(nft: Nft, family: str, item: Item) -> list[str]:
    """The commands that delete a container's rules in the reference's own table."""
    return [
        f"delete rule {family} {_TABLE} {chain} handle {rule.handle}\n"
        for chain in _CHAINS
        for rule in rules.rules(nft, f"{family} {_TABLE} {chain}")
        if rule.comment == item["container"] and _is_about(rule, item["addresses"])
    ]


def _is_about(rule: Rule, addresses: list[str]) -> bool:
    """Whether a rule leads to one of these addresses; any rule does when none are known."""
    goals = {goal for address in addresses for goal in (address, f"[{address}]")}
    return not addresses or any(word in goals or word.rpartition(":")[0] in goals for word in rule.text.split())


def _in_nft(nft: Nft, chains: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for family in _FAMILIES:
        # As for masquerading: libxtables knows one family in a process, and complains to stderr about what is in a chain of the other.
        present = [chain for chain in chains if (found and _jumps(nft, family, chain)) or _exists(nft, family, chain)]
        if present:
            found[family] = present
    return found


def _exists(nft: Nft, family: str, chain: str) -> bool:
    return rules.listing(nft, f"chain {family} nat {chain}") is not None


def _jumps(nft: Nft, family: str, chain: str) -> list[Rule]:
    return [rule for rule in rules.rules(nft, f"{family} nat {_entry_to(chain)}") if rule.jumps_to(chain)]


def _entry_to(chain: str) -> str:
    return next(entry for start, entry in _ENTRY.items() if chain.startswith(start))


def _without_chain(nft: Nft, family: str, chain: str) -> str:
    jumps = _jumps(nft, family, chain)
    if not jumps and not _exists(nft, family, chain):
        return ""
    deletions = "".join(f"delete rule {family} nat {_entry_to(chain)} handle {jump.handle}\n" for jump in jumps)
    return f"{deletions}flush chain {family} nat {chain}\ndelete chain {family} nat {chain}\n"


def _stale_chains(program: iptables.Iptables | None, entry: str, network: str, kept: set[str]) -> list[str]:
    """The chains that jumps lead to whose comments name this network and none of the containers `kept`."""
    found = set()
    for line in (program.chain(entry, table="nat") if program else None) or ():
        _, says, rest = line.partition(f'"dnat name: \\"{network}\\" id: \\"')
        container_id, complete, jump = rest.partition('\\""')
        if says and complete and container_id not in kept:
            found.add(jump.rpartition(" -j ")[2])
    return sorted(chain for chain in found if chain.startswith("CNI-DN-"))
