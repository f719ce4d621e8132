"""Flannel's keys, values and annotations: what we write is read back, and what others write never breaks more than itself."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_plugins.protocol.errors import DecodeFailure
from vxlan.leases.schema import ANNOTATION_PREFIX, Attributes, Subnets, Vtep

v4 = st.builds(lambda n, length: IPv4Network((n, length), strict=False), st.integers(0, 2**32 - 1), st.integers(1, 31))
v6 = st.builds(lambda n, length: IPv6Network((n, length), strict=False), st.integers(2**96, 2**128 - 1), st.integers(1, 127))
subnets = st.one_of(st.builds(Subnets, v4), st.builds(Subnets, v4, v6), st.builds(Subnets, st.none(), v6))
macs = st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":"))
vteps = st.builds(Vtep, st.integers(1, 2**24 - 1), macs)
v4_addresses = st.none() | st.integers(1, 2**32 - 1).map(IPv4Address)
v6_addresses = st.none() | st.integers(1, 2**128 - 1).map(IPv6Address)
published = st.one_of(
    st.builds(Attributes, v4_addresses, v6_addresses, st.just("vxlan"), st.none() | vteps, st.none() | vteps),
    st.builds(Attributes, v4_addresses, v6_addresses, st.sampled_from(["host-gw", "udp", ""])),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)
known = st.sampled_from(["PublicIP", "PublicIPv6", "BackendType", "BackendData", "BackendV6Data", "publicip"])


class TestKeys:
    @pytest.mark.parametrize(
        ("key", "expected"),
        [
            ("10.5.52.0-24", Subnets(IPv4Network("10.5.52.0/24"))),
            ("10.5.3.0-24&fd05:0:0:48::-64", Subnets(IPv4Network("10.5.3.0/24"), IPv6Network("fd05:0:0:48::/64"))),
            ("0.0.0.0-0&fd05:0:0:48::-64", Subnets(None, IPv6Network("fd05:0:0:48::/64"))),
        ],
    )
    def test_flannels_own(self, key: str, expected: Subnets) -> None:
        assert Subnets.from_key(key) == expected
        assert expected.key == key

    @given(subnets)
    def test_every_key_is_read_back(self, subnets: Subnets) -> None:
        assert Subnets.from_key(subnets.key) == subnets

    @given(st.text() | st.from_regex(r"\A[0-9.]{1,12}-[0-9]{1,3}(&[0-9a-f:]{1,12}-[0-9]{1,3})?\Z"))
    def test_any_other_key_is_refused_by_name(self, key: str) -> None:
        try:
            found = Subnets.from_key(key)
        except DecodeFailure as error:
            assert repr(key) in error.msg  # noqa: PT017 -- a key of another kind may be a good one
        else:
            assert Subnets.from_key(found.key) == found

    @pytest.mark.parametrize(
        "key", ["", "10.5.1.0", "10.5.1.0/24", "10.5.1-24", "10.5.1.0-33", "0.0.0.0-0", "10.5.1.0-24&", "x10.5.1.0-24", "10.5.1.0-24\n"]
    )
    def test_what_names_no_subnet(self, key: str) -> None:
        with pytest.raises(DecodeFailure):
            Subnets.from_key(key)

    @given(subnets, subnets)
    def test_overlapping_is_mutual_and_by_family(self, one: Subnets, other: Subnets) -> None:
        assert one.overlaps(one)
        assert one.overlaps(other) == other.overlaps(one)
        assert not Subnets(one.v4 or IPv4Network("10.0.0.0/8")).overlaps(Subnets(None, other.v6 or IPv6Network("fd00::/8")))


class TestValues:
    @given(published)
    def test_what_we_write_is_read_back(self, attributes: Attributes) -> None:
        assert Attributes.from_json(attributes.to_json()) == attributes

    @given(st.dictionaries(known, anything) | anything)
    def test_nonsense_is_a_decode_failure_or_makes_sense(self, value: Any) -> None:
        try:
            found = Attributes.from_json(json.dumps(value))
        except DecodeFailure:
            return
        assert Attributes.from_json(found.to_json()) == found

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("nonsense", "not JSON"),
            ("[]", "no JSON object"),
            ('{"PublicIP":"fd00::1"}', "PublicIP: 'fd00::1'"),
            ('{"PublicIPv6":"10.1.1.1"}', "PublicIPv6: '10.1.1.1'"),
            ('{"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00"}}', "VtepMAC: '02:00'"),
            ('{"BackendType":"vxlan","BackendData":{"VNI":"1","VtepMAC":"02:00:00:00:00:01"}}', "VNI: '1'"),
            ('{"BackendType":"vxlan","BackendData":[]}', "back-end data"),
        ],
    )
    def test_the_field_that_is_wrong_is_named(self, value: str, reason: str) -> None:
        with pytest.raises(DecodeFailure, match=reason):
            Attributes.from_json(value)

    def test_other_back_ends_data_is_none_of_our_business(self) -> None:
        found = Attributes.from_json('{"PublicIP":"10.1.1.1","PublicIPv6":null,"BackendType":"wireguard","BackendData":{"PublicKey":"k"}}')
        assert found == Attributes(IPv4Address("10.1.1.1"), None, "wireguard")


class TestAnnotations:
    @given(published.filter(lambda one: one.backend and bool(one.vtep_v6) <= bool(one.public_ipv6)))
    def test_what_we_write_is_read_back_as_far_as_it_says_how_the_node_is_reached(self, attributes: Attributes) -> None:
        written = {key: value for key, value in attributes.to_annotations({}).items() if value is not None}
        found = Attributes.from_annotations(written)
        assert found
        assert (found.backend, found.vtep, found.vtep_v6) == (attributes.backend, attributes.vtep, attributes.vtep_v6)
        assert found.to_annotations(written) == written

    def test_what_is_no_longer_so_is_removed_and_the_rest_of_the_node_is_left_alone(self) -> None:
        both = Attributes(IPv4Address("10.1.1.1"), IPv6Address("fd00::1"), "host-gw")
        before = {"mine": "stays", **{key: value or "" for key, value in both.to_annotations({}).items()}}
        changes = Attributes(IPv4Address("10.1.1.1"), None, "host-gw").to_annotations(before)
        assert {key for key, value in changes.items() if value is None} == {
            f"{ANNOTATION_PREFIX}{name}" for name in ("backend-v6-data", "public-ipv6")
        }
        assert "mine" not in changes

    def test_a_node_that_nobody_looks_after(self) -> None:
        assert Attributes.from_annotations({f"{ANNOTATION_PREFIX}public-ip": "10.1.1.1"}) is None
