"""Masquerading by the reference plugins, v1.9.1 (pkg/ip/ipmasq_nftables_linux.go, pkg/ip/ipmasq_iptables_linux.go), in three forms:

    rules     table inet cni_plugins_masquerade, chain masq_checks: rules whose comments start with two hashes, one of the network,
              one of interface and container
    nft       iptables-nft, tables ip nat and ip6 nat: a chain named by a hash of network and container, jumps to it in POSTROUTING
    xtables   iptables-legacy, the same in the tables of x_tables (see xtables.py)

Those of iptables-nft are taken out of nftables by their handles, without iptables: it keeps no state of its own and reads its tables
anew for every command. What it must not meet there are expressions that it has no words for, and nothing is added here.
"""

from __future__ import annotations

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

_CHECKS = "inet cni_plugins_masquerade masq_checks"
_FAMILIES = ("ip", "ip6")
_HASH = 16
_CHAIN_HASH = 24


def find(nft: Nft, att: Attachment, addresses: Iterable[str] = ()) -> Item | None:
    """What the reference left for an attachment, or None.

    `addresses` are the attachment's, as far as they are known, in their canonical spelling: they tell its iptables rules from those
    of another interface of the same container on the same network (without them all are taken to be its own).
    Raises KernelRefused, IoFailure.
    """
    item: Item = {}
    instance = _instance(att.network, att.container_id, att.ifname)
    if f' comment "{instance},' in (rules.listing(nft, f"chain {_CHECKS}") or ""):
        item["rules"] = [instance]
    chain = "CNI-" + sha512_hex(att.network + att.container_id)[:_CHAIN_HASH]
    in_xtables = [family for family in _FAMILIES if xtables.holds(family, chain)]
    for form, families in (("nft", _families_in_nft(nft, chain)), ("xtables", in_xtables)):
        if families:
            item |= {form: families, "chain": chain, "addresses": list(addresses)}
    return item or None


def stale(nft: Nft, network: str, valid: set[tuple[str, str]]) -> Item | None:
    """The nftables rules of `network` that belong to none of `valid` (container ID, interface), for `drop`; None if there are none.

    The chains of the iptables forms do not tell their network, so that neither we nor the reference can collect them.
    Raises KernelRefused.
    """
    prefix = sha512_hex(network)[:_HASH] + "-"
    present = {rule.comment.partition(",")[0] for rule in rules.rules(nft, _CHECKS) if rule.comment.startswith(prefix)}
    gone = present - {_instance(network, *owner) for owner in valid}
    return {"rules": sorted(gone)} if gone else None


def drop(nft: Nft, item: Item) -> None:
    """Remove what `find` or `stale` found; what is gone already is no error. Tries all. Raises KernelRefused."""
    errors: list[CniError] = []

    def attempt(change: Callable[..., None], *args: object) -> None:
        try:
            change(*args)
        except CniError as error:
            errors.append(error)

    if "rules" in item:
        attempt(rules.change, nft, lambda: _without_rules(nft, item["rules"]))
    for family in item.get("nft", ()):
        attempt(rules.change, nft, lambda family=family: _without_chain(nft, family, item["chain"], item["addresses"]))
    for family in item.get("xtables", ()):
        attempt(lambda family=family: xtables.drop(family, item["chain"], entry="POSTROUTING", addresses=item["addresses"]))
    if errors:
        raise KernelRefused("; ".join(error.msg for error in errors), "\n".join(error.details for error in errors if error.details))


def _instance(network: str, container_id: str, ifname: str) -> str:
    return f"{sha512_hex(network)[:_HASH]}-{sha512_hex(f'{ifname}:{container_id}')[:_HASH]}"


def _without_rules(nft: Nft, instances: list[str]) -> str:
    gone = [rule for rule in rules.rules(nft, _CHECKS) if rule.comment.partition(",")[0] in instances]
    return "".join(f"delete rule {_CHECKS} handle {rule.handle}\n" for rule in gone)


def _families_in_nft(nft: Nft, chain: str) -> list[str]:
    found: list[str] = []
    for family in _FAMILIES:
        # To list a chain that is there, libnftables may have libxtables load the target MASQUERADE, which succeeds for one family in a
        # process and for the other prints a complaint to stderr. So where one is there, the other is looked for in the jumps first.
        if (found and _jumps(nft, family, chain)) or _exists(nft, family, chain):
            found.append(family)
    return found


def _exists(nft: Nft, family: str, chain: str) -> bool:
    return rules.listing(nft, f"chain {family} nat {chain}") is not None


def _jumps(nft: Nft, family: str, chain: str) -> list[Rule]:
    return [rule for rule in rules.rules(nft, f"{family} nat POSTROUTING") if rule.jumps_to(chain)]


def _without_chain(nft: Nft, family: str, chain: str, addresses: list[str]) -> str:
    jumps = _jumps(nft, family, chain)
    if not jumps and not _exists(nft, family, chain):
        return ""
    gone, whole = rules.departing([jump.source for jump in jumps], addresses)
    commands = "".join(f"delete rule {family} nat POSTROUTING handle {jumps[index].handle}\n" for index in gone)
    return commands + (f"delete chain {family} nat {chain}\n" if whole else "")
