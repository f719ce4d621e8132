"""Rules that the reference's firewall plugin made are found and taken out by ours, and what ours made is no trouble to the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cni_plugins.kernel.nft import Nft
from cni_plugins.legacy import firewall
from tests.netns.legacy.conftest import Reference
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node

POLICIES = ("open", "same-bridge", "isolated")
BRIDGE = "br7"


class Mixed:
    """Attachments of a bridge network with firewall, each plugin called by the reference or by ours."""

    def __init__(self, reference: Reference, plugins: InProcess, policy: str) -> None:
        self.reference = reference
        self.plugins = plugins
        self.policy = policy
        self.results: dict[str, Any] = {}

    def conf(self, container: Container, **keys: Any) -> dict[str, Any]:
        """The firewall's configuration, with prevResult."""
        prev = self.results[container.id]
        return {"cniVersion": "1.0.0", "name": "net", "type": "firewall", "ingressPolicy": self.policy, "prevResult": prev} | keys

    def attach(self, container: Container) -> None:
        """Give a container its interface."""
        conf = self.reference.conf("net", ipMasq=False, ipMasqBackend=None)
        self.results[container.id] = self.plugins.good("bridge", "ADD", conf, container=container)

    def theirs(self, verb: str, container: Container, **keys: Any) -> None:
        """One call of the reference's plugin, which must succeed."""
        plugin = self.reference.directory / "firewall"
        outcome = self.reference.node.cni(plugin, verb, self.conf(container, **keys), container=container, env=self.reference._env)
        assert outcome.code == 0, outcome

    def ours(self, verb: str, container: Container, **keys: Any) -> None:
        """One call of ours, which must succeed."""
        self.plugins.good("firewall", verb, self.conf(container, **keys), container=container)

    def rules(self) -> list[str]:
        """All rules of iptables' filter tables."""
        found = []
        for program in ("iptables", "ip6tables"):
            found += self.reference.node.run([program, "-S"], env=self.reference._env).stdout.split("\n")
        return found

    def naming(self, *what: str) -> list[str]:
        """The rules that name any of these."""
        return [rule for rule in self.rules() if any(word in f"{rule} " for word in what)]


@pytest.fixture(params=POLICIES)
def policy(request: pytest.FixtureRequest) -> str:
    """An ingressPolicy."""
    return str(request.param)


@pytest.fixture
def mixed(reference: Reference, node: Node, tmp_path: Path, policy: str) -> Mixed:
    """A node with both."""
    return Mixed(reference, InProcess(node, tmp_path), policy)


def marks(*containers: str) -> tuple[str, ...]:
    """What rules of these addresses, or of the bridge, have in them."""
    return (*(f"{address}/" for address in containers), f"-i {BRIDGE} ", f"-o {BRIDGE} ")


BOTH = pytest.mark.parametrize("reference", ["iptables-nft", "iptables-legacy"], indirect=True)


@BOTH
@pytest.mark.parametrize("lost", ["nothing", "prevResult", "netns"])
def test_our_del_takes_out_what_the_reference_added(mixed: Mixed, node: Node, *, lost: str) -> None:
    pod = node.container("pod")
    mixed.attach(pod)
    mixed.theirs("ADD", pod)
    assert mixed.naming("10.7.0.3/")
    assert mixed.naming("fd00:7::3/")
    if lost == "netns":
        env = node.cni_env("DEL", container=pod)
        conf = mixed.conf(pod)
        pod.delete()
        mixed.plugins.good("firewall", "DEL", conf, env=env)
    else:
        mixed.ours("DEL", pod, **({"prevResult": None} if lost == "prevResult" else {}))
    assert mixed.naming("10.7.0.3/", "fd00:7::3/") == []
    if lost != "prevResult":
        assert mixed.naming(f"-i {BRIDGE} ", f"-o {BRIDGE} ") == [], "the last pod's DEL takes the bridge's rules too"
    assert any("-j CNI-FORWARD" in rule for rule in mixed.rules())


@BOTH
def test_without_prevresult_and_netns_the_lease_tells_the_addresses(mixed: Mixed, node: Node) -> None:
    pod = node.container("pod")
    mixed.attach(pod)
    mixed.theirs("ADD", pod)
    env = node.cni_env("DEL", container=pod)
    conf = mixed.conf(pod, prevResult=None)
    pod.delete()
    mixed.plugins.good("firewall", "DEL", conf, env=env)
    assert mixed.naming("10.7.0.3/", "fd00:7::3/") == []


@BOTH
def test_neighbours_keep_their_rules_and_the_bridge_its_own(mixed: Mixed, node: Node) -> None:
    pod, other = node.container("pod"), node.container("other")
    mixed.attach(other)
    mixed.theirs("ADD", other)
    mixed.attach(pod)
    before = mixed.rules()
    mixed.theirs("ADD", pod)
    mixed.ours("DEL", pod)
    assert mixed.rules() == before
    mixed.theirs("CHECK", other)


@BOTH
def test_our_check_is_content_with_what_the_reference_made_and_finds_it_gone(mixed: Mixed, node: Node) -> None:
    pod = node.container("pod")
    mixed.attach(pod)
    mixed.theirs("ADD", pod)
    before = mixed.rules()
    mixed.ours("CHECK", pod)
    assert mixed.rules() == before
    mixed.theirs("DEL", pod)
    outcome = mixed.plugins("firewall", "CHECK", mixed.conf(pod), container=pod)
    assert "10.7.0.3" in outcome.error["msg"]


@BOTH
def test_reference_deletes_what_we_added_and_the_next_pod_gets_the_address(mixed: Mixed, node: Node) -> None:
    pod, other = node.container("pod"), node.container("other")
    mixed.attach(pod)
    mixed.ours("ADD", pod)
    mixed.theirs("DEL", pod)
    conf = mixed.reference.conf("net", ipMasq=False, ipMasqBackend=None) | {"prevResult": mixed.results[pod.id]}
    mixed.reference._call("DEL", pod, conf, "eth0")
    mixed.attach(other)
    mixed.results[other.id]["ips"] = mixed.results[pod.id]["ips"]
    mixed.ours("ADD", other)
    mixed.ours("CHECK", other)


@BOTH
def test_reference_and_ours_share_their_chains(mixed: Mixed, node: Node) -> None:
    pods = [node.container(f"pod{number}") for number in range(4)]
    for number, pod in enumerate(pods):
        mixed.attach(pod)
        (mixed.ours if number % 2 else mixed.theirs)("ADD", pod)
    for marked in ('FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD', "-j CNI-ADMIN", "-m mark"):
        assert len(mixed.naming(marked)) == 2, "once in each family"
    for number, pod in enumerate(pods):
        (mixed.ours if number % 2 else mixed.theirs)("CHECK", pod)
        (mixed.theirs if number % 2 else mixed.ours)("DEL", pod)
    assert mixed.naming("10.7.0.", "fd00:7::") == []


@BOTH
@pytest.mark.parametrize("policy", ["open"], indirect=True)
def test_rules_of_others_in_the_reference_s_chains_stay(mixed: Mixed, node: Node) -> None:
    pod = node.container("pod")
    mixed.attach(pod)
    mixed.theirs("ADD", pod)
    for rule in ("-s 10.7.0.3 -p tcp -j ACCEPT", "-s 10.7.0.3 -j DROP", "-d 10.7.0.3 -j ACCEPT", "-s 10.7.0.2/31 -j ACCEPT"):
        node.run(["iptables", "-A", "CNI-FORWARD", *rule.split()], env=mixed.reference._env)
    mixed.ours("DEL", pod)
    assert len(mixed.naming("10.7.0.2/", "10.7.0.3/")) == 4


@BOTH
@pytest.mark.parametrize("policy", ["open"], indirect=True)
def test_looking_where_nothing_is_finds_and_makes_nothing(mixed: Mixed, nft: Nft) -> None:
    before = mixed.rules()
    assert firewall.find(nft, ["10.7.0.2", "fd00:7::2"], bridge=BRIDGE) is None
    assert mixed.rules() == before
    firewall.drop(nft, {"addresses": ["10.7.0.2"], "bridge": BRIDGE, "nft": ["ip"], "legacy": ["ip"]})
    assert mixed.rules() == before
