"""The declarations of cases: what an author reads before anything is run."""

from __future__ import annotations

import re

import pytest

from conformance import features, spec
from conformance.case import GROUPS, MUST, _registry, case, cases
from conformance.profile import load, shipped
from conformance.results import Spec

# The headings of the document, version 1.1.0, that cases refer to.
HEADINGS = """\
Configuration format
Plugin configuration objects:
Version considerations
Overview
Overview
Parameters
Errors
CNI operations
`ADD`: Add container to network, or apply modifications
`DEL`: Remove container from network, or un-apply modifications
`CHECK`: Check container's networking is as expected
`STATUS`: Check plugin status
`VERSION`: probe plugin version support
`GC`: Clean up any stale resources
Lifecycle & Ordering
Attachment Parameters
Adding an attachment
Deleting an attachment
Checking an attachment
Garbage-collecting a network
Deriving request configuration from plugin configuration
Deriving `runtimeConfig`
Section 4: Plugin Delegation
Delegated Plugin protocol
Delegated plugin execution procedure
ADD Success
Delegated plugins (IPAM)
VERSION Success
Error
"""


def anchors() -> set[str]:
    """The anchors that GitHub gives to the headings: lower case, punctuation dropped, spaces as hyphens, later ones numbered."""
    found: set[str] = set()
    for heading in HEADINGS.splitlines():
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(f"{plain}-1" if plain in found else plain)
    return found


def test_every_section_that_cases_refer_to_is_in_the_document() -> None:
    assert set(spec.SECTIONS.values()) <= anchors()


def test_every_case_links_to_a_clause() -> None:
    links = {f"{spec.DOCUMENT}#{anchor}" for anchor in spec.SECTIONS.values()}
    assert [one.id for one in cases() if one.spec.url not in links or not one.spec.text] == []


def test_ids_are_a_group_and_two_digits() -> None:
    assert [one.id for one in cases() if not re.fullmatch(rf"({'|'.join(GROUPS)})-\d\d", one.id)] == []


def test_an_id_is_taken_once() -> None:
    with pytest.raises(ValueError, match="DEL-02"):
        case("DEL-02", title="again", level=MUST, spec=Spec())(lambda lab: None)
    with pytest.raises(ValueError, match="XYZ-01"):
        case("XYZ-01", title="of no group", level=MUST, spec=Spec())(lambda lab: None)
    assert "XYZ-01" not in _registry


def test_every_need_of_a_case_is_a_feature_that_some_plugin_or_machine_can_have() -> None:
    """A misspelled need would skip its case for all plugins, silently."""
    needs = {one for each in cases() for need in each.needs for one in need.split("|")}
    assert {need for need in needs if need not in features.NAMES and need.partition(":")[0] not in features.KINDS} == set()


def test_every_feature_of_a_shipped_profile_has_a_name() -> None:
    found = {feature for name in shipped() for feature in features.of(load(name)) if feature.partition(":")[0] not in features.KINDS}
    assert found - {"none"} <= features.NAMES


def test_one_of_several_needs_is_enough() -> None:
    has = features.of(load("host-local"))
    assert features.lacks("creates|ipam", has) == ""
    assert (
        features.lacks("creates|delegates", has) == "the plugin's profile is without creates and the plugin's profile is without delegates"
    )


def test_what_the_machine_lacks_is_named() -> None:
    assert features.lacks("tool:no-such-tool", frozenset()) == "the machine is without the command no-such-tool"
    assert features.lacks("sysctl:net/no-such", frozenset()) == "the kernel is without /proc/sys/net/no-such"
    assert features.lacks("tool:sh", frozenset()) == ""
