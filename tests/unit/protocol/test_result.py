"""Results: what is written in a version is read again in that version, and says what the version can say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_plugins.protocol.errors import DecodeFailure, InvalidConfig
from cni_plugins.protocol.ip import parse_cidr
from cni_plugins.protocol.result import Interface, Ip, Result, Route, from_json
from cni_plugins.protocol.versions import SUPPORTED, at_least

V4, V6 = parse_cidr("10.1.0.2/24"), parse_cidr("fd00:1::2/64")
FULL = Result(
    [Interface("cni0", mac="02:00:00:00:00:01"), Interface("eth0", sandbox="/run/netns/pod", mtu=1400, socketPath="/s", pciID="0000:00")],
    ips=[Ip(V4, gateway="10.1.0.1", interface=1), Ip(V6, interface=1)],
    routes=[
        Route(parse_cidr("0.0.0.0/0"), gw="10.1.0.1", mtu=1300, advmss=1200, priority=0, table=7, scope=253),
        Route(parse_cidr("::/0")),
    ],
    dns={"nameservers": ["192.0.2.53"]},
)


@pytest.mark.parametrize("version", SUPPORTED)
def test_what_is_written_can_be_read_again(version: str) -> None:
    written = FULL.to_json(version)
    assert from_json(json.loads(json.dumps(written)), where="prevResult").to_json(version) == written


@pytest.mark.parametrize("version", SUPPORTED)
def test_version_carries_what_it_has_words_for(version: str) -> None:
    written = FULL.to_json(version)
    assert written["cniVersion"] == version
    if not at_least(version, "0.3.0"):
        assert written["ip4"] == {"ip": "10.1.0.2/24", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]}
        assert written["ip6"] == {"ip": "fd00:1::2/64", "routes": [{"dst": "::/0"}]}
        return
    assert ("version" in written["ips"][0]) == (not at_least(version, "1.0.0"))
    newest = at_least(version, "1.1.0")
    assert (written["interfaces"][1].get("mtu"), written["routes"][0].get("table")) == ((1400, 7) if newest else (None, None))
    assert written["routes"][0].get("priority") == (0 if newest else None), "a metric of nought is not an absent one"


def test_empty_dns_is_there_in_old_versions_only() -> None:
    assert Result().to_json("0.4.0") == {"cniVersion": "0.4.0", "dns": {}}
    assert Result().to_json("1.0.0") == {"cniVersion": "1.0.0"}


@pytest.mark.parametrize("ips", [[], [Ip(V4), Ip(parse_cidr("10.1.0.3/24"))]])
def test_old_version_cannot_express_several_addresses_of_a_family_nor_none(ips: list[Ip]) -> None:
    with pytest.raises(InvalidConfig, match=r"cniVersion.*0\.2\.0"):
        Result(ips=ips).to_json("0.2.0")


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"cniVersion": "9.9.9"},
        {"cniVersion": 7},
        {"ips": 7},
        {"ips": [{"address": "10.1.0.2"}]},
        {"ips": [{}]},
        {"interfaces": [{"mac": "02:00:00:00:00:01"}]},
        {"routes": [{"gw": "10.1.0.1"}]},
        {"routes": [{"dst": "0.0.0.0/0", "gw": "nowhere"}]},
        {"cniVersion": "0.2.0", "ip4": {"gateway": "10.1.0.1"}},
    ],
)
def test_what_is_no_result_is_refused_with_the_place_where_it_was(data: Any) -> None:
    with pytest.raises(DecodeFailure, match="prevResult"):
        from_json(data, where="prevResult", version="1.1.0")


_KEYS = st.sampled_from(["cniVersion", "interfaces", "ips", "routes", "dns", "address", "name", "dst", "gw", "gateway", "ip4", "ip"])
_LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9), st.sampled_from(["1.1.0", "0.2.0", "10.1.0.2/24", "::1"]))
_JSON = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=12)


@given(_JSON)
def test_anything_is_a_result_or_refused(data: Any) -> None:
    try:
        assert isinstance(from_json(data, where="prevResult", version="1.1.0"), Result)
    except DecodeFailure:
        pass
