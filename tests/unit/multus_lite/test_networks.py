"""A network's configuration, and what its plugins get for one container."""

from __future__ import annotations

import pytest

from cni_plugins.protocol.errors import InvalidConfig
from multus_lite import networks
from multus_lite.annotation import parse

LIST = {
    "cniVersion": "1.0.0",
    "name": "net",
    "disableCheck": "TRUE",
    "plugins": [{"type": "a", "capabilities": {"ips": True, "mac": False}}, {"type": "b", "args": {"cni": {"x": 1}}}],
}


def test_list_and_configuration_are_told_apart() -> None:
    several = networks.read(LIST, where="here")
    assert (several.name, several.version, len(several.plugins)) == ("net", "1.0.0", 2)
    assert (several.disable_check, several.disable_gc) == (True, False)
    one = networks.read({"TYPE": "a"}, where="here", name="given", version="0.4.0")
    assert (one.name, one.version, one.plugins) == ("given", "0.4.0", [{"TYPE": "a"}])


def test_network_without_any_version_has_the_oldest() -> None:
    assert networks.read({"type": "a", "name": "x"}, where="here").version == "0.1.0"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "here: [] is not an object"),
        ({"name": "x", "plugins": []}, "here: plugins: is empty"),
        ({"name": "x", "plugins": ["a"]}, "here: type: None is not the name of a plugin"),
        ({"name": "x", "type": "../a"}, "here: type: '../a' is not the name of a plugin"),
        ({"name": "../x", "type": "a"}, "here: name: invalid characters"),
        ({"type": "a"}, "here: name: missing network name"),
        ({"name": "x", "type": "multus-shim"}, "here: type: multus-shim cannot delegate to itself"),
    ],
)
def test_what_is_no_network_is_refused(data: object, said: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        networks.read(data, where="here")
    assert said in caught.value.msg


def test_runtime_values_reach_only_who_declares_them_and_the_others_are_dropped() -> None:
    made = networks.assemble(networks.read(LIST, where=""), None, device="", runtime={"ips": ["10.1.0.1"], "mac": "x", "dns": {}})
    first, second = made.plugins
    assert first["runtimeConfig"] == {"ips": ["10.1.0.1"]}
    assert second == {"type": "b", "args": {"cni": {"x": 1}}, "name": "net", "cniVersion": "1.0.0"}


def test_pods_wish_wins_over_the_runtime() -> None:
    (wish,) = parse('[{"name": "n", "ips": ["10.1.0.9"], "cni-args": {"x": 2}}]', key="k", namespace="s")
    made = networks.assemble(networks.read(LIST, where=""), wish, device="", runtime={"ips": ["10.1.0.1"]})
    assert made.plugins[0]["runtimeConfig"] == {"ips": ["10.1.0.9"]}
    assert [plugin["args"] for plugin in made.plugins] == [{"cni": {"x": 2}}, {"cni": {"x": 2}}]


def test_capability_that_is_declared_false_is_not_declared() -> None:
    (wish,) = parse('[{"name": "n", "mac": "02:00:00:00:00:01"}]', key="k", namespace="s")
    with pytest.raises(InvalidConfig, match="asks for mac, but no plugin of the network declares"):
        networks.assemble(networks.read(LIST, where=""), wish, device="", runtime={})


def test_definition_is_not_changed_by_what_one_container_gets() -> None:
    source = networks.read(LIST, where="")
    before = repr(source.plugins)
    (wish,) = parse('[{"name": "n", "ips": ["10.1.0.9"], "cni-args": {"y": 2}}]', key="k", namespace="s")
    networks.assemble(source, wish, device="d", runtime={})
    assert repr(source.plugins) == before
