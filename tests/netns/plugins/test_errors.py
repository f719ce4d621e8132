"""Errors have the specification's codes, name the field and the value, and come before anything is changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conformance import ledger
from tests.netns.plugins.networks import full_bridge, host_local, network
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node

GOOD = json.dumps(network())


@pytest.mark.parametrize(
    ("stdin", "code", "words"),
    [
        ("", 6, []),
        ("{", 6, []),
        ("[]", 6, ["object"]),
        ("null", 6, ["object"]),
        ("\xff\xfe", 6, []),
        ('{"cniVersion":"1.1.0"}', 7, ["name"]),
        ('{"cniVersion":"1.1.0","name":""}', 7, ["name"]),
        ('{"cniVersion":"1.1.0","name":7}', 7, ["name", "7"]),
        ('{"cniVersion":"1.1.0","name":"../up"}', 7, ["name", "../up"]),
        ('{"cniVersion":"1.1.0","name":"-x"}', 7, ["name", "-x"]),
        ('{"cniVersion":"2.0.0","name":"net"}', 1, ["cniVersion", "2.0.0"]),
        ('{"cniVersion":7,"name":"net"}', 7, ["cniVersion", "7"]),
        ('{"cniVersion":"1.1","name":"net"}', 1, ["1.1"]),
    ],
)
def test_unreadable_configuration(plugins: InProcess, *, pod: Container, stdin: str, code: int, words: list[str]) -> None:
    error = plugins("bridge", "ADD", stdin.encode("latin-1"), container=pod).error
    assert error["code"] == code, error
    assert not [word for word in words if word not in error["msg"]], error


def test_unsupported_version_says_what_is_supported(plugins: InProcess, pod: Container) -> None:
    error = plugins("bridge", "ADD", network(version="0.9.9"), container=pod).error
    assert "0.9.9" in error["details"]
    assert "1.1.0" in error["details"]


@pytest.mark.parametrize(("verb", "version"), [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "1.0.0")])
def test_verb_that_the_version_does_not_have(plugins: InProcess, pod: Container, verb: str, version: str) -> None:
    error = plugins("bridge", verb, network(version=version), container=pod).error
    assert error["code"] == 1
    assert verb in error["msg"]


@pytest.mark.parametrize(
    ("verb", "missing"),
    [
        ("ADD", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
        ("CHECK", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
        ("DEL", ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"]),
        ("GC", ["CNI_PATH"]),
    ],
)
def test_missing_variables_are_all_named(plugins: InProcess, verb: str, missing: list[str]) -> None:
    error = plugins("bridge", verb, GOOD, env=dict.fromkeys(missing, "")).error
    assert error["code"] == 4
    assert f"[{','.join(missing)}]" in error["msg"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CNI_CONTAINERID", "-x"),
        ("CNI_CONTAINERID", "a/b"),
        ("CNI_CONTAINERID", "ä"),
        ("CNI_IFNAME", "averyveryverylongname"),
        ("CNI_IFNAME", ".."),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "a b"),
        ("CNI_IFNAME", "a:b"),
        ("CNI_NETNS", "/etc/hostname"),
        ("CNI_COMMAND", "add"),
        ("CNI_COMMAND", "PREDICT"),
        ("CNI_ARGS", "nonsense"),
    ],
)
def test_bad_variable_is_named_with_its_value(plugins: InProcess, *, pod: Container, node: Node, variable: str, value: str) -> None:
    before = node.ledger()
    error = plugins("bridge", "ADD", GOOD, container=pod, env={variable: value}).error
    assert error["code"] == 4
    assert variable in error["msg"]
    assert value in error["msg"]
    assert ledger.diff(before, node.ledger()) == []


def test_container_that_is_gone_has_its_own_code(plugins: InProcess, pod: Container) -> None:
    error = plugins("bridge", "ADD", GOOD, container=pod, env={"CNI_NETNS": "/run/netns/gone"}).error
    assert error["code"] == 3
    assert "/run/netns/gone" in error["msg"]


def test_order_of_complaints_is_that_of_the_reference(plugins: InProcess) -> None:
    bad: dict[str, str] = {"CNI_COMMAND": "NONSENSE", "CNI_CONTAINERID": "-x", "CNI_IFNAME": "eth0", "CNI_NETNS": "/x"}
    assert plugins("bridge", "ADD", "{", env={**bad, "CNI_COMMAND": "ADD"}).error["code"] == 4
    assert plugins("bridge", "ADD", "{", env=bad).error["code"] == 6, "the configuration is read before the verb is judged"
    assert plugins("bridge", "ADD", '{"cniVersion":"9.9.9"}', env=bad).error["code"] == 7
    assert plugins("bridge", "ADD", '{"cniVersion":"9.9.9","name":"net"}', env=bad).error["code"] == 4


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"mtu": "1500"}, "mtu", "1500"),
        ({"mtu": -5}, "mtu", "-5"),
        ({"mtu": 1.5}, "mtu", "1.5"),
        ({"isGateway": "yes"}, "isGateway", "yes"),
        ({"isGateway": 1}, "isGateway", "1"),
        ({"bridge": "far-too-long-a-name"}, "bridge", "far-too-long-a-name"),
        ({"bridge": 7}, "bridge", "7"),
        ({"vlan": 4095}, "vlan", "4095"),
        ({"vlanTrunk": [{"minID": 9, "maxID": 2}]}, "vlanTrunk[0].maxID", "2"),
        ({"vlanTrunk": [{"id": 0}]}, "vlanTrunk[0].id", "0"),
        ({"hairpinMode": True, "promiscMode": True}, "promiscMode", "hairpinMode"),
        ({"disableContainerInterface": True}, "disableContainerInterface", "ipam"),
        ({"ipMasq": True, "ipMasqBackend": "ipfw"}, "ipMasqBackend", "ipfw"),
        ({"runtimeConfig": {"mac": "nonsense"}}, "runtimeConfig.mac", "nonsense"),
        ({"ipam": []}, "ipam", "[]"),
        ({"ipam": {"type": 7}}, "ipam.type", "7"),
        ({"ipam": host_local("10.1.0.7/24")}, "ipam.ranges[0][0].subnet", "10.1.0.7/24"),
        ({"ipam": host_local("10.1.0.0/31")}, "ipam.ranges[0][0].subnet", "10.1.0.0/31"),
        ({"ipam": host_local("10.1.0.0/24", "10.1.0.128/25")}, "ipam.ranges[1]", "overlap"),
        ({"ipam": {"type": "host-local"}}, "ipam.ranges", "missing"),
        ({"ipam": host_local(routes=[{"dst": "nowhere"}])}, "ipam.routes[0].dst", "nowhere"),
        ({"ipam": {"type": "static", "addresses": [{"address": "10.1.0.2"}]}}, "ipam.addresses[0].address", "10.1.0.2"),
        ({"dns": {"nameservers": "192.0.2.1"}}, "dns.nameservers", "192.0.2.1"),
    ],
    ids=str,
)
def test_wrong_value_is_named_with_its_field_before_anything_is_changed(
    plugins: InProcess, pod: Container, node: Node, *, change: dict[str, Any], field: str, value: str
) -> None:
    before = node.ledger()
    error = plugins("bridge", "ADD", full_bridge() | change, container=pod).error
    assert error["code"] == 7, error
    said = f"{error['msg']} {error.get('details', '')}"
    assert field in said, said
    assert value in said, said
    assert ledger.diff(before, node.ledger(), ignore=(r"node file /run/cni-plugins(/.*)?",)) == []


def test_keys_are_read_as_go_reads_them(plugins: InProcess, pod: Container) -> None:
    conf = {"CNIVersion": "1.1.0", "NAME": "net", "Type": "bridge", "ismaster": 7, "ISGATEWAY": True, "mtu": None, "IPAM": host_local()}
    assert plugins("bridge", "ADD", conf, container=pod).result["ips"][0]["gateway"] == "10.1.0.1"


def test_unknown_argument_is_refused_unless_unknown_ones_are_to_be_ignored(plugins: InProcess, pod: Container) -> None:
    conf = network("host-local")
    assert "K8S_POD_NAME" in plugins("host-local", "ADD", conf, container=pod, args="K8S_POD_NAME=x").error["msg"]
    for yes in ("1", "true"):
        args = f"IgnoreUnknown={yes};K8S_POD_NAME=x"
        plugins.good("host-local", "ADD", conf, container=pod, args=args, ifname=f"eth{yes}")


@pytest.mark.parametrize("plugin", ["bridge", "host-local", "loopback", "ptp", "static"])
def test_version_needs_nothing_and_changes_nothing(plugins: InProcess, node: Node, plugin: str) -> None:
    before = node.ledger()
    for stdin in ("", "{", GOOD):
        answer = plugins(plugin, "VERSION", stdin, env={"CNI_PATH": ""}).result
        assert answer["supportedVersions"] == ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
    assert ledger.diff(before, node.ledger()) == []


def test_exhausted_pool_and_requested_address_that_is_taken_have_their_own_words(
    plugins: InProcess, pod: Container, other: Container
) -> None:
    conf = network(ipam=host_local("10.1.0.0/29"))
    plugins.good("bridge", "ADD", conf, container=pod, args="IP=10.1.0.5")
    error = plugins("bridge", "ADD", conf, container=other, args="IP=10.1.0.5").error
    assert "10.1.0.5" in error["msg"]
    assert pod.id in error["details"]
    small = network(name="small", ipam=host_local("10.2.0.0/30"))
    plugins.good("bridge", "ADD", small, container=pod, ifname="eth1")
    error = plugins("bridge", "ADD", small, container=other).error
    assert error["code"] == 101
    assert "no IP addresses available" in error["msg"]
