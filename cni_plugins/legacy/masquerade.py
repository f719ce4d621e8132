"""Masquerading by the reference plugins, v1.9.1 (pkg/ip/ipmasq_nftables_linux.go, pkg/ip/ipmasq_iptables_linux.go), in three forms:

    rules     table inet cni_plugins_masquerade, chain masq_checks: rules whose comments start with two hashes, one of the network,
              one of interface and container
    nft       iptables-nft, tables ip nat and ip6 nat: a chain named by a hash of network and container, jumps to it in POSTROUTING
    xtables   iptables-legacy, the same in the tables of x_tables (see xtables.py)

Those of iptables-nft are taken out of nftables by their handles, without iptables: it keeps no state of its own and reads its tables
anew for every command. What it must not meet there are expressions that it has no words for, and nothing is added here.
"""

from __future__ import annotations

from sys import version_info

from cni_plugins.kernel import files
from cni_plugins.legacy import rules
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
    chain = "CNI-" + _hash(att.network + att.container_id)[:_CHAIN_HASH]
    for form, families in (("nft", _families_in_nft(nft, chain)), ("xtables", _families_in_xtables(chain))):
        if families:
            item |= {form: families, "chain": chain, "addresses": list(addresses)}
    return item or None


def stale(nft: Nft, network: str, valid: set[tuple[str, str]]) -> Item | None:
    """The nftables rules of `network` that belong to none of `valid` (container ID, interface), for `drop`; None if there are none.

    The chains of the iptables forms do not tell their network, so that neither we nor the reference can collect them.
    Raises KernelRefused.
    """
    prefix = _hash(network)[:_HASH] + "-"
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
        attempt(_drop_in_xtables, family, item["chain"], item["addresses"])
    if errors:
        raise KernelRefused("; ".join(error.msg for error in errors), "\n".join(error.details for error in errors if error.details))


def _hash(text: str) -> str:
    # Not from hashlib, which would load OpenSSL.
    if version_info >= (3, 12):
        from _sha2 import sha512
    else:
        from _sha512 import sha512  # type: ignore[import-not-found]
    return str(sha512(text.encode("utf-8", "surrogateescape")).hexdigest())


def _instance(network: str, container_id: str, ifname: str) -> str:
    return f"{_hash(network)[:_HASH]}-{_hash(f'{ifname}:{container_id}')[:_HASH]}"


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


def _families_in_xtables(chain: str) -> list[str]:
    with_nat = [family for family in _FAMILIES if b"nat" in _xtables(family)]
    if not with_nat:
        return []
    from cni_plugins.legacy import xtables

    return [family for family in with_nat if xtables.holds(family, chain)]


def _xtables(family: str) -> list[bytes]:
    """The tables of x_tables in the thread's network namespace; without "thread-self" it would be that of the first thread."""
    return (files.read(f"/proc/thread-self/net/{family}_tables_names") or b"").split()


def _drop_in_xtables(family: str, chain: str, addresses: list[str]) -> None:
    from cni_plugins.legacy import xtables

    xtables.drop(family, chain, addresses)
