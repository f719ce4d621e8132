"""A cluster whose pods are networked as our users' are: see two_networks.py. Real flanneld keeps the default network; the second one is
kept by another flanneld, or by our agent. The executables stand in the node's own /opt/cni/bin.
"""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import installer

from tests.lab import image, peers, two_networks
from tests.lab.cluster import CONTROL, LAN, Cluster
from tests.lab.control_plane import PORT
from tests.lab.machine import wait_for
from tests.lab.two_networks import DEFINITION, PRIMARY, SECOND_SUBNET_FILE, SUBNET_FILE
from tests.lab.worker import Worker
from tests.support.paths import REPO

DEPLOY = REPO / "deploy"
BIN = Path("/opt/cni/bin")
SERVICE = f"""
table ip kube-proxy-for-the-api {{
    chain output {{
        type nat hook output priority -100;
        ip daddr 10.96.0.1 tcp dport 443 dnat to {LAN}.{CONTROL}:{PORT}
    }}
}}
"""
NET_D = Path("/etc/cni/net.d")
KUBECONFIG = "/etc/cni/multus-admin.kubeconfig"
MULTUS: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "name": "multus-cni-network",
    "plugins": [{"type": "multus", "kubeconfig": KUBECONFIG, "capabilities": {"portMappings": True}, "delegates": [PRIMARY]}],
}


class OverlayCluster(Cluster):
    """The cluster; see the module's text. At first pods get their networks by real Multus, which calls our plugins."""

    allocate_subnets = True
    agent = False
    """Whether our agent keeps the second overlay; whoever installs it starts it."""

    def conflist(self, number: int) -> dict[str, Any] | None:
        """None yet: it is published when the overlays are there."""
        return None

    @property
    def directory_of_plugins(self) -> Path:
        """The node's own."""
        return BIN

    def connect(self) -> None:
        """Start both overlays, make the second network known, and put real Multus in the place of ours."""
        two_networks.start_etcd(self.control.machine)
        self.control.kubectl("apply", "-f", DEPLOY / "crd.yaml")
        for worker in self.workers.values():
            self.start_overlays(worker)
        self.wait_for_overlays()
        wait_for(self._is_defined, "the definition is not accepted")
        for worker in self.workers.values():
            self.install(worker)
            self._use_real_multus(worker)

    def _is_defined(self) -> bool:
        return "flannel2" in self.control.kubectl("apply", "-f", "-", stdin=json.dumps(DEFINITION), check=False)

    def install(self, worker: Worker) -> None:
        """What `make install` does on a node."""
        with worker.machine.node.inside():
            installer.install(self.plugins, BIN)

    def _use_real_multus(self, worker: Worker) -> None:
        with worker.machine.node.inside():
            (BIN / "multus").unlink()
            shutil.copy(peers.program("multus"), BIN)
        worker.write(KUBECONFIG, json.loads(self.control.kubeconfig.read_text()))
        worker.write(f"{NET_D}/00-multus.conflist", MULTUS)

    def use_flannel_alone(self) -> None:
        """Have every node as it is before anybody installs Multus or ours: its network is flannel's, with the executables of others."""
        for worker in self.workers.values():
            with worker.machine.node.inside():
                for file in (*NET_D.iterdir(), *BIN.iterdir()):
                    shutil.rmtree(file) if file.is_dir() else file.unlink()
                for program in (*peers.directory("cni").iterdir(), peers.program("flannel")):
                    shutil.copy(program, BIN)
            worker.write(f"{NET_D}/10-flannel.conflist", PRIMARY)

    def load_installer(self) -> None:
        """Give every node the image that deploy/daemonset.yaml names."""
        archive = self.directory / "installer.tar"
        image.write_installer(archive, self.plugins)
        for worker in self.workers.values():
            worker.load(archive)

    def start_overlays(self, worker: Worker) -> None:
        """Start the daemons of both overlays on a node that has booted."""
        machine = worker.machine
        machine.run("nft", "-f", "-", stdin=SERVICE)
        wait_for(lambda: self._has_subnet(machine.name), f"{machine.name} gets no podCIDR")
        two_networks.start_flanneld(machine, self.control.kubeconfig)
        if not self.agent:
            etcd = (f"--etcd-endpoints={two_networks.ETCD}", f"--etcd-prefix={two_networks.PREFIX}")
            own = (f"--subnet-file={SECOND_SUBNET_FILE}", "--iptables-forward-rules=false")  # its chains are the first one's too
            machine.start("flanneld2", peers.program("flanneld"), "--iface=eth0", *etcd, *own)

    def wait_for_overlays(self) -> None:
        """Wait until every node has a subnet of each overlay."""
        for name, worker in self.workers.items():
            for file in (SUBNET_FILE, SECOND_SUBNET_FILE):
                wait_for(partial(worker.machine.has, file), f"{name} has no {file}")

    def _has_subnet(self, name: str) -> bool:
        return bool(self.control.kubectl("get", "node", name, "-o", "jsonpath={.spec.podCIDR}", check=False))

    def leave_second_overlay_to_agent(self) -> None:
        """End what keeps the second overlay, and tell the agent, which somebody starts later, to keep it. Pods know of it no more."""
        self.agent = True
        self.control.kubectl("delete", "network-attachment-definition", DEFINITION["metadata"]["name"])
        for worker in self.workers.values():
            worker.machine.stop("flanneld2")
            worker.machine.ip("link delete flannel.2")
            worker.machine.write(two_networks.AGENT_FILE, two_networks.AGENT)

    def reboot_workers(self) -> None:
        """Take the power from every node, and boot it again. Flannel's DaemonSet writes its configuration first of all."""
        with self.heard_again():
            for worker in self.workers.values():
                worker.write(f"{NET_D}/10-flannel.conflist", PRIMARY)
                worker.reboot()
                self.start_overlays(worker)
            self.wait_for_overlays()
