"""The annotation that selects networks, in both of its forms."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_plugins.protocol.errors import InvalidConfig
from multus_lite.annotation import parse


def read(text: str) -> list[tuple[str, str, str]]:
    """Namespace, name and interface of each selection."""
    return [(one.namespace, one.name, one.ifname) for one in parse(text, key="networks", namespace="own")]


def test_both_forms_say_the_same() -> None:
    short = "a, b@net7,other/c , other/my-net.2@eth1"
    elements = [
        {"name": "a"},
        {"name": "b", "interface": "net7"},
        {"name": "c", "namespace": "other"},
        {"name": "my-net.2", "namespace": "other", "interfaceRequest": "eth1"},
    ]
    expected = [("own", "a", ""), ("own", "b", "net7"), ("other", "c", ""), ("other", "my-net.2", "eth1")]
    assert read(short) == read(json.dumps(elements)) == expected


def test_keys_that_are_null_or_empty_ask_for_nothing() -> None:
    element: dict[str, object] = {
        "name": "a",
        "ips": [],
        "mac": "",
        "portMappings": None,
        "bandwidth": None,
        "deviceID": "",
        "cni-args": None,
    }
    (selection,) = parse(json.dumps([{**element, "default-route": None}]), key="networks", namespace="own")
    assert (selection.capabilities, selection.cni_args, selection.gateways) == ({}, {}, None)


def test_empty_default_route_is_not_the_same_as_none() -> None:
    (selection,) = parse('[{"name": "a", "default-route": []}]', key="networks", namespace="own")
    assert selection.gateways == []


@pytest.mark.parametrize("text", ["a/b/c", "a@b@c d", "-a", "a-", ".", "a_b", "a@", "A", "ns/", "é", "x" * 254])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidConfig, match="annotation networks: "):
        parse(text, key="networks", namespace="own")


@given(st.text(max_size=40) | st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda one: st.lists(one) | st.dictionaries(
    st.sampled_from(["name", "namespace", "ips", "mac", "interface", "portMappings", "bandwidth", "cni-args", "default-route"]), one,
), max_leaves=8).map(json.dumps))  # fmt: skip
def test_any_annotation_is_read_or_refused(text: str) -> None:
    with suppress(InvalidConfig):
        for one in parse(text, key="networks", namespace="own"):
            assert "/" not in one.namespace + one.name
