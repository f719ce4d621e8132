"""From ADD to DEL: whose a port is, what is left of it, and what is put back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cni_plugins.kernel import calls, nft
from cni_plugins.kernel.nfnetlink import Nfnetlink
from cni_plugins.plan import records, removal
from cni_plugins.plan.kinds.portmap import KIND
from cni_plugins.plan.world import Handles, World
from cni_plugins.plugins.portmap import PLUGIN
from cni_plugins.protocol.attachment import Attachment
from cni_plugins.protocol.request import Request
from conformance import ledger
from tests.netns.plugins.portmap.talk import attach, detach, network, port, ports, sees, server
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.shared import SHARED

BOTH = (port(8080, 80), port(8081, 81, "udp", hostIP="192.0.2.2"), port(8082, 82, "sctp"))


def rules(node: Node) -> str:
    """Our table, less what is printed where there are no elements."""
    return node.run(["nft", "-nn", "list", "table", "inet", "cni_plugins"]).stdout


def test_nothing_is_left_after_del(plugins: InProcess, node: Node, pod: Container) -> None:
    detach(plugins, pod, attach(plugins, pod, *BOTH))
    before = node.ledger()
    conf = attach(plugins, pod, *BOTH)
    assert ledger.diff(before, node.ledger(), ignore=SHARED)
    detach(plugins, pod, conf)
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


def test_the_result_is_that_of_the_plugin_before(plugins: InProcess, pod: Container) -> None:
    previous = plugins.good("bridge", "ADD", network(), container=pod)
    assert plugins.good("portmap", "ADD", ports(*BOTH, prevResult=previous), container=pod) == previous


def test_a_pod_costs_no_rule_and_no_chain(plugins: InProcess, node: Node, pod: Container, other: Container) -> None:
    def without_elements() -> list[str]:
        return [line for line in rules(node).split("\n") if " : " not in line and " . 808" not in line]

    attach(plugins, pod, *BOTH)
    first = without_elements()
    attach(plugins, other, port(8083, 80), port(8084, 81, "udp", hostIP="192.0.2.2"), port(8085, 82, "sctp"))
    assert without_elements() == first


def test_only_the_first_pod_of_a_node_needs_libnftables(
    plugins: InProcess, node: Node, pod: Container, other: Container, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To load it takes a cold call longer than all that it has to do."""
    net = network(ipMasq=True)
    attach(plugins, pod, *BOTH, net=net)
    with monkeypatch.context() as without:
        without.setattr(nft, "_LIBRARY", "libnftables.so.999")
        conf = attach(plugins, other, port(9000, 80), net=net)
        assert " 9000 " in rules(node)
        detach(plugins, other, conf, net=net)
    assert " 9000 " not in rules(node)


@pytest.mark.parametrize("keys", [{"prevResult": None, "runtimeConfig": None}, {"runtimeConfig": {"portMappings": [port(1, 1)]}}])
def test_del_needs_nothing_but_the_name(plugins: InProcess, node: Node, pod: Container, keys: dict[str, Any]) -> None:
    conf = attach(plugins, pod, *BOTH)
    pod.delete()
    plugins.good("portmap", "DEL", conf | keys, container=pod)
    assert "elements" not in rules(node)


def test_del_without_a_record_finds_the_ports_by_their_owner(plugins: InProcess, node: Node, pod: Container, other: Container) -> None:
    kept = attach(plugins, other, port(9000, 80))
    conf = attach(plugins, pod, *BOTH)
    for record in Path("/run/cni-plugins/records").glob("*.portmap"):
        record.unlink()
    plugins.good("portmap", "DEL", conf, container=pod)
    assert " 808" not in rules(node)
    assert " 9000 " in rules(node)
    plugins.good("portmap", "CHECK", kept, container=other)


def test_a_port_that_is_taken_is_refused_before_anything_is_tried_and_its_owner_named(
    plugins: InProcess, node: Node, pod: Container, other: Container, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach(plugins, pod, *BOTH)
    previous = plugins.good("bridge", "ADD", network(), container=other)
    before = node.ledger()
    real, executed = calls.nft_run, []

    def watched(library: Any, context: Any, commands: bytes) -> int:
        executed.append(commands)
        return real(library, context, commands)

    monkeypatch.setattr(calls, "nft_run", watched)
    monkeypatch.setattr(Nfnetlink, "transact", lambda *requests: executed.append(b"a transaction"))
    for mapping in (*BOTH, port(8080, 99, hostIP="0.0.0.0")):
        error = plugins("portmap", "ADD", ports(port(7000, 80), mapping, prevResult=previous), container=other).error
        assert error["code"] == 102
        assert f"hostPort: {mapping['hostPort']}/{mapping['protocol']}" in error["msg"]
        assert f"net/{pod.id}/eth0" in error["msg"]
        assert ledger.diff(before, node.ledger()) == []
    assert [commands for commands in executed if not commands.startswith(b"list ")] == []


def test_a_port_taken_between_the_question_and_the_deed_is_refused(
    plugins: InProcess, node: Node, pod: Container, other: Container, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    previous = plugins.good("bridge", "ADD", network(), container=other)
    monkeypatch.setattr("cni_plugins.plan.kinds.portmap.present", lambda *args, **named: False)
    attach(plugins, pod, *BOTH)
    before = node.ledger()
    error = plugins("portmap", "ADD", ports(port(7000, 80), port(8082, 1, "sctp"), prevResult=previous), container=other).error
    assert error["code"] == 102
    assert f"hostPort: 8082/sctp belongs to net/{pod.id}/eth0" in error["msg"]
    assert ledger.diff(before, node.ledger()) == []


@pytest.mark.parametrize("hosts", [("", "0.0.0.0"), ("192.0.2.2", "192.0.2.2"), ("", "")])
def test_a_port_mapped_twice_in_one_configuration_is_refused(plugins: InProcess, pod: Container, hosts: tuple[str, str]) -> None:
    previous = plugins.good("bridge", "ADD", network(), container=pod)
    twice = [port(8080, 80 + number, hostIP=host) for number, host in enumerate(hosts)]
    error = plugins("portmap", "ADD", ports(*twice, prevResult=previous), container=pod).error
    assert error["code"] == 7
    assert "portMappings[1].hostPort" in error["msg"] or "portMappings.1.hostPort" in error["msg"]


@pytest.mark.parametrize(
    ("mapping", "named"),
    [
        (port(0, 80), "hostPort"),
        (port(65536, 80), "hostPort"),
        (port(80, 0), "containerPort"),
        (port(80, 80, "icmp"), "protocol"),
        (port(80, 80, hostIP="one"), "hostIP"),
    ],
)
def test_what_is_no_mapping_is_refused_by_name(plugins: InProcess, pod: Container, mapping: dict[str, Any], named: str) -> None:
    previous = plugins.good("bridge", "ADD", network(), container=pod)
    error = plugins("portmap", "ADD", ports(mapping, prevResult=previous), container=pod).error
    assert error["code"] == 7
    assert named in error["msg"]


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"markMasqBit": 32}, "markMasqBit"),
        ({"markMasqBit": 1, "externalSetMarkChain": "X"}, "externalSetMarkChain"),
        ({"backend": "ipvs"}, "backend"),
        ({"conditionsV4": ["ip saddr 10.0.0.1; flush ruleset"]}, "conditionsV4"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused_by_name(
    plugins: InProcess, node: Node, pod: Container, *, keys: dict[str, Any], named: str
) -> None:
    error = plugins("portmap", "ADD", ports(*BOTH, prevResult={"cniVersion": "1.1.0"}, **keys), container=pod).error
    assert error["code"] == 7
    assert named in error["msg"]


def test_a_port_of_a_pod_that_is_gone_is_taken_over(plugins: InProcess, node: Node, pod: Container, other: Container) -> None:
    attach(plugins, pod, *BOTH)
    pod.delete()
    attach(plugins, other, *BOTH)
    assert f"net/{other.id}" in rules(node)
    assert f"net/{pod.id}" not in rules(node)
    plugins.good("portmap", "DEL", ports(), container=pod)
    with server(other, 80) as listening:
        sees(listening, node, "127.0.0.1", 8080)


def test_del_of_a_network_leaves_the_pod_s_ports_on_another(plugins: InProcess, node: Node, pod: Container) -> None:
    attach(plugins, pod, port(8080, 80))
    previous = {"cniVersion": "1.1.0", "ips": [{"address": "10.5.0.9/24"}]}
    plugins.good("portmap", "ADD", ports(port(8090, 80), name="second", prevResult=previous), container=pod, ifname="eth1")
    plugins.good("portmap", "DEL", ports(name="second"), container=pod, ifname="eth1")
    with server(pod, 80) as listening:
        sees(listening, node, "127.0.0.1", 8080)


def test_a_second_add_of_a_live_attachment_is_refused_and_touches_nothing(plugins: InProcess, node: Node, pod: Container) -> None:
    conf = attach(plugins, pod, *BOTH)
    before = node.ledger()
    assert plugins("portmap", "ADD", conf, container=pod).error["code"] == 102
    assert ledger.diff(before, node.ledger()) == []


def test_gc_frees_the_ports_of_pods_that_are_not_listed(plugins: InProcess, node: Node, pod: Container, other: Container) -> None:
    attach(plugins, pod, *BOTH)
    attach(plugins, other, port(9000, 80))
    for record in Path("/run/cni-plugins/records").glob("*.portmap"):
        record.unlink()
    listed = {"cni.dev/valid-attachments": [{"containerID": other.id, "ifname": "eth0"}]}
    plugins.good("portmap", "GC", ports(name="another") | listed)
    assert " 8080 " in rules(node)
    plugins.good("portmap", "GC", ports())
    assert " 8080 " in rules(node)
    plugins.good("portmap", "GC", ports() | listed)
    assert " 808" not in rules(node)
    assert " 9000 " in rules(node)


def test_status_is_good_where_nftables_is_and_bad_where_it_is_not(plugins: InProcess, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins.good("portmap", "STATUS", ports())

    def absent(name: str) -> None:
        raise OSError(2, "no such library")

    plugins.rest()
    monkeypatch.setattr(calls, "library", absent)
    assert plugins("portmap", "STATUS", ports()).error["code"] == 50


def test_a_pod_without_ports_needs_no_nftables(plugins: InProcess, node: Node, pod: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    previous = plugins.good("bridge", "ADD", network(), container=pod)

    def absent(name: str) -> None:
        raise OSError(2, "no such library")

    monkeypatch.setattr(calls, "library", absent)
    for verb in ("ADD", "CHECK", "DEL"):
        plugins.good("portmap", verb, ports(prevResult=previous), container=pod)


DRIFTS = {
    "element": "delete element inet cni_plugins hostport4 { tcp . 8080 }",
    "gate": "delete element inet cni_plugins hostip4_gate { 192.0.2.2 . udp . 8081 }",
    "target": "delete element inet cni_plugins hostport6 { tcp . 8080 }; "
    "add element inet cni_plugins hostport6 { tcp . 8080 : fd00:1::99 . 80 }",
    "owner": "flush set inet cni_plugins hostport4_owner",
    "hook": "flush chain inet cni_plugins hostports_in; delete chain inet cni_plugins hostports_in",
    "everything": "flush ruleset",
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_check_sees_that_a_port_is_not_mapped_any_more(plugins: InProcess, node: Node, pod: Container, drift: str) -> None:
    conf = attach(plugins, pod, *BOTH)
    before = node.ledger()
    plugins.good("portmap", "CHECK", conf, container=pod)
    assert ledger.diff(before, node.ledger()) == []
    node.run(["nft", DRIFTS[drift]])
    error = plugins("portmap", "CHECK", conf, container=pod).error
    assert error["code"] == 103
    assert "portMappings" in error["msg"]
    detach(plugins, pod, conf)
    if drift in ("element", "gate", "target"):
        assert "elements" not in rules(node), "what is left of an element stays mapped"


def test_check_sees_that_127_0_0_1_is_not_routed_any_more(plugins: InProcess, node: Node, pod: Container) -> None:
    conf = attach(plugins, pod, *BOTH)
    node.run(["sysctl", "-q", "net.ipv4.conf.cni0.route_localnet=0"])
    assert "route_localnet" in plugins("portmap", "CHECK", conf, container=pod).error["msg"]


def test_what_a_flush_took_is_put_back_from_the_record(plugins: InProcess, node: Node, pod: Container) -> None:
    attach(plugins, pod, *BOTH, conditionsV4=["!", "-d", "192.0.2.99"])
    before = rules(node)
    att = Attachment("net", pod.id, "eth0", pod.path)
    handles = Handles()
    world = World(handles, Request("portmap", node.cni_env("DEL", container=pod), b""), None)
    assert not KIND.lost(world)
    node.run(["nft", "flush", "ruleset"])
    assert KIND.lost(world)
    (item,) = records.load(world.run_dir, "portmap", att).items
    for _ in range(2):
        KIND.restore(world, [(att, item)])
        assert sorted(rules(node).split("\n")) == sorted(before.split("\n"))
    assert removal.alive(PLUGIN, world, [item])
    handles.close()
