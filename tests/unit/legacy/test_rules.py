"""Reading other people's rules, choosing among them, and changing them while others do the same."""

from __future__ import annotations

from typing import Any

import pytest

from cni_plugins.kernel.nft import NftError
from cni_plugins.legacy import masquerade
from cni_plugins.legacy.rules import change, departing, parse_chains, parse_rules
from cni_plugins.protocol.errors import KernelRefused

LISTING = """\
# Warning: table ip nat is managed by iptables-nft, do not touch!
table ip nat { # handle 2
	comment "a table # handle 99"
	chain POSTROUTING { # handle 4
		comment "a chain # handle 98"
		type nat hook postrouting priority 100; policy accept;
		ip saddr 10.7.0.2  counter packets 0 bytes 0 jump CNI-a # handle 5
		ip saddr { 10.7.0.3,
			10.7.0.4 } jump CNI-b comment "jump CNI-a # handle 97" # handle 6
		jump CNI-aa # handle 7
	}

	chain odd"name { # handle 8
	}
}
"""
GONE = "Error: Could not process rule: No such file or directory\n"
DENIED = "Error: Could not process rule: Operation not permitted\n"


def test_rules_are_told_from_everything_else_that_has_a_handle() -> None:
    rules = parse_rules(LISTING)
    assert [(rule.handle, rule.comment) for rule in rules] == [(5, ""), (6, "jump CNI-a # handle 97"), (7, "")]
    assert [rule.handle for rule in rules if rule.jumps_to("CNI-a")] == [5]
    assert rules[0].source == "10.7.0.2"
    assert rules[2].source == ""


def test_chains_are_read_with_their_handles() -> None:
    assert parse_chains(LISTING) == {"POSTROUTING": 4, 'odd"name': 8}


@pytest.mark.parametrize(
    ("sources", "addresses", "expected"),
    [
        (["10.0.0.2"], ["10.0.0.2"], ([0], True)),
        (["10.0.0.2", "10.0.0.3"], ["10.0.0.2"], ([0], False)),
        (["10.0.0.2", "10.0.0.3"], [], ([0, 1], True)),
        (["10.0.0.3"], ["10.0.0.2"], ([], False)),
        (["10.0.0.0/24", "10.0.0.2"], ["10.0.0.2"], ([0, 1], True)),
        (["10.0.0.0/24", "10.0.0.2", "10.0.0.3"], ["10.0.0.2"], ([1], False)),
        ([], ["10.0.0.2"], ([], True)),
    ],
)
def test_the_chain_goes_with_the_last_interface(sources: list[str], addresses: list[str], expected: tuple[list[int], bool]) -> None:
    assert departing(sources, addresses) == expected


class Nft:
    """Fails as told, one text after another, then succeeds; remembers what it was given."""

    def __init__(self, *failures: str) -> None:
        self.failures = list(failures)
        self.given: list[str] = []

    def run(self, commands: str, *, handles: bool = False) -> str:
        self.given.append(commands)
        if self.failures:
            raise NftError(self.failures.pop(0))
        return ""


def execute(nft: Nft, *texts: str) -> None:
    remaining = list(texts)
    seen: Any = nft
    change(seen, lambda: remaining.pop(0))


def test_rules_that_vanish_meanwhile_do_not_stop_the_others_from_going() -> None:
    nft = Nft(GONE)
    execute(nft, "delete both", "delete the other")
    assert nft.given == ["delete both", "delete the other"]


def test_nothing_is_sent_when_nothing_is_left_to_do() -> None:
    nft = Nft(GONE)
    execute(nft, "delete one", "")
    assert nft.given == ["delete one"]


def test_a_refusal_is_told_and_not_repeated() -> None:
    nft = Nft(DENIED)
    with pytest.raises(KernelRefused, match="not permitted"):
        execute(nft, "delete one", "delete one")
    assert nft.given == ["delete one"]


def test_rules_that_change_for_ever_end_in_an_error() -> None:
    nft = Nft(*[GONE] * 50)
    with pytest.raises(KernelRefused):
        execute(nft, *["delete one"] * 50)


def test_one_failure_does_not_keep_the_rest_from_being_dropped() -> None:
    nft: Any = Nft(DENIED)
    with pytest.raises(KernelRefused, match="not permitted"):
        masquerade.drop(nft, {"rules": ["1-2"], "nft": ["ip", "ip6"], "chain": "CNI-a", "addresses": []})
    assert [commands.split()[2] for commands in nft.given if "CNI-a" in commands and commands.startswith("list")] == ["ip", "ip6"]
