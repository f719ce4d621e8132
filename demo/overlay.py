"""The story that `make demo-overlay` tells: three nodes, two overlays side by side, and what is knocked over repaired before one's eyes.

Everything happens in network and mount namespaces of the demo's own; the machine's network is never touched.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from demo.screen import WIDTH, Screen
from demo.stage import perform
from tests.e2e.agents import Agent
from tests.netns.leases.etcd_server import Etcd
from tests.netns.overlay.wire import Wire
from tests.support.flanneld import Flanneld
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.paths import PLUGIN_DIR
from tests.support.underlay import Underlay

ENDPOINT = "http://192.168.77.1:2379"
STORAGE = [{"node": f"192.168.77.1{number}", "subnet": f"10.6.{number}.0/24"} for number in (1, 2, 3)]
CONFIG = """\
[[overlay]]
name = "pods"
store = "etcd"
underlay = "eth0"

[overlay.etcd]
endpoints = ["{endpoint}"]

[[overlay]]
name = "storage"
store = "static"
underlay = "eth0"
network = "10.6.0.0/16"
vni = 101
peersFile = "{peers}"
subnetFile = "/run/storage.env"
"""
PODS: dict[str, Any] = {"cniVersion": "1.1.0", "name": "pods", "type": "vxlan", "store": "etcd"}
FLANNEL: dict[str, Any] = {"cniVersion": "1.0.0", "name": "cbr0", "type": "flannel", "delegate": {"isDefaultGateway": True}}
STORED: dict[str, Any] = {"cniVersion": "1.1.0", "name": "storage", "type": "vxlan", "store": "static", "isDefaultGateway": False}
SIZE = 1450


class Demo:
    """One run."""

    def __init__(self, underlay: Underlay, screen: Screen, directory: Path) -> None:
        self.underlay = underlay
        self.nodes = underlay.nodes
        self.screen = screen
        self.directory = directory
        self.agents: list[Agent] = []
        self.pods: list[tuple[Container, str]] = []
        self.storage: list[tuple[Container, str]] = []

    def tell(self) -> None:
        """The whole story."""
        self._introduce()
        with ExitStack() as running:
            self._start(running)
            self._draw()
            self._join()
            self._reach()
            self._break()
            self._ask()

    def _introduce(self) -> None:
        say = self.screen.say
        self.screen.heading("What this is")
        say("Three nodes on one switch. Each gets a subnet of an overlay, and their pods reach each other through tunnels.")
        say("On node1 and node2 our agent keeps two overlays: `pods`, with its leases in a real etcd, and `storage`, with them in a file.")
        say("On node3 real flanneld is in the overlay `pods`: they are peers.")

    def _start(self, running: ExitStack) -> None:
        self.screen.heading("The nodes get their subnets")
        with self.underlay.hub.inside():
            etcd = Etcd(self.underlay.hub, self.directory, options=["--listen-client-urls", f"{ENDPOINT},http://127.0.0.1:2381"])
            etcd.configure(Network="10.5.0.0/16", Backend={"Type": "vxlan", "VNI": 100})
        listed, config = self.directory / "storage.json", self.directory / "agent.toml"
        listed.write_text(json.dumps(STORAGE[:2]))
        config.write_text(CONFIG.format(endpoint=ENDPOINT, peers=listed))
        for node in self.nodes[:2]:
            self.screen.command(f"{node.name}: cni-agent --foreground --config agent.toml")
            agent = running.enter_context(Agent(node, PLUGIN_DIR, "--config", str(config)))
            self.agents.append(agent)
            agent.wait_for("pods: /run/flannel/subnet.env has")
            self.screen.outcome(True, f"{node.name} has {_subnet(node)} of `pods`")
        self.screen.command("node3: flanneld --etcd-endpoints … --iface eth0")
        Flanneld(self.nodes[2], ENDPOINT, "--ip-masq", log=self.directory / "flanneld.log")
        for agent in self.agents:
            agent.wait_for("joined: peer 192.168.77.13")
        self.screen.outcome(True, f"node3 has {_subnet(self.nodes[2])} of `pods`, from flanneld; node1 and node2 have heard of it")

    def _draw(self) -> None:
        self.screen.heading("Who is where")
        boxes = [
            [node.name, own[0], f"pods {_subnet(node)}", f"storage {STORAGE[number]['subnet']}" if number < 2 else "(flanneld)"]
            for number, (node, own) in enumerate(zip(self.nodes, self.underlay.addresses, strict=True))
        ]
        print(picture(boxes))

    def _join(self) -> None:
        self.screen.heading("Pods join")
        for number, node in enumerate(self.nodes):
            self.pods.append(self._add(node, f"pod{number + 1}", FLANNEL if number == 2 else PODS))
        for number, node in enumerate(self.nodes[:2]):
            self.storage.append(self._add(node, f"disk{number + 1}", STORED))

    def _add(self, node: Node, name: str, conf: dict[str, Any]) -> tuple[Container, str]:
        pod = node.container(name)
        result = node.cni(PLUGIN_DIR / conf["type"], "ADD", conf, container=pod, path=str(PLUGIN_DIR)).result
        address = result["ips"][0]["address"].partition("/")[0]
        self.screen.outcome(True, f"{name} on {node.name} got {address}, by the {conf['type']} plugin")
        return pod, address

    def _reach(self) -> None:
        self.screen.heading(f"Can they talk, with packets of {SIZE} bytes that nobody may cut?")
        with Wire(self.nodes[1], port=8472) as wire:
            for group in (self.pods, self.storage):
                for source, own in group:
                    for _, target in group:
                        if target != own:
                            self.screen.outcome(_reaches(source, target), f"{source.name} -> {target}")
            seen = wire.vnis()
        self.screen.outcome(seen == {100, 101}, f"VNIs in the packets that arrived at node2: {', '.join(map(str, sorted(seen)))}")

    def _break(self) -> None:
        self.screen.heading("Now somebody knocks things over on node1 …")
        peer = _subnet(self.nodes[1])
        vtep = peer.partition("/")[0]
        entry = "$(bridge fdb show dev vxlan.100 | grep 'dst 192.168.77.12' | cut -d' ' -f1)"
        for command in (
            "ip link delete vxlan.100",
            "ip link set vxlan.100 address 02:00:00:00:00:99",
            f"bridge fdb replace {entry} dev vxlan.100 dst 192.168.77.99",
            f"ip neigh del {vtep} dev vxlan.100",
            f"ip route del {peer}",
        ):
            self.screen.command(command)
            begun = time.perf_counter()
            self.nodes[0].run(["sh", "-ec", command])
            line = self.agents[0].wait_for("repaired: ").strip()
            took = (time.perf_counter() - begun) * 1000
            self.screen.outcome(
                _reaches(self.pods[0][0], self.pods[1][1]), f"repaired after {took:.0f} ms, and pod1 reaches pod2. The agent says:"
            )
            self.screen.quote(line)

    def _ask(self) -> None:
        self.screen.heading("And when it is another node's fault?")
        rule = "add table inet fw; add chain inet fw in { type filter hook input priority 0; }; add rule inet fw in udp dport 8472 drop"
        self.screen.say("Somebody's firewall on node2 drops UDP port 8472.")
        self.nodes[1].run(["nft", rule])
        self.screen.command("node1: cnictl overlay check 192.168.77.12")
        done = self.nodes[0].run([PLUGIN_DIR / "cnictl", "overlay", "check", "192.168.77.12"], check=False)
        self.screen.outcome(done.returncode == 1 and "UDP port 8472 is blocked" in done.stdout, "it says:")
        self.screen.quote(done.stdout)
        self.nodes[1].run(["nft", "delete table inet fw"])
        self.screen.outcome(_reaches(self.pods[0][0], self.pods[1][1]), "without that rule, all is well again")
        self.screen.command("node1: cnictl overlay status")
        self.screen.quote(self.nodes[0].run([PLUGIN_DIR / "cnictl", "overlay", "status"]).stdout)


def _subnet(node: Node) -> str:
    """A node's subnet of the overlay `pods`, as its subnet file says."""
    text = node.run(["cat", "/run/flannel/subnet.env"]).stdout
    (found,) = [line.partition("=")[2] for line in text.splitlines() if line.startswith("FLANNEL_SUBNET=")]
    return found.replace(".1/", ".0/")


def _reaches(source: Container, target: str) -> bool:
    command = ["ping", "-n", "-c1", "-w5", "-M", "do", "-s", str(SIZE - 28), target]
    return source.run(command, check=False).returncode == 0


def picture(boxes: list[list[str]]) -> str:
    """The nodes side by side, and the switch that they are on."""
    inner = WIDTH - 2
    edge = "─" * inner
    rows = ["  ".join(f"┌{edge}┐" for _ in boxes)]
    rows += ["  ".join(f"│ {text:<{inner - 1}}│" for text in texts) for texts in zip(*boxes, strict=True)]
    foot = "─" * (inner // 2) + "┬" + "─" * (inner - inner // 2 - 1)
    rows += ["  ".join(f"└{foot}┘" for _ in boxes), "  ".join(f"{'│':>{inner // 2 + 2}}".ljust(WIDTH) for _ in boxes)]
    total = (WIDTH + 2) * len(boxes) - 2
    rows.append(f"{' switch   192.168.77.0/24   etcd ':═^{total}}")
    return "\n".join("    " + row.rstrip() for row in rows)


def tell(screen: Screen) -> None:
    """The story, on nodes of its own."""
    with tempfile.TemporaryDirectory() as directory, Underlay(3) as underlay:
        Demo(underlay, screen, Path(directory)).tell()


if __name__ == "__main__":
    outlook = "Next: docs/overlay.md says how to have this on nodes of yours."
    sys.exit(perform(tell, target="demo-overlay", programs=["flanneld"], outlook=outlook))
