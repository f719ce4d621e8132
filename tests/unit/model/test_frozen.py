"""The run-time side: JSON in and out, Go's habits, what people read, and what a cold process has to import for it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pydantic_core
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.conf import BridgeConf
from cni_plugins.ipam.conf import HostLocalConf
from cni_plugins.model import frozen
from cni_plugins.model.base import Model
from cni_plugins.protocol.errors import CniError, DecodeFailure, InvalidConfig
from tests.support.paths import REPO

SITE = pydantic_core.__file__.rpartition("/pydantic_core/")[0]
COLD = f"""
import sys
sys.path[:0] = [{str(REPO)!r}, {SITE!r}]
before = set(sys.modules)
from bridge.conf import BridgeConf
from cni_plugins.model.frozen import dump_json, parse_json, validate
from cni_plugins.protocol.errors import InvalidConfig
conf = validate(BridgeConf, parse_json(b'{{"name": "pods", "MTU": 1450, "ipam": {{"type": "host-local"}}}}'))
dump_json({{"mtu": conf.mtu, "ipam": conf.ipam, "list": [None, True, 1.5]}})
try:
    validate(BridgeConf, {{"name": "pods", "mtu": "1450", "vlan": -1, "bridge": "a/b"}})
except InvalidConfig:
    pass
new = sorted(set(sys.modules) - before)
"""
SAFE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda below: st.one_of(st.lists(below, max_size=4), st.dictionaries(st.text(), below, max_size=4)),
    max_leaves=20,
)


def refusal(cls: type[Model] = BridgeConf, **keys: Any) -> str:
    """The message for a configuration that must be refused."""
    with pytest.raises(InvalidConfig) as caught:
        frozen.validate(cls, {"name": "pods", **keys})
    assert caught.value.code == 7
    return caught.value.msg


def cold(code: str) -> str:
    """What an interpreter without site-packages, environment and site module prints."""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", COLD + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_cold_call_loads_neither_pydantic_nor_the_slow_half_of_the_library() -> None:
    loaded = cold("print(*new)").split()
    ours = {name for name in loaded if name.startswith(("cni_plugins", "bridge"))}
    assert set(loaded) - ours == {"__future__", "_datetime", "_json", "_socket", "pydantic_core._pydantic_core", "types"}
    assert "cni_plugins.model.types" not in ours


def test_pydantic_can_still_be_imported_after_the_stand_in() -> None:
    code = "import datetime, pydantic; print(pydantic.TypeAdapter(datetime.date).validate_python('2020-01-02'))"
    assert cold(code).strip() == "2020-01-02"


@given(SAFE)
def test_what_is_written_is_read_back_and_other_readers_agree(value: Any) -> None:
    text = frozen.dump_json(value)
    assert frozen.parse_json(text) == value
    assert json.loads(text) == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"a": 1} x',
        b"NaN",
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": [1, -1e999]}',
        b'{"a": 1' + b"0" * 400 + b".0}",
        b'{"a": 01}',
        b"{'a': 1}",
        b'{"a": 1,}',
        b'"\xff"',
        b'"\\ud800"',
        b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"9" * 10_000,
        b"\xef\xbb\xbf{}",
    ],
)
def test_input_that_is_not_json_is_a_decoding_failure(text: bytes) -> None:
    with pytest.raises(DecodeFailure) as caught:
        frozen.parse_json(text)
    assert caught.value.code == 6


def test_a_syntax_error_says_where_it_is() -> None:
    with pytest.raises(DecodeFailure, match="line 2 column 8"):
        frozen.parse_json(b'{"a": 1,\n "b":  }')


def test_a_number_that_is_too_large_is_named_by_its_path() -> None:
    with pytest.raises(DecodeFailure, match=r"the number at ipam.ranges\[1\].size is too large"):
        frozen.parse_json(b'{"ipam": {"ranges": [1, {"size": 1e400}]}}')


def test_a_megabyte_of_configuration_is_read() -> None:
    data = frozen.parse_json(b'{"name": "pods", "args": {"big": "' + b"x" * (1 << 20) + b'"}}')
    assert frozen.validate(BridgeConf, data).name == "pods"


def test_a_lone_surrogate_is_written_as_an_escape() -> None:
    assert frozen.dump_json({"a": "\udc80é"}) == b'{"a":"\\udc80\xc3\xa9"}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": object()}, {"a": b"bytes"}])
def test_what_json_cannot_hold_is_never_written(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        frozen.dump_json(value)


def test_keys_are_read_in_any_case_and_the_last_spelling_counts() -> None:
    data = frozen.parse_json(b'{"NAME": "pods", "MTU": 1400, "mtu": 1500, "VLANTRUNK": [{"MinId": 2, "MAXID": 3}], "mtU": null}')
    conf = frozen.validate(BridgeConf, data)
    assert (conf.name, conf.mtu, conf.vlans) == ("pods", 1500, (2, 3))


def test_of_a_key_that_comes_twice_the_last_counts() -> None:
    assert frozen.validate(BridgeConf, frozen.parse_json(b'{"name": "a", "name": "b"}')).name == "b"


def test_null_is_absent_and_unknown_keys_are_left_alone() -> None:
    nothing = dict.fromkeys(("bridge", "mtu", "ipam", "dns", "vlanTrunk", "args", "runtimeConfig", "cni.dev/valid-attachments"))
    conf = frozen.validate(BridgeConf, {"name": "pods", "whatever": [1], "args": {"other": 1, "cni": {"x": 2}}, **nothing})
    assert (conf.bridge, conf.mtu, conf.ipam, conf.vlanTrunk, conf.attachments) == ("cni0", 0, None, (), None)
    assert not hasattr(conf, "whatever")


def test_a_delegate_gets_its_object_as_it_was_written() -> None:
    ipam = {"type": "dhcp", "Provide": [{"option": "host-name"}], "x": None, "deep": {"A": {"b": [1.5, None]}}}
    conf = frozen.validate(BridgeConf, {"name": "pods", "IPAM": ipam, "prevResult": {"Ips": None}})
    assert conf.ipam == ipam
    assert conf.prevResult == {"Ips": None}
    assert frozen.validate(BridgeConf, {"name": "pods", "ipam": {"TYPE": "dhcp"}}).ipam_type == "dhcp"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"mtu": "1500"}, "mtu: '1500' is not a whole number"),
        ({"mtu": 1500.0}, "mtu: 1500.0 is not a whole number"),
        ({"mtu": True}, "mtu: true is not a whole number"),
        ({"isGateway": 1}, "isGateway: 1 is neither true nor false"),
        ({"bridge": 5}, "bridge: 5 is not a string"),
        ({"dns": []}, "dns: [] is not an object"),
        ({"dns": {"search": "x"}}, "dns.search: 'x' is not a list"),
        ({"vlanTrunk": {}}, "vlanTrunk: {} is not a list"),
        ({"vlanTrunk": [None]}, "vlanTrunk[0]: null is not an object"),
        ({"capabilities": {"mac": "yes"}}, "capabilities.mac: 'yes' is neither true nor false"),
        ({"prevResult": [1]}, "prevResult: [1] is not an object"),
        ({"ipam": "host-local"}, "ipam: 'host-local' is not an object"),
        ({"ipam": {"type": 7}}, "ipam.type: 7 is not a string"),
        ({"ipam": {"Type": "../../bin/sh"}}, "ipam.type: '../../bin/sh' is not the name of a plugin"),
        ({"cni.dev/valid-attachments": [{"ifname": "eth0"}]}, "cni.dev/valid-attachments[0].containerID: is missing"),
        ({"mtu": -5}, "mtu: -5 is not an MTU: 68 to 65535, or 0 to leave it to the kernel"),
        ({"vlan": 4095}, "vlan: 4095 is too large: at most 4094"),
        ({"vlan": -1}, "vlan: -1 is too small: at least 0"),
        ({"name": None}, "name: is missing"),
    ],
)
def test_a_refusal_names_the_key_the_value_and_what_is_wanted(keys: dict[str, Any], message: str) -> None:
    assert refusal(**keys) == message


def test_every_wrong_key_is_named_not_only_the_first() -> None:
    ranges = [[{"subnet": "10.1.0.0/16"}, {"subnet": "10.0.0.0"}], [{"subnet": "10.2.0.1/24"}, {}]]
    assert refusal(HostLocalConf, cniVersion="1.0.0", ipam={"ranges": ranges}, dns={"domain": 3}).split("; ") == [
        "dns.domain: 3 is not a string",
        "ipam.ranges[0][1].subnet: '10.0.0.0' is not an address with a prefix length, such as 10.1.0.0/16",
        "ipam.ranges[1][0].subnet: 10.2.0.1/24 has host bits set, the network is 10.2.0.0/24",
        "ipam.ranges[1][1].subnet: is missing",
    ]


def test_a_long_value_does_not_drown_the_message() -> None:
    assert len(refusal(mtu="x" * 100_000)) < 150


@pytest.mark.parametrize("data", [None, [], "x", 5, True])
def test_a_configuration_that_is_no_object_is_a_decoding_failure(data: Any) -> None:
    with pytest.raises(DecodeFailure):
        frozen.validate(BridgeConf, data)


def test_a_class_that_nobody_froze_says_how_to_freeze_it() -> None:
    class Unknown(Model):
        pass

    with pytest.raises(CniError, match=r"is not frozen: run `python -m cni_plugins.model.freezer`"):
        frozen.validate(Unknown, {})
