"""What our users run, as their files have it: a default network by Flannel, and a second overlay for the pods that ask for it.

default network   leases in Kubernetes, VNI 1, /run/flannel/subnet.env, bridge cni0, 10.244.0.0/16
flannel2          leases in an etcd, VNI 2, /run/flannel/flannel2.env, bridge cni2, 10.50.0.0/16; a NetworkAttachmentDefinition
"""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tests.lab import peers
from tests.lab.cluster import CONTROL, LAN, PODS_NETWORK
from tests.lab.machine import Machine, wait_for

VNIS = (1, 2)
BRIDGES = ("cni0", "cni2")
SUBNET_FILE, SECOND_SUBNET_FILE = "/run/flannel/subnet.env", "/run/flannel/flannel2.env"
ETCD = f"http://{LAN}.{CONTROL}:2479"
PREFIX, SECOND_NETWORK = "/storage/network", "10.50.0.0/16"
AGENT_FILE, NET_CONF_FILE = "/etc/cni-plugins/agent.toml", "/etc/cni-plugins/net-conf.json"
NET_CONF = {"Network": PODS_NETWORK, "Backend": {"Type": "vxlan", "VNI": VNIS[0]}}
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
    "delegate": {"bridge": BRIDGES[1], "ipMasq": False},
}
DEFINITION: dict[str, Any] = {
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
endpoints = ["{ETCD}"]
prefix = "{PREFIX}"
"""


def start_etcd(machine: Machine) -> None:
    """Start the etcd of the second overlay on the control machine, and write there what network it is. Raises LabError."""
    clients = (f"--listen-client-urls={ETCD}", f"--advertise-client-urls={ETCD}", "--listen-peer-urls=http://127.0.0.1:2480")
    machine.start("etcd2", "etcd", f"--data-dir={machine.directory}/etcd2", "--unsafe-no-fsync", *clients)
    config = {"Network": SECOND_NETWORK, "Backend": {"Type": "vxlan", "VNI": VNIS[1]}}
    failure = f"etcd does not answer: see {machine.directory}/etcd2.log"
    wait_for(lambda: _put(machine, f"{PREFIX}/config", json.dumps(config)), failure)


def _put(machine: Machine, key: str, value: str) -> bool:
    body = json.dumps({"key": b64encode(key.encode()).decode(), "value": b64encode(value.encode()).decode()}).encode()
    try:
        with machine.node.inside(), urlopen(Request(f"{ETCD}/v3/kv/put", body), timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def start_flanneld(machine: Machine, kubeconfig: Path) -> None:
    """Start what keeps the default network of a node, which has its part of the pods' network by now."""
    machine.write(NET_CONF_FILE, json.dumps(NET_CONF))
    store = ("--kube-subnet-mgr", f"--kubeconfig-file={kubeconfig}", f"--net-config-path={NET_CONF_FILE}")
    machine.start("flanneld", peers.program("flanneld"), "--iface=eth0", "--ip-masq", *store, env={"NODE_NAME": machine.name})
