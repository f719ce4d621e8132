"""`cnictl attachments` tells an operator what exists on the node, whose it is, and whether its owner lives."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.plan.locks import AttachmentLock
from cni_plugins.protocol.attachment import Attachment
from conformance import ledger
from tests.netns.cli.breaking import WAYS, record_of, unfinished
from tests.netns.cli.conftest import Cnictl
from tests.netns.plugins.networks import LEASES, full_bridge, host_local, network
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node


def test_a_live_attachment_is_listed_with_all_that_is_known_of_it(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container
) -> None:
    result = plugins.good("bridge", "ADD", conf, container=pod)
    addresses = [ip["address"] for ip in result["ips"]]
    (found,) = cnictl("attachments", "--json").json
    assert (found["network"], found["containerID"], found["ifname"], found["netns"]) == ("net", pod.id, "eth0", pod.path)
    assert (found["state"], found["why"]) == ("live", "")
    assert sorted(found["addresses"]) == sorted(addresses)
    assert [record["plugin"] for record in found["records"]] == ["bridge"]
    assert {mark["kind"] for mark in found["marks"]} == {"veth", "spoofcheck", "masquerade"}
    assert {f"{lease['address']}" for lease in found["leases"]} == {address.partition("/")[0] for address in addresses}
    assert 0 <= found["ageSeconds"] < 600
    head, row = cnictl("attachments").lines
    assert head.split() == ["NETWORK", "CONTAINER", "INTERFACE", "PLUGINS", "NETNS", "ADDRESSES", "AGE", "STATE"]
    assert row.split()[:5] == ["net", pod.id, "eth0", "bridge", pod.path]
    assert row.endswith("  live")


@pytest.mark.parametrize("way", WAYS)
def test_what_is_stale_says_why(cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, node: Node, way: str) -> None:
    plugins.good("bridge", "ADD", conf, container=pod)
    WAYS[way](pod)
    before = node.ledger()
    printed = cnictl("attachments")
    assert printed.lines[1].endswith(f"stale: {way}")
    assert printed.lines[1].split()[:3] == ["net", pod.id, "eth0"], "whose it is can still be told"
    assert "1 attachments, 1 stale" in printed.remarks
    assert ledger.diff(before, node.ledger()) == []


def test_a_damaged_record_of_a_container_that_lives_does_not_make_it_stale(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container
) -> None:
    plugins.good("bridge", "ADD", conf, container=pod)
    record_of(pod).write_bytes(b"\0")
    assert cnictl("attachments").lines[1].endswith("live, damaged record")
    for arguments in (["sweep"], ["gc", "net"]):
        assert cnictl(*arguments).lines == []
    assert pod.run(["ip", "link", "show", "dev", "eth0"]).returncode == 0


def test_where_neither_record_nor_lease_is_left_the_mark_tells_whose_it_is(cnictl: Cnictl, plugins: InProcess, pod: Container) -> None:
    plugins.good("bridge", "ADD", network(ipam={"type": "static", "addresses": [{"address": "10.1.0.9/24"}]}), container=pod)
    record_of(pod).unlink()
    (found,) = cnictl("attachments", "--json").json
    assert (found["network"], found["containerID"], found["ifname"]) == ("net", pod.id, "eth0")


def test_every_plugin_of_a_container_is_listed(cnictl: Cnictl, plugins: InProcess, pod: Container) -> None:
    plugins.good("loopback", "ADD", network("loopback"), container=pod, ifname="lo")
    plugins.good("ptp", "ADD", network("ptp", name="blue"), container=pod)
    rows = [
        (one["network"], one["ifname"], one["state"], [r["plugin"] for r in one["records"]]) for one in cnictl("attachments", "--json").json
    ]
    assert rows == [("blue", "eth0", "live", ["ptp"]), ("net", "lo", "live", ["loopback"])]


def test_one_network_can_be_chosen(cnictl: Cnictl, plugins: InProcess, pod: Container) -> None:
    plugins.good("bridge", "ADD", full_bridge(name="red", ipam=host_local("10.2.0.0/24")), container=pod)
    plugins.good("ptp", "ADD", network("ptp", name="blue", ipam=host_local("10.3.0.0/24")), container=pod, ifname="eth1")
    assert [one["network"] for one in cnictl("attachments", "--network", "blue", "--json").json] == ["blue"]


def test_who_is_being_added_is_not_called_stale(cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container) -> None:
    plugins.good("bridge", "ADD", conf, container=pod)
    unfinished(pod)
    with AttachmentLock("/run/cni-plugins", "bridge", Attachment("net", pod.id, "eth0").key):
        assert cnictl("attachments").lines[1].endswith("being added or deleted")


def test_a_path_that_came_to_mean_the_nodes_own_namespace_is_a_container_that_is_gone(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container
) -> None:
    plugins.good("bridge", "ADD", conf, container=pod)
    record = record_of(pod)
    record.write_text(record.read_text().replace(pod.path, "/proc/thread-self/ns/net"))
    assert cnictl("attachments").lines[1].endswith("stale: netns gone")


def test_a_record_of_an_unknown_plugin_is_listed_but_not_judged(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container
) -> None:
    plugins.good("bridge", "ADD", conf, container=pod)
    record = record_of(pod)
    record.rename(record.with_suffix(".newer"))
    pod.delete()
    (found,) = cnictl("attachments", "--json").json
    assert (found["state"], [one["plugin"] for one in found["records"]]) == ("unknown", ["newer"])


def test_what_the_node_has_of_other_programs_is_not_ours(cnictl: Cnictl, node: Node) -> None:
    node.run(["ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1"])
    node.run(["ip", "link", "set", "veth0", "alias", "cni-plugins:nonsense"])
    Path("/run/cni-plugins/records").mkdir(parents=True)
    Path("/run/cni-plugins/records/README").write_text("notes")
    LEASES.mkdir(parents=True)
    (LEASES / "file").touch()
    assert cnictl("attachments", "--json").json == []


def test_looking_makes_no_files_where_there_were_none(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, node: Node
) -> None:
    plugins.good("bridge", "ADD", conf, container=pod)
    shutil.rmtree("/run/cni-plugins")
    before = node.ledger()
    assert cnictl("attachments").lines[1].endswith("stale: mark without record")
    assert ledger.diff(before, node.ledger()) == []


def test_an_empty_node_has_an_empty_list(cnictl: Cnictl, node: Node) -> None:
    before = node.ledger()
    assert len(cnictl("attachments").lines) == 1
    assert ledger.diff(before, node.ledger()) == []


def test_a_configuration_that_cannot_be_read_is_named(cnictl: Cnictl) -> None:
    Path("/etc/cni/net.d/20-bad.conflist").write_text("{")
    assert "not read: /etc/cni/net.d/20-bad.conflist" in cnictl("attachments").remarks
