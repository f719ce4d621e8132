"""A real Kubernetes cluster in namespaces of this machine, whose pods are networked by the CNI plugins under test.

    switch (a bridge "lan", 192.168.77.0/24)
      ├── control  .1   etcd, kube-apiserver, kube-controller-manager, kube-scheduler
      ├── node1    .11  containerd, kubelet, the plugins
      └── node2    .12  …

    with Cluster(plugins, directory) as cluster:
        pods = cluster.create_pods("web", 2)

Nothing is changed in the machine's own network namespace, and several clusters may run at once. It needs root, the Kubernetes peers
(`make peers`), and Debian's etcd-server, containerd, runc, nftables, openssl and busybox-static.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from conformance import ledger
from tests.lab import image
from tests.lab.control_plane import ControlPlane
from tests.lab.machine import Machine, wait_for
from tests.lab.worker import Worker, remove_control_groups

LAN = "192.168.77"
SWITCH, CONTROL, FIRST_WORKER = 254, 1, 11
PLUGINS_DIRECTORIES = ("/var/lib/cni", "/run/cni-plugins")


def subnet(number: int) -> str:
    """Return the pods' subnet on worker `number`, counted from 1."""
    return f"10.244.{number}.0/24"


def gateway(number: int) -> str:
    """Return the pods' gateway on worker `number`, counted from 1."""
    return f"10.244.{number}.1"


def conflist(number: int) -> dict[str, Any]:
    """Return the network configuration list of worker `number`, counted from 1: a bridge with masquerade."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": subnet(number)}]]}
    bridge = {"type": "bridge", "bridge": "cbr0", "isDefaultGateway": True, "ipMasq": True, "hairpinMode": True, "ipam": ipam}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}


class Cluster:
    """A cluster with `workers` nodes; see the module's text. `directory` must not exist; its logs stay there."""

    def __init__(self, plugins: Path, directory: Path, *, workers: int = 2) -> None:
        self._plugins = plugins
        self._directory = directory
        self._count = workers
        self._running = ExitStack()
        self.workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _start(self) -> None:
        self._switch = self._running.enter_context(Machine("switch", self._directory / "switch"))
        self._switch.ip("link add lan type bridge", f"address add {LAN}.{SWITCH}/24 dev lan", "link set lan up")
        self._control = ControlPlane(self._machine("control", CONTROL), f"{LAN}.{CONTROL}")
        archive = self._directory / "busybox.tar"
        image.write(archive)
        for number in range(1, self._count + 1):
            self._add_worker(number, archive)
        wait_for(self._nodes_are_ready, f"nodes are not ready: see {self._directory}/node*/kubelet.log")

    def _machine(self, name: str, number: int) -> Machine:
        machine = self._running.enter_context(Machine(name, self._directory / name))
        machine.plug(self._switch, [f"{LAN}.{number}/24"])
        machine.ip(f"route add default via {LAN}.{SWITCH}")
        return machine

    def _add_worker(self, number: int, archive: Path) -> None:
        name, own = f"node{number}", FIRST_WORKER + number - 1
        self._running.callback(remove_control_groups, self._directory / name)
        machine = self._machine(name, own)
        for other in range(1, self._count + 1):
            if other != number:
                machine.ip(f"route add {subnet(other)} via {LAN}.{FIRST_WORKER + other - 1}")
        self.workers[name] = Worker(
            machine,
            address=f"{LAN}.{own}",
            plugins=self._plugins,
            conflist=conflist(number),
            archive=archive,
            kubeconfig=self._control.kubeconfig,
        )

    def _nodes_are_ready(self) -> bool:
        return self._control.kubectl("get", "nodes", "--no-headers", check=False).count(" Ready") == self._count

    def create_pods(self, group: str, count: int) -> dict[str, Pod]:
        """Make `count` pods called GROUP-0, GROUP-1, …, spread evenly over the workers; returns them by name when all are ready."""
        pods = [_manifest(group, number) for number in range(count)]
        self._control.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
        self._control.kubectl("wait", "pod", f"--selector=group={group}", "--for=condition=Ready", "--timeout=110s")
        return self.pods(group)

    def pods(self, group: str) -> dict[str, Pod]:
        """Return the group's pods by name, as the API knows them now."""
        items = self._control.get("pods", f"--selector=group={group}")["items"]
        return {pod.name: pod for pod in map(Pod.read, items)}

    def delete_pods(self, group: str) -> None:
        """Delete the group's pods and wait until the API knows them no more."""
        self._control.kubectl("delete", "pod", f"--selector=group={group}", "--wait")

    def unreachable(self, pod: Pod, targets: Iterable[str]) -> list[str]:
        """Ping every target from inside a pod; returns those that did not answer within five seconds."""
        script = 'for target in "$@"; do ping -q -c1 -W5 $target > /dev/null || echo $target; done'
        return self._control.kubectl("exec", pod.name, "--", "sh", "-c", script, "sh", *targets).split()

    def ledgers(self) -> dict[str, ledger.Snapshot]:
        """Return what is on each worker now, as far as a network plugin could have put it there."""
        snapshots = {}
        for name, worker in self.workers.items():
            with worker.machine.node.inside():
                snapshots[name] = ledger.take(directories=PLUGINS_DIRECTORIES)
        return snapshots

    def restart_workers(self) -> None:
        """Restart containerd and kubelet on every worker and wait until its node is ready again."""
        before = self._heartbeats()
        for worker in self.workers.values():
            worker.restart()
        wait_for(lambda: self._nodes_are_ready() and not before & self._heartbeats(), "nodes did not come back after a restart")

    def _heartbeats(self) -> set[str]:
        """The moments at which kubelets last renewed their leases."""
        leases = self._control.get("leases", "--namespace=kube-node-lease")["items"]
        return {f"{lease['metadata']['name']} {lease['spec']['renewTime']}" for lease in leases}


@dataclass(frozen=True)
class Pod:
    """A running pod: its name, the worker it runs on, its address, and the container in it (another one after a restart)."""

    name: str
    node: str
    address: str
    container: str

    @classmethod
    def read(cls, item: dict[str, Any]) -> Pod:
        """Return the pod that an object of the API tells of."""
        status = item["status"]
        return cls(item["metadata"]["name"], item["spec"]["nodeName"], status["podIP"], status["containerStatuses"][0]["containerID"])


def _manifest(group: str, number: int) -> dict[str, Any]:
    labels = {"group": group}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }
    container = {"name": "main", "image": image.NAME, "imagePullPolicy": "Never"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{group}-{number}", "labels": labels},
        "spec": {
            "containers": [container],
            "topologySpreadConstraints": [spread],
            "terminationGracePeriodSeconds": 1,
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
        },
    }
