"""The cluster that `make demo-multinet` shows: a real API server, and two nodes with flanneld and our agent. cnitool is their runtime.

control  192.168.77.1     kube-apiserver with its etcd, the etcd of the second overlay; the switch
node1    192.168.77.11    flanneld, cni-agent
node2    192.168.77.12    the same
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from conformance import ledger
from tests.lab import peers, two_networks
from tests.lab.cluster import CONTROL, FIRST_WORKER, LAN, NETWORK_STATUS, PLUGINS_DIRECTORIES
from tests.lab.control_plane import ApiServer
from tests.lab.machine import Machine, wait_for
from tests.lab.two_networks import BRIDGES, PRIMARY, SECOND_SUBNET_FILE, SUBNET_FILE
from tests.support.paths import PLUGIN_DIR, REPO

NETWORK = "multus-cni-network"
PRIMARY_FILE = "/etc/cni/multus/net.d/10-flannel.conflist"


class Pod(NamedTuple):
    """A pod with networks: where it runs, and the address of each of its interfaces."""

    name: str
    node: Node
    addresses: dict[str, str]

    def reaches(self, address: str) -> bool:
        """Whether another pod answers."""
        ping = ("ip", "netns", "exec", self.name, "ping", "-n", "-c1", "-w5", address)
        return self.node.machine.run(*ping, check=False).returncode == 0


class Node:
    """A node on `machine`, which has `address`; it gets a part of the pods' network by its `number`."""

    def __init__(self, machine: Machine, api: ApiServer, *, number: int) -> None:
        self.machine = machine
        self.name = machine.name
        self.address = f"{LAN}.{FIRST_WORKER + number - 1}"
        self._api = api
        subnet = f"10.244.{number}.0/24"
        spec = {"podCIDR": subnet, "podCIDRs": [subnet]}
        api.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}, "spec": spec})

    def configure(self) -> None:
        """Write what deploy/daemonset.yaml writes: multus-lite as the network, with Flannel's as its primary one."""
        plugin = {"type": "multus-lite", "kubeconfig": str(self._api.kubeconfig), "clusterNetwork": PRIMARY_FILE}
        conflist = {"cniVersion": "1.0.0", "name": NETWORK, "plugins": [plugin]}
        self.machine.write(PRIMARY_FILE, json.dumps(PRIMARY))
        self.machine.write("/etc/cni/net.d/00-multus-lite.conflist", json.dumps(conflist))

    def start_flanneld(self) -> None:
        """Start what keeps the default network."""
        two_networks.start_flanneld(self.machine, self._api.kubeconfig)

    def start_agent(self) -> None:
        """Start what keeps the second overlay, and serves the plugins."""
        self.machine.write(two_networks.AGENT_FILE, two_networks.AGENT)
        self.machine.start("agent", PLUGIN_DIR / "cni-agent", "--foreground", "--config", two_networks.AGENT_FILE)

    def subnet_file(self, path: str) -> dict[str, str]:
        """What the subnet file says that an overlay's keeper writes; waits for it. Raises LabError."""
        wait_for(lambda: self.machine.has(path), f"{self.name} has no {path}")
        return dict(line.split("=", 1) for line in self.machine.run("cat", path).stdout.splitlines())

    def knows(self, other: Node) -> None:
        """Wait until both overlays lead to another node. Raises LabError."""
        for path in (SUBNET_FILE, SECOND_SUBNET_FILE):
            gateway = other.subnet_file(path)["FLANNEL_SUBNET"].partition("/")[0]
            wait_for(partial(self._leads_to, gateway), f"{self.name} learns nothing of {other.name}")

    def _leads_to(self, address: str) -> bool:
        (route,) = json.loads(self.machine.run("ip", "-json", "route", "get", address).stdout)
        return bool(route["dev"] != "eth0")

    def tunnels(self) -> dict[int, str]:
        """The VXLAN devices by their VNI, as the kernel has them."""
        links = json.loads(self.machine.run("ip", "-json", "-details", "link", "show", "type", "vxlan").stdout)
        return {link["linkinfo"]["info_data"]["id"]: link["ifname"] for link in links}

    def gateways(self) -> list[str]:
        """The addresses of the networks' bridges."""
        shown = [json.loads(self.machine.run("ip", "-json", "-4", "address", "show", "dev", bridge).stdout)[0] for bridge in BRIDGES]
        return [f"{one['addr_info'][0]['local']}/{one['addr_info'][0]['prefixlen']}" for one in shown]

    def make_pod(self, name: str, annotations: dict[str, str]) -> None:
        """Have a pod in Kubernetes that is to run here, and the network namespace that the runtime makes for it."""
        metadata = {"name": name, "annotations": annotations}
        container = {"name": "main", "image": "none"}
        spec = {"nodeName": self.name, "containers": [container], "automountServiceAccountToken": False}
        self._api.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        self.machine.run("ip", "netns", "add", name)

    def cnitool(self, verb: str, name: str) -> str:
        """Have the runtime do this for a pod. Returns what went wrong, or nothing."""
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID={name}"
        program = (peers.program("cnitool"), verb, NETWORK, f"/run/netns/{name}")
        done = self.machine.run("env", f"CNI_PATH={PLUGIN_DIR}", f"CNI_ARGS={args}", *program, check=False)
        return done.stdout + done.stderr if done.returncode else ""

    def remove_pod(self, name: str) -> None:
        """Take away what `make_pod` made."""
        self.machine.run("ip", "netns", "delete", name)
        self._api.kubectl("delete", "pod", name, "--force", "--grace-period=0")

    def ledger(self) -> ledger.Snapshot:
        """What is on the node, as far as a network plugin could have put it there."""
        with self.machine.node.inside():
            return ledger.take(directories=PLUGINS_DIRECTORIES)


class TwoNodes:
    """The cluster; started step by step. Its files are in `directory`; what it starts ends with `running`."""

    def __init__(self, running: ExitStack, directory: Path) -> None:
        self._running = running
        self._directory = directory
        self.nodes: list[Node] = []

    def start_control(self) -> None:
        """Start the API server, which knows what a network is, and the etcd of the second overlay."""
        machine = self._running.enter_context(Machine("control", self._directory / "control"))
        machine.ip("link add lan type bridge", f"address add {LAN}.{CONTROL}/24 dev lan", "link set lan up")
        two_networks.start_etcd(machine)
        self.api = ApiServer(machine, f"{LAN}.{CONTROL}")
        self.api.kubectl("apply", "-f", REPO / "deploy" / "crd.yaml")

    def start_nodes(self) -> None:
        """Boot the nodes, without daemons."""
        for number in (1, 2):
            name, address = f"node{number}", f"{LAN}.{FIRST_WORKER + number - 1}"
            machine = self._running.enter_context(Machine(name, self._directory / name))
            machine.plug(self.api.machine, [f"{address}/24"])
            machine.ip(f"route add default via {LAN}.{CONTROL}")
            self.nodes.append(Node(machine, self.api, number=number))

    def define(self) -> None:
        """Make the NetworkAttachmentDefinition, as soon as the API server has taken in what that is. Raises LabError."""
        text = json.dumps(two_networks.DEFINITION)
        accepted = partial(self.api.kubectl, "apply", "-f", "-", check=False, stdin=text)
        wait_for(lambda: "flannel2" in accepted(), "the definition is not accepted")

    def pod(self, name: str, node: Node) -> Pod:
        """A pod that has its networks, with the addresses that network-status has."""
        return Pod(name, node, {one["interface"]: one["ips"][0] for one in self.status(name)})

    def status(self, name: str) -> list[dict[str, Any]]:
        """What multus-lite wrote on a pod: its annotation network-status."""
        return list(json.loads(self.api.get("pod", name)["metadata"]["annotations"].get(NETWORK_STATUS, "[]")))

    def events(self, name: str) -> list[str]:
        """What happened to a pod, in the words that the API has."""
        events = self.api.get("events", f"--field-selector=involvedObject.name={name}")["items"]
        return [f"{event['type']:<8} {event['reason']:<15} {event['message']}" for event in events]
