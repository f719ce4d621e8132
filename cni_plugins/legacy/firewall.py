"""Rules of the reference's firewall plugin, v1.9.1 (plugins/meta/firewall), in the filter table of iptables, of either form:

    FORWARD                 jumps to both of the following, CNI-ISOLATION-STAGE-1 first
    CNI-FORWARD             jumps to CNI-ADMIN, then for each address
                            -d ADDRESS -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
                            -s ADDRESS -j ACCEPT
    CNI-ISOLATION-STAGE-1   -i BRIDGE ! -o BRIDGE -j CNI-ISOLATION-STAGE-2; isolated: -i BRIDGE -o BRIDGE -j DROP; -j RETURN
    CNI-ISOLATION-STAGE-2   -o BRIDGE -j DROP; -j RETURN

They name addresses and bridges, and no container. Those of an address go with the attachment that has it; those of a bridge, which the
reference never takes out, with the last port. Nothing but these exact rules is touched, and the chains stay, as they do with the reference.
"""

from __future__ import annotations

from cni_plugins.kernel import iptables
from cni_plugins.legacy import rules
from cni_plugins.protocol.ip import parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from cni_plugins.kernel.nft import Nft

    Item = dict[str, Any]
    Said = dict[str, set[str]]

_FORWARD, _STAGE_1, _STAGE_2 = "CNI-FORWARD", "CNI-ISOLATION-STAGE-1", "CNI-ISOLATION-STAGE-2"
_FAMILIES = {"ip": 4, "ip6": 6}
_FORMS = ("nft", "legacy")
_ANSWERS = ("ct state related,established", "ct state established,related", 'xt match "conntrack"')
"""How nftables prints the match of answers, by its release and by whether it finds the extensions of iptables."""
_COMMENT = ' -m comment --comment "'
_TRIES = 8


def find(nft: Nft, addresses: Iterable[str] = (), *, bridge: str = "") -> Item | None:
    """What the reference left for these addresses, and for a bridge that has no pods any more; None if nothing.

    Raises KernelRefused, IoFailure.
    """
    item: Item = {"addresses": sorted(addresses), "bridge": bridge}
    for form in _FORMS:
        item[form] = [family for family in _FAMILIES if _deletions(nft, form, family, item=item)]
    return item if any(item[form] for form in _FORMS) else None


def accepts(nft: Nft, addresses: Iterable[str]) -> bool:
    """Whether the reference's rules let all of these addresses through. Raises KernelRefused, IoFailure."""
    return all(_holds(nft, {"addresses": [address], "bridge": ""}, rules_each=2) for address in addresses)


def isolates(nft: Nft, bridge: str, *, closed: bool) -> bool:
    """Whether the reference keeps a bridge apart from others, and, `closed`, its ports from each other. Raises KernelRefused, IoFailure."""
    return _holds(nft, {"addresses": [], "bridge": bridge}, rules_each=3 if closed else 2)


def drop(nft: Nft, item: Item) -> None:
    """Remove what `find` found; what is gone already is no error. Raises KernelRefused, IoFailure."""
    for family in item["nft"]:
        rules.change(nft, _Deletions(nft, family, item))
    for family in item["legacy"]:
        program = iptables.program(family, "legacy")
        for attempt in range(_TRIES if program else 0):
            commands = _deletions(nft, "legacy", family, item=item)
            # What somebody else took out meanwhile makes the whole of it fail: look again, and let the last failure be told.
            if not commands or (program and program.change(commands, final=attempt + 1 == _TRIES)):
                break


class _Deletions:
    """What `rules.change` asks for again and again: the deletions of an item's rules, as they stand by then."""

    __slots__ = ("_family", "_item", "_nft")

    def __init__(self, nft: Nft, family: str, item: Item) -> None:
        self._nft = nft
        self._family = family
        self._item = item

    def __call__(self) -> str:
        return "".join(f"{line}\n" for line in _deletions(self._nft, "nft", self._family, item=self._item))


def _holds(nft: Nft, item: Item, *, rules_each: int) -> bool:
    """Whether some family and form of iptables has that many of the rules that an item is about."""
    return any(len(_deletions(nft, form, family, item=item)) >= rules_each for form in _FORMS for family in _FAMILIES)


def _deletions(nft: Nft, form: str, family: str, *, item: Item) -> list[str]:
    """The commands that take out what is there of the rules that an item is about."""
    if form == "nft":
        wanted = _in_words_of_nftables(family, item)
        return [
            f"delete rule {family} filter {chain} handle {rule.handle}"
            for chain, texts in wanted.items()
            for rule in (rules.rules(nft, f"{family} filter {chain}") if texts else ())
            if _without_counter(rule.text) in texts
        ]
    program = iptables.program(family, form) if iptables.in_legacy(family, "filter") else None
    if program is None:
        return []
    wanted = _in_words_of_iptables(family, item)
    lines = [line for chain, texts in wanted.items() if texts for line in program.chain(chain) or ()]
    everything = set().union(*wanted.values())
    return [f"-D{line.removeprefix('-A')}" for line in lines if _without_comment(line) in everything]


def _in_words_of_nftables(family: str, item: Item) -> Said:
    said: Said = {_FORWARD: set(), _STAGE_1: set(), _STAGE_2: set()}
    for address in _of_family(family, item):
        said[_FORWARD] |= {f"{family} saddr {address} accept", *(f"{family} daddr {address} {answers} accept" for answers in _ANSWERS)}
    if item["bridge"]:
        name = f'"{item["bridge"]}"'
        said[_STAGE_1] = {f"iifname {name} oifname != {name} jump {_STAGE_2}", f"iifname {name} oifname {name} drop"}
        said[_STAGE_2] = {f"oifname {name} drop"}
    return said


def _in_words_of_iptables(family: str, item: Item) -> Said:
    said: Said = {_FORWARD: set(), _STAGE_1: set(), _STAGE_2: set()}
    for address in _of_family(family, item):
        one = f"{address}/{32 if family == 'ip' else 128}"
        said[_FORWARD] |= {
            f"-A {_FORWARD} -s {one} -j ACCEPT",
            f"-A {_FORWARD} -d {one} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        }
    if bridge := item["bridge"]:
        said[_STAGE_1] = {f"-A {_STAGE_1} -i {bridge} ! -o {bridge} -j {_STAGE_2}", f"-A {_STAGE_1} -i {bridge} -o {bridge} -j DROP"}
        said[_STAGE_2] = {f"-A {_STAGE_2} -o {bridge} -j DROP"}
    return said


def _of_family(family: str, item: Item) -> list[str]:
    return [address for address in item["addresses"] if parse_address(address).family == _FAMILIES[family]]


def _without_counter(text: str) -> str:
    """A rule as nftables prints it, without `counter packets N bytes N` and without a comment that it cannot read."""
    words = text.replace('xt match "comment"', "").split()
    if "counter" in words:
        at = words.index("counter")
        del words[at : at + 5]
    return " ".join(words)


def _without_comment(line: str) -> str:
    start, comment, rest = line.partition(_COMMENT)
    return start + rest.partition('"')[2] if comment else line
