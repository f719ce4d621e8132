"""The last DEL of a network on a node takes everything with it, and an earlier one nothing that others use."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.kernel import calls
from cni_plugins.plan.world import Handles, World
from cni_plugins.protocol.attachment import network_key
from cni_plugins.protocol.request import Request
from conformance import ledger
from tests.netns.plugins.networks import RECORDS, leases, records
from tests.netns.vxlan.overlay import LEFT, Member, address, reaches
from vxlan import marks, overlay

BACKENDS: dict[str, dict[str, Any]] = {
    "vxlan": {"ipMasq": True},
    "direct": {"ipMasq": True, "directRouting": True},
    "host-gw": {"ipMasq": True, "backend": "host-gw"},
}
USERS = Path("/run/cni-plugins/overlays")


PODS = (r"(?!node ).*", r"node (file /run/)?netns(/| ).*")
"""The namespaces of the pods themselves: the tests make them after they have looked."""


def nothing_left(before: ledger.Snapshot, member: Member) -> None:
    assert ledger.diff(before, member.node.ledger(), ignore=(*LEFT, *PODS)) == []


@pytest.mark.parametrize("backend", list(BACKENDS))
def test_last_del_leaves_nothing_and_an_earlier_one_the_rest(pair: list[Member], backend: str) -> None:
    member, other = pair
    for one in pair:
        one.keys = BACKENDS[backend]
    far = other.pod()
    before = member.node.ledger()
    first = member.pod("first")
    shared = member.node.ledger()
    second = member.pod("second")
    assert member.call("DEL", second, prevResult=member.results["second"]).result is None
    assert ledger.diff(shared, member.node.ledger(), ignore=(*LEFT, *PODS, r"\S+ (address|route) fe80:.*")) == []
    assert member.check(first) == ""
    assert reaches(first, address(other, far, 4), mtu=1430)
    for _ in range(2):
        assert member.call("DEL", first, prevResult=member.results["first"]).result is None
        nothing_left(before, member)


@pytest.mark.parametrize("backend", list(BACKENDS))
def test_del_without_a_record_leaves_nothing_either(member: Member, backend: str) -> None:
    """The record of a killed ADD may have been damaged with the disk; the configuration is that of another backend by then."""
    member.keys = BACKENDS[backend]
    before = member.node.ledger()
    pod = member.pod()
    for record in RECORDS.glob("*.vxlan"):
        record.unlink()
    assert member.call("DEL", pod, backend=None, directRouting=None).result is None
    nothing_left(before, member)


@pytest.mark.parametrize("backend", list(BACKENDS))
def test_gc_of_the_last_attachment_leaves_nothing(member: Member, backend: str) -> None:
    member.keys = BACKENDS[backend]
    before = member.node.ledger()
    kept, stale = member.pod("kept"), member.pod("stale")
    valid = [{"containerID": kept.id, "ifname": "eth0"}]
    member.plugins.good("vxlan", "GC", member.conf() | {"cni.dev/valid-attachments": valid})
    assert member.check(kept) == ""
    assert leases() == {"10.5.1.2", "fd00:5:0:1::2"}
    member.plugins.good("vxlan", "GC", member.conf() | {"cni.dev/valid-attachments": []})
    nothing_left(before, member)
    assert stale.name in member.node.containers


def test_del_needs_no_more_than_the_networks_name(member: Member) -> None:
    before = member.node.ledger()
    pod = member.pod()
    broken = {"cniVersion": "1.1.0", "name": "net", "type": "vxlan", "vni": -7, "subnet": "nonsense"}
    assert member.plugins("vxlan", "DEL", broken, container=pod).result is None
    nothing_left(before, member)


def test_two_parallel_dels_leave_nothing(member: Member) -> None:
    """Each may take the other for somebody who still needs the overlay."""
    before = member.node.ledger()
    for turn in range(5):
        pods = [member.pod(f"pod{turn}{letter}") for letter in "abcd"]
        threads = [threading.Thread(target=member.call, args=("DEL", pod)) for pod in pods]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        nothing_left(before, member)


def test_bridge_that_was_there_before_stays(member: Member) -> None:
    member.sh("ip link add mine type bridge; ip link set mine up")
    pod = member.pod(bridge="mine")
    assert member.call("DEL", pod, bridge="mine").result is None
    assert [link["ifname"] for link in member.ip("link", "show", "type", "bridge")] == ["mine"]


def test_overlay_stays_while_a_foreign_port_is_on_its_bridge(member: Member) -> None:
    pod = member.pod()
    member.sh("ip link add foreign type veth peer end; ip link set foreign master vxbr100")
    assert member.call("DEL", pod).result is None
    assert member.node.run(["ip", "link", "show", "vxbr100"], check=False).returncode == 0
    member.sh("ip link delete foreign")
    member.plugins.good("vxlan", "GC", member.conf() | {"cni.dev/valid-attachments": []})
    assert member.node.run(["ip", "link", "show", "vxbr100"], check=False).returncode == 1
    assert not member.ip("link", "show", "type", "vxlan")


def test_overlay_that_an_agent_uses_stays(member: Member) -> None:
    """As an agent does: it notes itself as a user, and its mark is on the devices."""
    pod = member.pod()
    world = World(Handles(), Request("vxlan", {}, b""), None)
    agent = network_key("net") + b"an agent"
    overlay.join(world, agent, {})
    assert member.call("DEL", pod).result is None
    assert len(member.ip("link", "show", "type", "vxlan")) == 2
    for device in ("vxlan.100", "vxlan6.100"):
        member.node.run(["ip", "link", "set", device, "alias", marks.mark_of("net", marks.AGENT)])
    overlay.leave(world, agent, {})
    world.handles.close()
    assert len(member.ip("link", "show", "type", "vxlan")) == 2, "made by an agent: the agent's to remove"
    assert not member.ip("link", "show", "type", "bridge")


def test_other_networks_are_not_touched(member: Member) -> None:
    blue = {"name": "blue", "vni": 200, "overlay": 6, "ipMasq": True}
    kept = member.pod("kept", **blue)
    before = member.node.ledger()
    for backend in BACKENDS.values():
        member.keys = backend
        pod = member.pod(f"pod{len(member.results)}")
        assert member.call("DEL", pod).result is None
        nothing_left(before, member)
    member.keys = {}
    assert member.check(kept, **blue) == ""


def test_networks_of_an_older_configuration_go_with_their_last_user(member: Member) -> None:
    before = member.node.ledger()
    member.keys = BACKENDS["host-gw"]
    old = member.pod("old", overlay=5)
    new = member.pod("new", overlay=6, forceAddress=True)
    assert member.call("DEL", old).result is None
    routes = {route["dst"] for route in member.ip("route", "show", "proto", "110")}
    assert routes == {"10.6.2.0/24"}
    assert member.check(new, overlay=6, forceAddress=True) == ""
    assert member.call("DEL", new).result is None
    nothing_left(before, member)


def test_killed_between_the_users_file_and_the_links_is_finished_by_the_next_call(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    before = member.node.ledger()
    collected: dict[str, Any] = {"cni.dev/valid-attachments": []}
    for verb, keys in (("DEL", {}), ("GC", collected)):
        pod = member.pod(f"pod-{verb}")
        with monkeypatch.context() as patch:
            patch.setattr(overlay, "_dismantle", _killed)
            assert member.call("DEL", pod).code == 1
        assert not list(USERS.iterdir())
        assert member.ip("link", "show", "type", "vxlan")
        member.call(verb, pod if verb == "DEL" else None, **keys)
        nothing_left(before, member)
        assert records() == []


def _killed(*args: object) -> None:
    raise OSError(5, "killed")


def test_half_made_links_are_removed(member: Member) -> None:
    """What an ADD leaves that is killed between making a link and marking it."""
    before = member.node.ledger()
    pod = member.node.container("pod")
    bridge, device, _ = marks.drafts(network_key("net"))
    make = f"ip link add {bridge} type bridge; ip link add {device} type vxlan id 100 dev eth0 local 192.168.77.11 dstport 8472"
    member.sh(make)
    assert member.call("DEL", pod).result is None
    nothing_left(before, member)
    member.sh(make)
    member.results["pod"] = member.call("ADD", pod).result
    assert member.check(pod) == ""
    assert member.call("DEL", pod).result is None
    nothing_left(before, member)
    assert calls.listdir("/run/cni-plugins/overlays") == []
