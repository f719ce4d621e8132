"""What attachments of an overlay share: addresses from the node's subnet, routes, and sets in nftables that can be put back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cni_plugins.model.frozen import validate
from cni_plugins.plan.world import Handles, World
from cni_plugins.protocol.attachment import Attachment
from cni_plugins.protocol.request import Request
from tests.netns.vxlan.overlay import Member
from vxlan.conf import VxlanConf
from vxlan.overlay import KIND, Share


def routes(member: Member) -> list[Any]:
    return [route["dst"] for route in member.results["pod"]["routes"]]


def test_containers_send_everything_through_the_overlay_unless_told_otherwise(member: Member) -> None:
    member.pod()
    assert routes(member) == ["0.0.0.0/0", "::/0"]


def test_overlay_beside_another_network_takes_its_own_traffic_only(member: Member) -> None:
    pod = member.pod(isDefaultGateway=False)
    assert routes(member) == ["10.5.0.0/16", "fd00:5::/48"]
    assert "default" not in pod.run(["ip", "route"]).stdout + pod.run(["ip", "-6", "route"]).stdout
    assert member.check(pod, isDefaultGateway=False) == ""


def test_own_keys_of_ipam_reach_host_local(member: Member) -> None:
    ipam = {"type": "host-local", "dataDir": "/run/leases", "routes": [{"dst": "192.0.2.0/24"}]}
    pod = member.pod(ipam=ipam)
    assert Path("/run/leases/net/10.5.1.2").exists()
    assert routes(member) == ["192.0.2.0/24"]
    assert member.call("DEL", pod, ipam=ipam).result is None
    assert not Path("/run/leases/net/10.5.1.2").exists()


def test_gateway_address_of_another_network_on_the_bridge_is_named_or_replaced(member: Member) -> None:
    member.sh("ip link add mine type bridge; ip link set mine up; ip address add 10.9.0.1/24 dev mine")
    error = member.call("ADD", member.node.container("first"), bridge="mine").error
    assert "10.9.0.1/24" in error["msg"]
    member.pod(bridge="mine", forceAddress=True)
    assert "10.9.0.1" not in member.sh("ip address show dev mine")


@pytest.mark.parametrize("masquerade", [True, False])
def test_flushed_rules_are_known_for_lost_and_put_back_from_the_record(member: Member, *, masquerade: bool) -> None:
    pod = member.pod(ipMasq=masquerade)
    world = World(Handles(), Request("vxlan", {}, b""), None)
    halves = validate(VxlanConf, member.conf()).halves
    att = Attachment("net", pod.id, "eth0", pod.path)
    networks = [half.network for half in halves]
    item = Share(networks, [half.subnet for half in halves] if masquerade else [], networks).record(world, att)
    assert not KIND.lost(world)
    before = member.sh("nft list table inet cni_plugins")
    member.sh("nft flush ruleset")
    assert KIND.lost(world)
    assert "nftables" in member.check(pod, ipMasq=masquerade)
    KIND.restore(world, [(att, item), (att, item)])
    KIND.restore(world, [(att, item)])
    world.handles.close()
    assert member.sh("nft list table inet cni_plugins") == before
    assert member.check(pod, ipMasq=masquerade) == ""
