"""The agent's overlay as it is installed: beside real flanneld, with pods by both plugins, over what happens to a node."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agents import Agent
from tests.e2e.networks import ping
from tests.netns.leases.etcd_server import Etcd
from tests.netns.overlay.wire import Wire
from tests.support.flanneld import Flanneld
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.underlay import Underlay

ENDPOINT = "http://192.168.77.1:2379"
CONFIG = f"""
[[overlay]]
name = "pods"
store = "etcd"
underlay = "eth0"

[overlay.etcd]
endpoints = ["{ENDPOINT}"]
"""
STATIC = """
[[overlay]]
name = "storage"
store = "static"
underlay = "eth0"
network = "10.6.0.0/16"
vni = 101
peersFile = "{directory}/peers.json"
subnetFile = "/run/storage.env"
"""
READY = "pods: /run/flannel/subnet.env has"
FLANNEL = {"cniVersion": "1.0.0", "name": "cbr0", "type": "flannel", "delegate": {"isDefaultGateway": True}}
OURS = {"cniVersion": "1.1.0", "name": "pods", "type": "vxlan", "store": "etcd"}


@pytest.fixture
def underlay(root: None, tmp_path: Path) -> Iterator[Underlay]:
    """Three nodes, and etcd with a network where all of them reach it."""
    with Underlay(3) as underlay:
        with underlay.hub.inside():
            etcd = Etcd(underlay.hub, tmp_path, options=["--listen-client-urls", f"{ENDPOINT},http://127.0.0.1:2381"])
            etcd.configure(Network="10.5.0.0/16", Backend={"Type": "vxlan", "VNI": 100})
        yield underlay


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The agent's configuration."""
    path = tmp_path / "agent.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def agent(underlay: Underlay, plugins: Path, config: Path) -> Iterator[Agent]:
    """The agent on the first node, with its overlay."""
    with Agent(underlay.nodes[0], plugins, "--config", str(config)) as agent:
        agent.wait_for(READY)
        yield agent


class Pods:
    """Pods on a node, by a plugin of ours that `conf` names."""

    def __init__(self, node: Node, plugins: Path, conf: dict[str, Any]) -> None:
        self.node = node
        self._plugins = plugins
        self._conf = conf

    def call(self, verb: str, pod: Container | None) -> Any:
        """One call; its result."""
        program = self._plugins / self._conf["type"]
        return self.node.cni(program, verb, self._conf, container=pod, path=str(self._plugins)).result

    def add(self, name: str = "pod") -> tuple[Container, str]:
        """A pod, and its address."""
        pod = self.node.container(name)
        return pod, self.call("ADD", pod)["ips"][0]["address"].partition("/")[0]


def reach(source: Container, target: str) -> None:
    """Send the largest packet that the overlay takes in one piece, and no piece more."""
    ping(source, target)
    source.run(["ping", "-n", "-c1", "-w20", "-M", "do", "-s", str(1450 - 28), target])
    assert source.run(["ping", "-n", "-c1", "-w5", "-M", "do", "-s", str(1450 - 27), target], check=False).returncode


@pytest.mark.parametrize("conf", [FLANNEL, OURS], ids=["flannel", "vxlan"])
def test_pods_beside_two_real_flannelds_reach_each_other_in_every_direction(
    underlay: Underlay, agent: Agent, plugins: Path, *, conf: dict[str, Any], tmp_path: Path
) -> None:
    for node in underlay.nodes[1:]:
        Flanneld(node, ENDPOINT, log=tmp_path / f"{node.name}.log")
    agent.wait_for("joined: peer 192.168.77.13")
    sides = [Pods(node, plugins, one) for node, one in zip(underlay.nodes, (conf, FLANNEL, FLANNEL), strict=True)]
    pods = [side.add() for side in sides]
    with Wire(underlay.nodes[1], port=8472) as wire:
        for pod, own in pods:
            for _, target in pods:
                if target != own:
                    reach(pod, target)
        assert wire.vnis() == {100}
    for side, (pod, _) in zip(sides, pods, strict=True):
        side.call("DEL", pod)


def test_pods_go_on_when_the_agent_is_killed_and_the_next_one_takes_over(
    underlay: Underlay, agent: Agent, plugins: Path, *, config: Path, tmp_path: Path
) -> None:
    there = underlay.nodes[1]
    Flanneld(there, ENDPOINT, log=tmp_path / "there.log")
    agent.wait_for("joined: peer 192.168.77.12")
    (here, _), (_, other) = Pods(underlay.nodes[0], plugins, OURS).add(), Pods(there, plugins, FLANNEL).add()
    reach(here, other)
    agent.process.send_signal(signal.SIGKILL)
    agent.process.wait()
    reach(here, other)
    underlay.nodes[0].run(["ip", "link", "delete", "vxlan.100"])
    with Agent(underlay.nodes[0], plugins, "--config", str(config)) as successor:
        successor.wait_for("vxlan.100 is made anew, 3 entries put in")
        reach(here, other)


def test_a_firewalls_reload_costs_neither_masquerading_nor_what_is_forwarded(underlay: Underlay, agent: Agent) -> None:
    node = underlay.nodes[0]
    node.run(["nft", "flush", "ruleset"])
    agent.wait_for("what is forwarded is let through")
    assert "10.5.0.0/16" in node.run(["nft", "list", "table", "inet", "cni_plugins"]).stdout
    assert "--mark 0x1000/0x1000" in node.run(["iptables", "-S", "CNI-FORWARD"]).stdout


def switches(pid: int) -> int:
    """How often the threads of a process have gone to sleep."""
    statuses = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(line.split()[1]) for text in statuses for line in text.splitlines() if line.startswith("voluntary_ctxt_switches"))


def test_an_idle_agent_with_an_overlay_sleeps(underlay: Underlay, agent: Agent) -> None:
    agent.metrics()  # it has started entirely
    before = switches(agent.process.pid)
    underlay.nodes[0].run(["ping", "-n", "-c4", "127.0.0.1"])  # takes three seconds, in which others may work
    assert switches(agent.process.pid) - before < 10


def test_cnictl_shows_the_overlay_and_checks_a_peer(underlay: Underlay, agent: Agent, plugins: Path, tmp_path: Path) -> None:
    Flanneld(underlay.nodes[1], ENDPOINT, log=tmp_path / "there.log")
    agent.wait_for("joined: peer 192.168.77.12")
    node, cnictl = underlay.nodes[0], plugins / "cnictl"
    (overlay,) = json.loads(node.run([cnictl, "overlay", "status", "--json"]).stdout)
    assert (overlay["name"], overlay["vni"], overlay["store"], overlay["problems"]) == ("pods", 100, "etcd", [])
    assert [peer["node"] for peer in overlay["peers"]] == ["192.168.77.12"]
    assert "answers packets of 1450 bytes" in node.run([cnictl, "overlay", "check", "192.168.77.12"]).stdout


def test_a_mistake_in_the_configuration_is_named_and_nothing_starts(underlay: Underlay, plugins: Path, config: Path) -> None:
    config.write_text(CONFIG.replace('store = "etcd"', 'store = "etcd"\nvni = 7'))
    done = underlay.nodes[0].run([plugins / "cni-agent", "--foreground", "--config", str(config)], check=False)
    assert done.returncode == 1
    assert f"{config}: overlay pods: vni: goes with another store than etcd" in done.stderr


def test_a_configuration_that_is_changed_is_in_force_on_sighup_and_one_with_a_mistake_changes_nothing(
    underlay: Underlay, agent: Agent, plugins: Path, config: Path
) -> None:
    node = underlay.nodes[0]
    check: list[str | Path] = [plugins / "cni-agent", "--check-config", "--config", config]
    index = node.run(["cat", "/sys/class/net/vxlan.100/ifindex"]).stdout
    second = CONFIG + STATIC
    config.with_name("peers.json").write_text(json.dumps([{"node": "192.168.77.11", "subnet": "10.6.1.0/24"}]))
    config.write_text(second.format(directory=config.parent))
    assert node.run(check).stdout == ""
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_for("storage: /run/storage.env has 10.6.1.0/24")
    config.write_text(second.format(directory=config.parent).replace("vni = 101", "vni = 0"))
    done = node.run(check, check=False)
    assert (done.returncode, done.stderr.count("overlay storage: vni: ")) == (1, 1)
    agent.process.send_signal(signal.SIGHUP)
    assert "overlay storage: vni: " in agent.wait_for("the configuration stays as it was")
    assert node.run(["ip", "link", "show", "vxlan.101"]).returncode == 0
    config.write_text(CONFIG)
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_for("removed an overlay that is not configured any more")
    assert node.run(["ip", "link", "show", "vxlan.101"], check=False).returncode
    assert node.run(["cat", "/sys/class/net/vxlan.100/ifindex"]).stdout == index


def test_an_agent_that_was_started_without_overlays_takes_one(underlay: Underlay, plugins: Path, config: Path) -> None:
    config.write_text("")
    with Agent(underlay.nodes[0], plugins, "--config", str(config)) as agent:
        config.write_text(CONFIG)
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_for(READY)
