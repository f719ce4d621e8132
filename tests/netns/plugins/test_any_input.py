"""Whatever the input, the answer is a result or a CNI error; and one that was refused as input has changed nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance import ledger
from tests.netns.plugins.networks import full_bridge, network
from tests.support.inprocess import InProcess
from tests.support.node import Node
from tests.support.outcome import Outcome
from tests.support.shared import SHARED

VERBS = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"]
SEEDS = [
    full_bridge(),
    full_bridge(vlanTrunk=[{"id": 7}], args={"cni": {"mac": "02:00:00:00:00:01", "ips": ["10.1.0.9"]}}, runtimeConfig={"mac": None}),
    network(ipam={"type": "static", "addresses": [{"address": "10.1.0.9/24"}], "routes": [{"dst": "192.0.2.0/24"}]}),
    network("ptp", ipMasq=True),
    network(
        "loopback", prevResult={"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.9/24", "interface": 0}], "interfaces": [{"name": "x"}]}
    ),
]
_NAMES = st.sampled_from(
    sorted({key for seed in SEEDS for key in seed} | {"prevResult", "cni.dev/valid-attachments", "dns", "mtu", "ipam"})
)
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(["", "eth0", "10.1.0.0/24", "::", "1e400"])
)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | _NAMES, inner, max_size=3)
)


class Fuzzed:
    """A node that many calls are made on; `before` is its state without any of them."""

    def __init__(self, directory: Path) -> None:
        self.node = Node()
        self.plugins = InProcess(self.node, directory)
        self.pod = self.node.container("pod")
        self.before = self.node.ledger()

    def call(self, plugin: str, verb: str, stdin: bytes, **env: str) -> Outcome:
        """One call, which must be answered properly; what it added must be deletable with the same configuration."""
        outcome = self.plugins(plugin, verb, stdin, container=self.pod, env=env)
        _ = outcome.result if outcome.code == 0 else outcome.error
        if outcome.code == 0 and verb == "ADD":
            self.plugins.good(plugin, "DEL", stdin, container=self.pod, env=env)
        return outcome


@pytest.fixture(scope="module")
def fuzzed(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    """A node for all the examples of this module; at the end there must be nothing on it but what is shared."""
    fuzzed = Fuzzed(tmp_path_factory.mktemp("fuzzed"))
    yield fuzzed
    left = ledger.diff(fuzzed.before, fuzzed.node.ledger(), ignore=(*SHARED, r"pod address 127\.0\.0\.1/8 dev lo"))
    fuzzed.node.close()
    assert left == []


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_configuration_is_answered_by_a_result_or_an_error(fuzzed: Fuzzed, data: st.DataObject) -> None:
    conf: Any = json.loads(json.dumps(data.draw(st.sampled_from(SEEDS))))
    for _ in range(data.draw(st.integers(1, 2))):
        _mutate(conf, data)
    stdin = json.dumps(conf).encode("utf-8", "surrogatepass")
    fuzzed.call(data.draw(st.sampled_from(["bridge", "ptp", "loopback", "host-local", "static"])), data.draw(st.sampled_from(VERBS)), stdin)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.sampled_from(SEEDS), place=st.floats(0, 1), junk=st.binary(max_size=6), cut=st.integers(0, 40), verb=st.sampled_from(VERBS))
def test_damaged_bytes_are_answered_by_a_result_or_an_error(
    fuzzed: Fuzzed, *, seed: dict[str, Any], place: float, junk: bytes, cut: int, verb: str
) -> None:
    text = json.dumps(seed).encode()
    at = int(place * len(text))
    fuzzed.call(seed["type"], verb, text[:at] + junk + text[at + cut :])


@settings(max_examples=150, deadline=None)
@given(
    verb=st.sampled_from(VERBS) | st.text(max_size=8),
    container=st.text(max_size=30),
    ifname=st.text(max_size=20),
    netns=st.sampled_from(["", "/nowhere", "/", "/proc/self/ns/mnt", "relative"])
    | st.text(alphabet=st.characters(exclude_characters="\0"), max_size=20),
    args=st.text(max_size=30),
)
def test_any_environment_is_answered_by_a_result_or_an_error(
    fuzzed: Fuzzed, *, verb: str, container: str, ifname: str, netns: str, args: str
) -> None:
    env = {"CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_IFNAME": ifname, "CNI_NETNS": netns, "CNI_ARGS": args}
    outcome = fuzzed.plugins("bridge", verb, json.dumps(full_bridge()), env=env)
    _ = outcome.result if outcome.code == 0 else outcome.error


def _mutate(conf: Any, data: st.DataObject) -> None:
    """Change, add or remove something at a place that is drawn."""
    while isinstance(conf, dict | list) and conf:
        keys = list(conf) if isinstance(conf, dict) else list(range(len(conf)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(conf[key], dict | list) and conf[key] and data.draw(st.booleans()):
            conf = conf[key]
            continue
        change = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if change == "replace":
            conf[key] = data.draw(_VALUES)
        elif change == "remove":
            del conf[key]
        elif isinstance(conf, dict):
            conf[data.draw(_NAMES)] = data.draw(_VALUES)
        else:
            conf.append(data.draw(_VALUES))
        return
