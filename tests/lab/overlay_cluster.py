"""A cluster whose pods are networked as our users' are: by Flannel, and by a second overlay for the pods that ask for it.

    default network   leases in Kubernetes, VNI 1, /run/flannel/subnet.env, bridge cni0, 10.244.0.0/16
    flannel2          leases in an etcd, VNI 2, /run/flannel/flannel2.env, bridge cni2, 10.50.0.0/16; a NetworkAttachmentDefinition

Real flanneld keeps the default network. The second one is kept by another flanneld, or by our agent. The executables stand in the node's
own /opt/cni/bin.
"""

from __future__ import annotations

import json
import shutil
from base64 import b64encode
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import installer

from tests.lab import image, peers
from tests.lab.cluster import CONTROL, LAN, PODS_NETWORK, Cluster
from tests.lab.control_plane import PORT
from tests.lab.machine import wait_for
from tests.lab.worker import Worker
from tests.support.paths import REPO

DEPLOY = REPO / "deploy"
BIN = Path("/opt/cni/bin")
ETCD_PORT = 2479
PREFIX, SECOND_NETWORK = "/storage/network", "10.50.0.0/16"
SUBNET_FILE, SECOND_SUBNET_FILE = "/run/flannel/subnet.env", "/run/flannel/flannel2.env"
BRIDGES = ("cni0", "cni2")
NET_CONF = {"Network": PODS_NETWORK, "Backend": {"Type": "vxlan", "VNI": 1}}
PRIMARY: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "name": "cbr0",
    "plugins": [
        {"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}
SECOND = {
    "cniVersion": "1.0.0",
    "type": "flannel",
    "subnetFile": SECOND_SUBNET_FILE,
    "dataDir": "/var/lib/cni/flannel2",
    "delegate": {"bridge": "cni2", "ipMasq": False},
}
DEFINITION = {
    "apiVersion": "k8s.cni.cncf.io/v1",
    "kind": "NetworkAttachmentDefinition",
    "metadata": {"name": "flannel2"},
    "spec": {"config": json.dumps(SECOND)},
}
BOTH = {"k8s.v1.cni.cncf.io/networks": "flannel2"}
AGENT = f"""
[[overlay]]
name = "flannel2"
store = "etcd"
underlay = "eth0"
subnetFile = "{SECOND_SUBNET_FILE}"
ipMasq = false

[overlay.etcd]
endpoints = ["http://{LAN}.{CONTROL}:{ETCD_PORT}"]
prefix = "{PREFIX}"
"""
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
        self._start_etcd()
        self.apply("crd.yaml")
        for worker in self.workers.values():
            self.start_overlays(worker)
        self.wait_for_overlays()
        wait_for(self._is_defined, "the definition is not accepted")
        for worker in self.workers.values():
            self.install(worker)
            self._use_real_multus(worker)

    def _is_defined(self) -> bool:
        return "flannel2" in self.control.kubectl("apply", "-f", "-", stdin=json.dumps(DEFINITION), check=False)

    def apply(self, *manifests: str) -> None:
        """Apply manifests of deploy/."""
        for name in manifests:
            self.control.kubectl("apply", "-f", DEPLOY / name)

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

    def roll_out(self, manifest: str, name: str) -> None:
        """Apply a DaemonSet of deploy/ and wait until it is ready on every node."""
        self.apply(manifest)
        self.control.kubectl("-n", "kube-system", "rollout", "status", f"daemonset/{name}", "--timeout=110s")

    def withdraw(self, *manifests: str) -> None:
        """Delete what is in manifests of deploy/, and wait until it is gone."""
        for name in manifests:
            self.control.kubectl("delete", "--cascade=foreground", "-f", DEPLOY / name)

    def load_installer(self) -> None:
        """Give every node the image that deploy/daemonset.yaml names."""
        archive = self.directory / "installer.tar"
        image.write_installer(archive, self.plugins)
        for worker in self.workers.values():
            worker.load(archive)

    def _start_etcd(self) -> None:
        """An etcd of its own for the second overlay."""
        machine, url = self.control.machine, f"http://{LAN}.{CONTROL}:{ETCD_PORT}"
        clients = (f"--listen-client-urls={url}", f"--advertise-client-urls={url}", "--listen-peer-urls=http://127.0.0.1:2480")
        machine.start("etcd2", "etcd", f"--data-dir={machine.directory}/etcd2", "--unsafe-no-fsync", *clients)
        config = {"Network": SECOND_NETWORK, "Backend": {"Type": "vxlan", "VNI": 2}}
        wait_for(lambda: self._put(url, f"{PREFIX}/config", json.dumps(config)), f"etcd does not answer: see {machine.directory}/etcd2.log")

    def _put(self, url: str, key: str, value: str) -> bool:
        body = json.dumps({"key": b64encode(key.encode()).decode(), "value": b64encode(value.encode()).decode()}).encode()
        try:
            with self.control.machine.node.inside(), urlopen(Request(f"{url}/v3/kv/put", body), timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def start_overlays(self, worker: Worker) -> None:
        """Start the daemons of both overlays on a node that has booted."""
        machine = worker.machine
        machine.run("nft", "-f", "-", stdin=SERVICE)
        worker.write("/etc/cni-plugins/net-conf.json", NET_CONF)
        kubernetes = [f"--kubeconfig-file={self.control.kubeconfig}", "--net-config-path=/etc/cni-plugins/net-conf.json"]
        wait_for(lambda: self._has_subnet(machine.name), f"{machine.name} gets no podCIDR")
        program = peers.program("flanneld")
        machine.start("flanneld", program, "--iface=eth0", "--ip-masq", "--kube-subnet-mgr", *kubernetes, env={"NODE_NAME": machine.name})
        if not self.agent:
            etcd = (f"--etcd-endpoints=http://{LAN}.{CONTROL}:{ETCD_PORT}", f"--etcd-prefix={PREFIX}")
            own = (f"--subnet-file={SECOND_SUBNET_FILE}", "--iptables-forward-rules=false")  # its chains are the first one's too
            machine.start("flanneld2", program, "--iface=eth0", *etcd, *own)

    def wait_for_overlays(self) -> None:
        """Wait until every node has a subnet of each overlay."""
        for name, worker in self.workers.items():
            for file in (SUBNET_FILE, SECOND_SUBNET_FILE):
                wait_for(partial(worker.has, file), f"{name} has no {file}")

    def _has_subnet(self, name: str) -> bool:
        return bool(self.control.kubectl("get", "node", name, "-o", "jsonpath={.spec.podCIDR}", check=False))

    def leave_second_overlay_to_agent(self) -> None:
        """End what keeps the second overlay, and tell the agent, which somebody starts later, to keep it."""
        self.agent = True
        for worker in self.workers.values():
            worker.machine.stop("flanneld2")
            worker.machine.ip("link delete flannel.2")
            with worker.machine.node.inside():
                Path("/etc/cni-plugins/agent.toml").write_text(AGENT)

    def reboot_workers(self) -> None:
        """Take the power from every node, and boot it again. Flannel's DaemonSet writes its configuration first of all."""
        with self.heard_again():
            for worker in self.workers.values():
                worker.write(f"{NET_D}/10-flannel.conflist", PRIMARY)
                worker.reboot()
                self.start_overlays(worker)
            self.wait_for_overlays()
