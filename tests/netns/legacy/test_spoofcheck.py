"""MAC address checks that the reference bridge set up are found and taken out."""

from __future__ import annotations

from typing import Any

import pytest

from cni_plugins.kernel.nft import Nft
from cni_plugins.legacy import spoofcheck
from cni_plugins.protocol.attachment import Attachment
from tests.netns.legacy.conftest import Reference
from tests.support.node import Node

pytestmark = pytest.mark.parametrize("reference", ["nftables"], indirect=True)

L2: dict[str, Any] = {"ipMasq": False, "ipam": {}, "isGateway": False, "macspoofchk": True}


@pytest.mark.parametrize("ifname", ["eth0", "eth0.100", "a@b;{c}", 'q"uote#', "-mac"])
def test_nothing_is_left_of_the_reference_s_checks(reference: Reference, node: Node, nft: Nft, ifname: str) -> None:
    pod, other = node.container(), node.container("other")
    reference.add(other, ifname=ifname, **L2)
    reference.add(pod, ifname="other0", **L2)
    before = reference.state()
    att, _ = reference.add(pod, ifname=ifname, **L2)
    assert reference.state() != before
    item = spoofcheck.find(nft, att)
    assert item is not None
    spoofcheck.drop(nft, item)
    spoofcheck.drop(nft, item)
    assert reference.state() == before
    assert spoofcheck.find(nft, att) is None


def test_rules_of_repeated_adds_all_go(reference: Reference, node: Node, nft: Nft) -> None:
    pod = node.container()
    before = reference.state()
    att, _ = reference.add(pod, **L2)
    nft.run(f'add rule bridge nat PREROUTING iifname "veth0" jump cni-br-iface-{att.container_id}-{att.ifname}')
    item = spoofcheck.find(nft, att)
    assert item is not None
    spoofcheck.drop(nft, item)
    assert reference.state() == before


def test_the_reference_goes_on_working_after_a_drop(reference: Reference, node: Node, nft: Nft) -> None:
    pod = node.container()
    before = reference.state()
    item = spoofcheck.find(nft, reference.add(pod, **L2)[0])
    assert item is not None
    spoofcheck.drop(nft, item)
    reference.delete(pod, **L2)
    reference.add(pod, **L2)
    reference.delete(pod, **L2)
    assert reference.state() == before


def test_nothing_is_found_of_containers_that_it_did_not_add(reference: Reference, node: Node, nft: Nft) -> None:
    pod = node.container()
    reference.add(pod, **L2)
    for container_id, ifname in ((pod.id, "eth1"), (f"{pod.id}0", "eth0"), ("x", "a;b"), ("x" * 300, "eth0")):
        assert spoofcheck.find(nft, Attachment("net", container_id, ifname)) is None
