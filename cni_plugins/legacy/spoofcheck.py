"""The reference bridge's check of MAC addresses, v1.9.1 (pkg/link/spoofcheck.go), in the table `bridge nat`:

    chain PREROUTING                { iifname "veth…" jump cni-br-iface-ID-IFNAME }
    chain cni-br-iface-ID-IFNAME      jumps to the next
    chain cni-br-iface-ID-IFNAME-mac  lets the container's address pass and drops the rest

The chains are made before the rule that jumps to them, and removed after it: where the first is absent, nothing is left.
"""

from __future__ import annotations

from cni_plugins.legacy import rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_plugins.kernel.nft import Nft
    from cni_plugins.protocol.attachment import Attachment

    Item = dict[str, Any]

_TABLE = "bridge nat"
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
_NAME_MAX = 255


def find(nft: Nft, att: Attachment) -> Item | None:
    """The first chain of an attachment, or None. Raises KernelRefused."""
    chain = f"cni-br-iface-{att.container_id}-{att.ifname}"
    return {"chain": chain} if _handles(nft, [chain]) else None


def drop(nft: Nft, item: Item) -> None:
    """Remove the chains, and the rules that jump to them, in one transaction; what is gone already is no error. Raises KernelRefused."""
    rules.change(nft, lambda: _deletions(nft, item["chain"]))


def _deletions(nft: Nft, chain: str) -> str:
    handles = _handles(nft, [chain, f"{chain}-mac"])
    if not handles:
        return ""
    jumps = [rule for rule in rules.rules(nft, f"{_TABLE} PREROUTING") if rule.jumps_to(chain)]
    return "".join(
        [f"delete rule {_TABLE} PREROUTING handle {jump.handle}\n" for jump in jumps]
        + [f"delete chain {_TABLE} handle {handle}\n" for handle in handles]
    )


def _handles(nft: Nft, chains: list[str]) -> list[int]:
    """The handles of those of `chains` that exist."""
    if any(len(chain) > _NAME_MAX for chain in chains):
        return []
    if all(map(_PLAIN.issuperset, chains)):
        texts = [rules.listing(nft, f"chain {_TABLE} {chain}") for chain in chains]
    else:
        # The reference writes JSON, and so names that the language of nft cannot: they are looked for among all.
        texts = [rules.listing(nft, f"table {_TABLE}")]
    found: dict[str, int] = {}
    for text in texts:
        found |= rules.parse_chains(text or "")
    return [found[chain] for chain in chains if chain in found]
