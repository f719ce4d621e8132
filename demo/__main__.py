"""The story that `make demo` tells: three containers on a bridge, from the first to the last trace of them.

Everything happens in network and mount namespaces of the demo's own; the machine's network is never touched.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from conformance import ledger
from demo.screen import Box, Screen, picture
from demo.stage import perform
from tests.e2e.cnitool import Cnitool, CnitoolError
from tests.support.netns import Container, Outside
from tests.support.node import Node
from tests.support.paths import PLUGIN_DIR

NETWORK = "demo"
BRIDGE = "cbr0"
PLUGINS: list[dict[str, Any]] = [
    {
        "type": "bridge",
        "bridge": BRIDGE,
        "isDefaultGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.22.0.0/24"}], [{"subnet": "fd22::/64"}]]},
    }
]
#: What stays by design when the last container has gone, as in the reference: the bridge, and files that are only there to be locked.
SHARED = (
    ledger.about_link(BRIDGE),
    r"node sysctl .*",
    r"node nftables table inet cni_plugins( / (map|set|chain) (?!.* / .* comment ).*)?",
    r"node file /run/cni-plugins(/lock|/records)?",
    rf"node file /var/lib/cni/(results|networks(/{NETWORK}(/lock|/last_reserved_ip\.\d|/\.by-id)?)?)",
    r"node route (anycast|multicast|local) .* proto kernel .*",  # the kernel's own echo of an address, a second after it
)


class Demo:
    """One run."""

    def __init__(self, node: Node, screen: Screen) -> None:
        self.node = node
        self.screen = screen
        self.outside: Outside = node.outside()
        self.containers: list[Container] = []
        self.results: list[dict[str, Any]] = []

    def tell(self) -> None:
        """The whole story."""
        before = ledger.take()
        self.network = Cnitool(self.node, [PLUGIN_DIR], name=NETWORK, plugins=PLUGINS)
        self._introduce()
        self._add()
        self._draw()
        self._reach()
        self._check()
        self._delete(before)

    def _introduce(self) -> None:
        say = self.screen.say
        self.screen.heading("What this is")
        say("A container runtime gives a container its network by running an executable: a CNI plugin.")
        say("Here cnitool plays the runtime, and runs the executables that were just built, in dist/bin.")
        say(f"The network: a bridge {BRIDGE}, IPv4 and IPv6 addresses from host-local, masquerading to the outside.")

    def _add(self) -> None:
        self.screen.heading("ADD: three containers join the network")
        for name in ("web", "app", "db"):
            container = self.node.container(name)
            self.screen.command(f"cnitool add {NETWORK} {container.path}")
            begun = time.perf_counter()
            result = self.network.add(container)
            took = (time.perf_counter() - begun) * 1000
            addresses = " and ".join(ip["address"] for ip in result["ips"])
            self.screen.outcome(len(result["ips"]) == 2, f"{name} got {addresses} in {took:.0f} ms")
            self.containers.append(container)
            self.results.append(result)

    def _draw(self) -> None:
        self.screen.heading("Who is wired to whom")
        boxes = [
            Box(container.name, [ip["address"] for ip in result["ips"]], result["interfaces"][1]["name"])
            for container, result in zip(self.containers, self.results, strict=True)
        ]
        gateways = [ip["gateway"] for ip in self.results[0]["ips"]]
        print(picture(boxes, bridge=BRIDGE, gateways=gateways, uplink=self.outside.addresses))

    def _reach(self) -> None:
        self.screen.heading("Can they talk?")
        web, app, db = self.containers
        for source, target, addresses in (
            (web, "app", self._addresses(1)),
            (app, "db", self._addresses(2)),
            (db, "its gateway", [ip["gateway"] for ip in self.results[2]["ips"]]),
            (web, "the outside host, which knows no route back: masquerading works", self.outside.addresses),
        ):
            for address in addresses:
                done = source.run(["ping", "-n", "-c", "1", "-W", "2", address], check=False)
                self.screen.outcome(done.returncode == 0, f"{source.name} -> {address:<12} {target}")

    def _addresses(self, number: int) -> Sequence[str]:
        return [ip["address"].partition("/")[0] for ip in self.results[number]["ips"]]

    def _check(self) -> None:
        self.screen.heading("CHECK: is everything still as ADD left it?")
        web = self.containers[0]
        self.screen.command(f"cnitool check {NETWORK} {web.path}")
        self.screen.outcome(self._complaint(web) == "", "nothing has changed")
        self.screen.say("Now somebody takes the container's default route and its port on the bridge away …")
        web.run(["ip", "route", "delete", "default"])
        self.node.run(["ip", "link", "set", self.results[0]["interfaces"][1]["name"], "nomaster"])
        self.screen.command(f"cnitool check {NETWORK} {web.path}")
        complaint = self._complaint(web)
        self.screen.outcome("route" in complaint and BRIDGE in complaint, "CHECK names both:")
        self.screen.quote(complaint.replace("; ", "\n"))

    def _complaint(self, container: Container) -> str:
        try:
            self.network.check(container)
        except CnitoolError as error:
            return next(line for line in str(error).splitlines() if "Error:" in line or "error:" in line).rpartition("rror: ")[2]
        return ""

    def _delete(self, before: ledger.Snapshot) -> None:
        self.screen.heading("DEL: the containers leave")
        for container in self.containers:
            self.screen.command(f"cnitool del {NETWORK} {container.path}")
            self.network.delete(container)
            container.delete()
        left = ledger.diff(before, ledger.take(), ignore=SHARED)
        self.screen.outcome(not left, "nothing of them is left: no link, address, route, rule or file of theirs")
        self.screen.quote("\n".join(left))
        leases = self.node.run(["sh", "-c", f"ls /var/lib/cni/networks/{NETWORK} | grep -c -e '^10[.]' -e '^fd' || true"]).stdout.strip()
        elements = self.node.run(["sh", "-c", "nft list ruleset | grep -c comment || true"]).stdout.strip()
        self.screen.outcome(
            leases == "0" and elements == "0", f"leases: {leases}, elements in nftables: {elements}; the bridge stays for the next one"
        )


def tell(screen: Screen) -> None:
    """The story, on a node of its own."""
    with Node(name="demo-node") as node:
        Demo(node, screen).tell()


if __name__ == "__main__":
    outlook = "Next: README.md says how to install these executables for podman, containerd or kubelet."
    sys.exit(perform(tell, target="demo", programs=["cnitool"], outlook=outlook))
