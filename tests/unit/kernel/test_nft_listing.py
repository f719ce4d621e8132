"""Reading what nftables prints of sets and maps, and of its errors."""

from __future__ import annotations

from cni_plugins.kernel.nft import NftError, parse_elements

LISTING = """table inet cni {{
	map m {{
		type ipv4_addr . inet_service : verdict
		comment "about {{ things }}"
{elements}	}}
}}
"""


def read(elements: str) -> list[tuple[tuple[str, ...], tuple[str, ...], str]]:
    listing = LISTING.format(elements=f"\t\telements = {{ {elements} }}\n" if elements else "")
    return [(element.key, element.data, element.comment) for element in parse_elements(listing)]


def test_an_empty_set_has_no_elements() -> None:
    assert read("") == []


def test_keys_data_and_comments_are_told_apart() -> None:
    assert read('10.0.0.1 . 80 comment "pod/a" : jump net1,\n\t\t\t     fd00::1,\n 10.0.0.3 : 10.1.0.1 . 8080') == [
        (("10.0.0.1", "80"), ("jump net1",), "pod/a"),
        (("fd00::1",), (), ""),
        (("10.0.0.3",), ("10.1.0.1", "8080"), ""),
    ]


def test_a_comment_may_hold_what_separates_elements() -> None:
    assert read('10.0.0.1 comment "a, b : c } . d", 10.0.0.2 comment ""') == [
        (("10.0.0.1",), (), "a, b : c } . d"),
        (("10.0.0.2",), (), ""),
    ]


def test_errors_are_classified() -> None:
    missing = NftError("Error: No such file or directory; did you mean table \u2018cni\u2019 in family inet?\nlist table inet x\n")
    assert (missing.missing, missing.exists, missing.busy) == (True, False, False)
    both = NftError("Error: Could not process rule: Device or resource busy\nx\n^\nError: Could not process rule: File exists\ny\n^\n")
    assert (both.missing, both.exists, both.busy) == (False, True, True)
    assert str(both) == "nftables: Error: Could not process rule: Device or resource busy"
    assert not NftError("Error: syntax error, unexpected newline\nfoo\n").reasons
