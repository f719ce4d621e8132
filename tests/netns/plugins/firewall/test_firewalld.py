"""Where firewalld runs, pods are sources of its zone: with the real firewalld."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.kernel.dbus import text
from cni_plugins.plan import records
from cni_plugins.plan.kinds.zone import KIND
from tests.netns.plugins.firewall.conftest import Pods, is_dropped, passes
from tests.netns.plugins.firewall.test_lifecycle import world
from tests.support.firewalld import Firewalld, unpacked
from tests.support.netns import Container
from tests.support.node import Node

SOURCES = ("10.1.0.2/32", "fd00:1::2/128")


@pytest.fixture(scope="session")
def firewalld_root() -> Path:
    """Where firewalld is unpacked; fetched before any test is on a node, which reaches no network."""
    return unpacked()


@pytest.fixture
def firewalld(firewalld_root: Path, node: Node) -> Firewalld:
    """firewalld, running on the node."""
    firewalld = Firewalld(node, firewalld_root)
    firewalld.start()
    return firewalld


def zones(firewalld: Firewalld) -> list[str]:
    """The zones that the first pod's addresses are in."""
    return [text(firewalld.ask("getZoneOfSource", [source])) for source in SOURCES]


@pytest.mark.parametrize("keys", [{}, {"backend": "firewalld"}, {"firewalldZone": "internal"}])
def test_pod_is_in_the_zone_for_as_long_as_it_lives(
    firewalld: Firewalld, node: Node, pods: Pods, *, pod: Container, other: Container, keys: dict[str, Any]
) -> None:
    mine = pods.attach(pod)["ips"]
    assert [ip["address"].partition("/")[0] for ip in mine] == [source.partition("/")[0] for source in SOURCES]
    theirs = pods.add(other, 2)
    assert is_dropped(pod, other, theirs[0])
    outcome = pods.call("ADD", pod, **keys)
    assert outcome.code == 0, outcome
    assert zones(firewalld) == [keys.get("firewalldZone", "trusted")] * 2
    assert pods.call("CHECK", pod, **keys).code == 0
    assert "CNI-FORWARD" not in node.run(["nft", "list", "ruleset"]).stdout, "the pods go to firewalld, as with the reference"
    if "firewalldZone" not in keys:
        assert all(passes(pod, other, address) for address in theirs)
    pods.delete(pod)
    assert zones(firewalld) == ["", ""]


def test_iptables_is_used_where_it_is_asked_for(firewalld: Firewalld, node: Node, pods: Pods, pod: Container) -> None:
    pods.add(pod, backend="iptables")
    assert zones(firewalld) == ["", ""]
    assert "CNI-FORWARD" in node.run(["iptables-save"]).stdout


def test_zone_that_firewalld_does_not_have_fails_and_leaves_nothing(firewalld: Firewalld, pods: Pods, pod: Container) -> None:
    pods.attach(pod)
    assert "INVALID_ZONE" in pods.call("ADD", pod, firewalldZone="nowhere").error["msg"]
    assert zones(firewalld) == ["", ""]


def test_check_finds_a_lost_source(firewalld: Firewalld, pods: Pods, pod: Container) -> None:
    pods.add(pod)
    firewalld.ask("removeSource", ["trusted", SOURCES[1]])
    assert SOURCES[1] in pods.drift(pod)
    assert SOURCES[0] not in pods.drift(pod)


def test_sources_are_put_back_after_a_reload(firewalld: Firewalld, pods: Pods, pod: Container) -> None:
    pods.add(pod, firewalldZone="internal")
    firewalld.reload()
    assert zones(firewalld) == ["", ""]
    (record,) = records.of_network("/run/cni-plugins", "firewall", "net1")
    one = world(pods)
    KIND.restore(one, [(record.att, record.items[0])])
    one.handles.close()
    assert zones(firewalld) == ["internal", "internal"]


@pytest.mark.parametrize("verb", ["ours", "reference"])
def test_del_without_a_record_takes_the_sources_out_of_whatever_zone(
    firewalld: Firewalld, pods: Pods, *, pod: Container, verb: str, reference_bin: Path
) -> None:
    pods.add(pod, firewalldZone="internal", by=reference_bin / "firewall" if verb == "reference" else None)
    assert zones(firewalld) == ["internal", "internal"]
    shutil.rmtree("/run/cni-plugins/records")
    pods.delete(pod, prevResult=None)
    assert zones(firewalld) == ["", ""]


def test_reference_deletes_what_we_added(firewalld: Firewalld, pods: Pods, pod: Container, reference_bin: Path) -> None:
    pods.add(pod)
    pods.delete(pod, by=reference_bin / "firewall")
    assert zones(firewalld) == ["", ""]


def test_firewalld_that_was_asked_for_and_does_not_run(pods: Pods, pod: Container) -> None:
    pods.attach(pod)
    for outcome in (pods.call("ADD", pod, backend="firewalld"), pods.plugins("firewall", "STATUS", pods.conf(backend="firewalld"))):
        assert outcome.error["msg"].startswith("backend: 'firewalld'")


def test_del_succeeds_where_firewalld_has_ended_meanwhile(firewalld: Firewalld, node: Node, pods: Pods, pod: Container) -> None:
    pods.add(pod)
    Path("/run/dbus/system_bus_socket").unlink()
    pods.delete(pod)
