"""Pods of an overlay are reached on nodes that drop what they forward, as with flanneld; and on no others is anything done for it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.netns.plugins.firewall.conftest import drop_forwarded, programs
from tests.netns.vxlan.overlay import Member, address, reaches
from tests.support.netns import Container

VARIANTS = ("nft", "legacy")
MTU = 1430


@pytest.fixture(params=VARIANTS)
def dropping(pair: list[Member], request: pytest.FixtureRequest) -> list[Member]:
    """Both nodes drop what nobody accepts."""
    for member in pair:
        drop_forwarded(member.node, request.param)
    return pair


def targets(pair: list[Member], pods: list[Container]) -> list[str]:
    """The addresses of the second node's pod."""
    return [address(pair[1], pods[1], family) for family in pair[1].families]


def is_let_through(pod: Container, addresses: list[str]) -> bool:
    """Whether full packets get to all of these and back."""
    return all(reaches(pod, one, mtu=MTU) for one in addresses)


def is_kept_back(pod: Container, addresses: list[str]) -> bool:
    """Whether no packet gets to any of these."""
    return all(pod.run(["ping", "-c1", "-W0.5", one], check=False).returncode == 1 for one in addresses)


def accepted(member: Member) -> str:
    """What our own table lets through."""
    return "".join(member.sh(f"nft list set inet cni_plugins overlay_accepted{family}") for family in member.families)


def test_pods_reach_each_other_and_the_world_where_nodes_drop_what_they_forward(dropping: list[Member]) -> None:
    for member in dropping:
        member.keys = {"ipMasq": True}
    pods = [member.pod() for member in dropping]
    assert is_let_through(pods[0], [*targets(dropping, pods), "192.168.77.1"])
    assert dropping[0].check(pods[0]) == ""


def test_with_forwardrules_switched_off_they_are_left_to_the_nodes_own_rules(dropping: list[Member]) -> None:
    for member in dropping:
        member.keys = {"forwardRules": False}
    pods = [member.pod() for member in dropping]
    assert is_kept_back(pods[0], [*targets(dropping, pods), "192.168.77.1"])
    assert dropping[0].check(pods[0]) == ""
    assert "10.5.0.0" not in accepted(dropping[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_check_names_rules_that_were_flushed_and_the_next_add_puts_them_back(pair: list[Member], variant: str) -> None:
    for member in pair:
        drop_forwarded(member.node, variant)
    pods = [member.pod() for member in pair]
    for program in programs(variant):
        pair[0].sh(f"{program} -F FORWARD")
        assert "iptables' filter table lacks" in pair[0].check(pods[0])
    assert is_kept_back(pods[0], targets(pair, pods))
    pair[0].pod("again")
    assert pair[0].check(pods[0]) == ""
    assert is_let_through(pods[0], targets(pair, pods))


def test_rules_of_ones_own_are_asked_first(dropping: list[Member], request: pytest.FixtureRequest) -> None:
    pods = [member.pod() for member in dropping]
    for program in programs(request.node.callspec.params["dropping"]):
        dropping[0].sh(f"{program} -A CNI-ADMIN -j DROP")
    assert is_kept_back(pods[0], targets(dropping, pods))


def test_with_the_last_pod_nothing_passes_any_more(dropping: list[Member]) -> None:
    pods = [member.pod() for member in dropping]
    for pod in (pods[0], dropping[0].pod("second")):
        assert "10.5.0.0" in accepted(dropping[0])
        assert dropping[0].call("DEL", pod).result is None
    assert "10.5" not in accepted(dropping[0])
    assert "fd00" not in accepted(dropping[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_more_pods_make_no_more_rules(pair: list[Member], variant: str) -> None:
    member = pair[0]
    drop_forwarded(member.node, variant)

    def rules() -> list[str]:
        said = [member.sh(f"{program}-save | grep -v '^#'; nft list table inet cni_plugins") for program in programs(variant)]
        return [line.partition(" [")[0] for text in said for line in text.splitlines()]

    member.pod()
    before = rules()
    member.pod("second")
    assert rules() == before


def test_where_nobody_has_a_forward_chain_none_is_made(member: Member) -> None:
    member.pod()
    assert "filter" not in member.sh("nft list tables")
    assert member.sh("cat /proc/net/ip_tables_names /proc/net/ip6_tables_names") == ""


@pytest.mark.parametrize("keys", [{"store": "static"}, {"forwardRules": "yes"}])
def test_a_key_that_makes_no_sense_is_named(member: Member, keys: dict[str, Any]) -> None:
    conf = {"cniVersion": "1.1.0", "name": "net", "type": "vxlan", "forwardRules": False, **keys}
    error = member.plugins("vxlan", "ADD", conf, container=member.node.container("pod")).error
    assert "forwardRules" in error["msg"]
