"""The story that `make demo-multinet` tells: two nodes, the default network by Flannel, and a second overlay for the pods that ask for it.

Everything happens in network, mount and process namespaces of the demo's own; the machine's network is never touched.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from conformance import ledger
from demo.screen import Screen
from demo.stage import perform
from demo.two_nodes import NETWORK, Pod, TwoNodes
from tests.lab.two_networks import AGENT, BOTH, BRIDGES, PREFIX, SECOND, SECOND_NETWORK, SECOND_SUBNET_FILE, SUBNET_FILE, VNIS
from tests.netns.overlay.wire import Wire

COLUMN = 17
INTERFACES = ("eth0", "net1")
#: What stays by design when the last pod has gone: bridges and tables for the next one, and files that are only there to be locked.
SHARED = (
    *(ledger.about_link(bridge) for bridge in BRIDGES),
    r"node sysctl .*",
    r"node nftables table inet cni_plugins( / (map|set|chain) (?!.* / .* comment ).*)?",
    r"node file /run/cni-plugins(/lock|/records)?",
    r"node file /var/lib/cni/([^/]+|multus/results)",
    r"node file /var/lib/cni/networks/[^/]+(|/lock|/last_reserved_ip\.\d|/\.by-id)",
    r"node route (anycast|multicast|local|broadcast) .* proto kernel .*",  # the kernel's own echo of an address, a second after it
    r"node iptables .*",  # flanneld's own
    r"(?s:node process .*)",
)


class Demo:
    """One run."""

    def __init__(self, cluster: TwoNodes, screen: Screen) -> None:
        self.cluster = cluster
        self.screen = screen
        self.pods: list[Pod] = []

    def tell(self) -> None:
        """The whole story."""
        self._introduce()
        self._start()
        self._start_second()
        self._define()
        before = [node.ledger() for node in self.cluster.nodes]
        self._join()
        print(picture(self.pods))
        self._reach()
        self._look()
        self._refuse()
        self._leave(before)

    def _introduce(self) -> None:
        say = self.screen.say
        self.screen.heading("What this is")
        say(
            "Every pod of a Kubernetes cluster has one network. Some pods shall have a second one: an overlay of its own, for storage, say."
        )
        say("Here are two nodes and a control machine on one switch. kube-apiserver, etcd and flanneld are the real ones; cnitool plays")
        say("the container runtime: it gives a pod its networks by running the executables that were just built, in dist/bin.")

    def _start(self) -> None:
        self.screen.heading("The cluster, and its default network")
        begun = time.perf_counter()
        self.cluster.start_control()
        self.cluster.start_nodes()
        self.screen.outcome(True, f"etcd and kube-apiserver answer after {time.perf_counter() - begun:.0f} s; they know node1 and node2")
        for node in self.cluster.nodes:
            node.start_flanneld()
        for node in self.cluster.nodes:
            subnet = node.subnet_file(SUBNET_FILE)["FLANNEL_SUBNET"]
            self.screen.outcome(True, f"{node.name}: flanneld has written {SUBNET_FILE}: {subnet} of 10.244.0.0/16, VNI {VNIS[0]}")

    def _start_second(self) -> None:
        self.screen.heading("The second overlay")
        self.screen.say(f"An etcd says under {PREFIX} what it is: {SECOND_NETWORK}, VNI {VNIS[1]}. Our agent keeps it on each node:")
        self.screen.quote(AGENT.strip())
        self.screen.command("cni-agent --foreground --config agent.toml")
        for node in self.cluster.nodes:
            node.start_agent()
        for node in self.cluster.nodes:
            subnet = node.subnet_file(SECOND_SUBNET_FILE)["FLANNEL_SUBNET"]
            self.screen.outcome(True, f"{node.name}: the agent has written {SECOND_SUBNET_FILE}: {subnet}")
        one, two = self.cluster.nodes
        one.knows(two)
        two.knows(one)
        self.screen.outcome(True, "each node has heard of the other, in both overlays")

    def _define(self) -> None:
        self.screen.heading("A name for it in Kubernetes")
        self.screen.command("kubectl apply -f flannel2.yaml     # a NetworkAttachmentDefinition, whose spec.config is")
        self.screen.quote(json.dumps(SECOND))
        self.cluster.define()
        for node in self.cluster.nodes:
            node.configure()
        self.screen.outcome(True, "multus-lite is the network of both nodes, with Flannel's as the primary one")

    def _join(self) -> None:
        self.screen.heading("Pods join: web-0 and web-1 ask for the second network, plain does not")
        one, two = self.cluster.nodes
        (key, value), *_ = BOTH.items()
        self.screen.quote(f"metadata:\n  annotations:\n    {key}: {value}")
        for name, node, wanted in (("web-0", one, BOTH), ("web-1", two, BOTH), ("plain", one, {})):
            node.make_pod(name, wanted)
            self.screen.command(f"{node.name}: cnitool add {NETWORK} /run/netns/{name}")
            begun = time.perf_counter()
            problem = node.cnitool("add", name)
            took = (time.perf_counter() - begun) * 1000
            pod = self.cluster.pod(name, node)
            got = ", ".join(f"{interface} {address}" for interface, address in pod.addresses.items())
            self.screen.outcome(len(pod.addresses) == 1 + bool(wanted), f"{name} got {got}{problem} in {took:.0f} ms")
            self.pods.append(pod)

    def _reach(self) -> None:
        self.screen.heading("From node to node, in each network by itself")
        one, two = self.pods[:2]
        for interface, vni in zip(INTERFACES, VNIS, strict=True):
            for source, target in ((one, two), (two, one)):
                with Wire(target.node.machine.node, port=8472) as wire:
                    good = source.reaches(target.addresses[interface])
                    seen = wire.inner_sources(vni)
                self.screen.outcome(
                    good and seen == {source.addresses[interface]},
                    f"{source.name} -> {target.addresses[interface]:<12} {target.name}'s {interface}; "
                    f"on the wire: UDP port 8472, VNI {vni}, from {', '.join(sorted(seen)) or 'nobody'}",
                )

    def _look(self) -> None:
        self.screen.heading("What Kubernetes knows of it")
        self.screen.command("kubectl get pod web-0 --output yaml     # the annotation network-status")
        status = self.cluster.status("web-0")
        self.screen.quote("\n".join(json.dumps(one) for one in status))
        expected = dict(zip(INTERFACES, ("cbr0", "default/flannel2"), strict=True))
        self.screen.outcome({one["interface"]: one["name"] for one in status} == expected, "each interface, with its network and address")
        self.screen.command("kubectl get events")
        events = self.cluster.events("web-0")
        self.screen.quote("\n".join(events))
        self.screen.outcome(len(events) == 1 and "AddedInterface" in events[0], "the pod's event says the same to people")

    def _refuse(self) -> None:
        self.screen.heading("And a pod that asks for a network which is not there?")
        node = self.cluster.nodes[0]
        wrong = {next(iter(BOTH)): "flannel3"}
        node.make_pod("wrong", wrong)
        self.screen.command(f"{node.name}: cnitool add {NETWORK} /run/netns/wrong")
        problem = node.cnitool("add", "wrong")
        self.screen.outcome("flannel3" in problem, "it does not start with half of its networks. Its event says:")
        self.screen.quote("\n".join(self.cluster.events("wrong")))
        node.remove_pod("wrong")

    def _leave(self, before: list[ledger.Snapshot]) -> None:
        self.screen.heading("The pods leave")
        for pod in self.pods:
            self.screen.command(f"{pod.node.name}: cnitool del {NETWORK} /run/netns/{pod.name}")
            problem = pod.node.cnitool("del", pod.name)
            pod.node.remove_pod(pod.name)
            self.screen.outcome(not problem, f"{pod.name} is gone{problem}")
        for node, earlier in zip(self.cluster.nodes, before, strict=True):
            left = ledger.diff(earlier, node.ledger(), ignore=SHARED)
            self.screen.outcome(not left, f"{node.name}: nothing of them is left, no link, address, route, rule, lease or state")
            self.screen.quote("\n".join(left))


def picture(pods: list[Pod]) -> str:
    """The two nodes side by side, each with its pod, bridges and tunnels, and the switch that they are on."""
    one, two = (_drawn(pod) for pod in pods[:2])
    lines = [f"{left}    {right}" for left, right in zip(one, two, strict=True)]
    ends = "".join("╧" if character == "│" else "═" for character in lines[-1])
    label = "switch   192.168.77.0/24   kube-apiserver, etcd"
    return "\n" + "\n".join("    " + line.rstrip() for line in [*lines, ends, f"{label:^{len(ends)}}"])


def _drawn(pod: Pod) -> list[str]:
    """One node and its pod, from top to bottom, with the default network on the left and the second one on the right."""
    node, tunnels, half = pod.node, pod.node.tunnels(), COLUMN // 2
    rows = (
        INTERFACES,
        [pod.addresses[interface] for interface in INTERFACES],
        BRIDGES,
        node.gateways(),
        "││",
        [tunnels[vni] for vni in VNIS],
        [f"VNI {vni}" for vni in VNIS],
        ["by flanneld", "by cni-agent"],
    )
    name, addresses, *below = ("".join(f"{text:^{COLUMN}}" for text in row) for row in rows)
    edge = ("─" * half + "┬" + "─" * half) * 2
    title, both = f" pod {pod.name} ", f"{' ' * half}└{'─' * half}┬{'─' * (half - 1)}┘{' ' * half}"
    own = f"{node.name}   eth0 {node.address}"
    return [
        f"┌{title:─^{2 * COLUMN}}┐",
        f"│{name}│",
        f"│{addresses}│",
        f"└{edge}┘",
        *(f" {row} " for row in (*below, both, f"{own:^{2 * COLUMN}}", " " * COLUMN + "│" + " " * (COLUMN - 1))),
    ]


def tell(screen: Screen) -> None:
    """The story, in a cluster of its own."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as running:
        Demo(TwoNodes(running, Path(directory)), screen).tell()


if __name__ == "__main__":
    outlook = "Next: docs/tutorial-second-overlay.md goes through this in a cluster of yours, step by step."
    sys.exit(perform(tell, target="demo-multinet", programs=["cnitool", "flanneld", "kube-apiserver", "kubectl"], outlook=outlook))
