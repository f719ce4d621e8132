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
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from conformance import ledger
from tests.lab import image
from tests.lab.control_plane import ControlPlane
from tests.lab.machine import Machine, wait_for
from tests.lab.worker import Worker, remove_control_groups

LAN = "192.168.77"
SWITCH, CONTROL, FIRST_WORKER = 254, 1, 11
NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
PODS_NETWORK = "10.244.0.0/16"
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
    """A cluster with `workers` nodes; see the module's text. `directory` must not exist; its logs stay there.

    Pods are networked by a bridge on each node. Another cluster of the lab overrides `conflist` and `connect`.
    """

    allocate_subnets = False
    """Whether Kubernetes gives each node a part of PODS_NETWORK."""

    def __init__(self, plugins: Path, directory: Path, *, workers: int = 2) -> None:
        self.plugins = plugins
        self.directory = directory
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
        self._switch = self._running.enter_context(Machine("switch", self.directory / "switch"))
        self._switch.ip("link add lan type bridge", f"address add {LAN}.{SWITCH}/24 dev lan", "link set lan up")
        pods_network = PODS_NETWORK if self.allocate_subnets else ""
        self.control = ControlPlane(self._machine("control", CONTROL), f"{LAN}.{CONTROL}", pods_network=pods_network)
        archive = self.directory / "busybox.tar"
        image.write(archive)
        for number in range(1, self._count + 1):
            self._add_worker(number, archive)
        self.connect()
        self.wait_until_ready()

    def conflist(self, number: int) -> dict[str, Any] | None:
        """The network configuration list that worker `number`, counted from 1, starts with."""
        return conflist(number)

    @property
    def directory_of_plugins(self) -> Path:
        """Where workers look for CNI executables."""
        return self.plugins

    def connect(self) -> None:
        """Lead packets between the pods of different workers."""
        for number, worker in enumerate(self.workers.values(), 1):
            others = set(range(1, self._count + 1)) - {number}
            worker.machine.ip(*(f"route add {subnet(other)} via {LAN}.{FIRST_WORKER + other - 1}" for other in others))

    def wait_until_ready(self) -> None:
        """Wait until every node is ready to run pods. Raises LabError."""
        wait_for(self._nodes_are_ready, f"nodes are not ready: see {self.directory}/node*/kubelet.log")

    def _machine(self, name: str, number: int) -> Machine:
        machine = self._running.enter_context(Machine(name, self.directory / name))
        machine.plug(self._switch, [f"{LAN}.{number}/24"])
        machine.ip(f"route add default via {LAN}.{SWITCH}")
        return machine

    def _add_worker(self, number: int, archive: Path) -> None:
        name, own = f"node{number}", FIRST_WORKER + number - 1
        self._running.callback(remove_control_groups, self.directory / name)
        machine = self._machine(name, own)
        self.workers[name] = Worker(
            machine,
            address=f"{LAN}.{own}",
            plugins=self.directory_of_plugins,
            conflist=self.conflist(number),
            archive=archive,
            kubeconfig=self.control.kubeconfig,
        )

    def _nodes_are_ready(self) -> bool:
        return self.control.kubectl("get", "nodes", "--no-headers", check=False).count(" Ready") == self._count

    def create_pods(self, group: str, count: int, *, annotations: dict[str, str] | None = None) -> dict[str, Pod]:
        """Make `count` pods called GROUP-0, GROUP-1, …, spread evenly over the workers; returns them by name when all are ready."""
        pods = [_manifest(group, number, annotations or {}) for number in range(count)]
        self.control.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
        self.control.kubectl("wait", "pod", f"--selector=group={group}", "--for=condition=Ready", "--timeout=110s")
        return self.pods(group)

    @contextmanager
    def waiting_pod(self, name: str, *, annotations: dict[str, str]) -> Iterator[None]:
        """A pod, for the length of a block, that need not become ready."""
        wanted = [f"--annotations={key}={value}" for key, value in annotations.items()]
        self.control.kubectl("run", name, f"--image={image.NAME}", "--image-pull-policy=Never", *wanted)
        yield
        self.control.kubectl("delete", "pod", name, "--now")

    def pods(self, group: str) -> dict[str, Pod]:
        """Return the group's pods by name, as the API knows them now."""
        items = self.control.get("pods", f"--selector=group={group}")["items"]
        return {pod.name: pod for pod in map(Pod.read, items)}

    def pods_after(self, group: str, before: dict[str, Pod]) -> dict[str, Pod]:
        """Return the group's pods by name when each of them runs in another container than `before`. Raises LabError."""

        def renewed() -> dict[str, Pod] | None:
            pods = self.control.get("pods", f"--selector=group={group}")["items"]
            if not all(_is_ready(pod) for pod in pods):
                return None
            now = {pod.name: pod for pod in map(Pod.read, pods)}
            return now if all(now[name].container != pod.container for name, pod in before.items()) else None

        return cast(dict[str, Pod], wait_for(renewed, f"the pods of {group} did not start again"))

    def delete_pods(self, group: str) -> None:
        """Delete the group's pods and wait until the API knows them no more."""
        self.control.kubectl("delete", "pod", f"--selector=group={group}", "--wait")

    def unreachable(self, pod: Pod, targets: Iterable[str]) -> list[str]:
        """Ping every target from inside a pod; returns those that did not answer within five seconds."""
        script = 'for target in "$@"; do ping -q -c1 -W5 $target > /dev/null || echo $target; done'
        return self.control.kubectl("exec", pod.name, "--", "sh", "-c", script, "sh", *targets).split()

    def ledgers(self) -> dict[str, ledger.Snapshot]:
        """Return what is on each worker now, as far as a network plugin could have put it there."""
        snapshots = {}
        for name, worker in self.workers.items():
            with worker.machine.node.inside():
                snapshots[name] = ledger.take(directories=PLUGINS_DIRECTORIES)
        return snapshots

    def restart_workers(self) -> None:
        """Restart containerd and kubelet on every worker and wait until its node is ready again."""
        with self.heard_again():
            for worker in self.workers.values():
                worker.restart()

    @contextmanager
    def heard_again(self) -> Iterator[None]:
        """At the end of the block, wait until every node is ready and its kubelet has been heard since the beginning."""
        before = self._heartbeats()
        yield
        wait_for(lambda: self._nodes_are_ready() and not before & self._heartbeats(), "nodes did not come back after a restart")

    def _heartbeats(self) -> set[str]:
        """The moments at which kubelets last renewed their leases."""
        leases = self.control.get("leases", "--namespace=kube-node-lease")["items"]
        return {f"{lease['metadata']['name']} {lease['spec']['renewTime']}" for lease in leases}


@dataclass(frozen=True)
class Pod:
    """A running pod: its name, the worker it runs on, its address, the container in it (another one after a restart), and its address in
    each further network, by interface.
    """

    name: str
    node: str
    address: str
    container: str
    further: dict[str, str]

    @classmethod
    def read(cls, item: dict[str, Any]) -> Pod:
        """Return the pod that an object of the API tells of."""
        status, networks = item["status"], json.loads(item["metadata"].get("annotations", {}).get(NETWORK_STATUS, "[]"))
        further = {one["interface"]: one["ips"][0] for one in networks if not one.get("default")}
        container = status["containerStatuses"][0]["containerID"]
        return cls(item["metadata"]["name"], item["spec"]["nodeName"], status["podIP"], container, further)


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in pod["status"].get("conditions", ()))


def _manifest(group: str, number: int, annotations: dict[str, str]) -> dict[str, Any]:
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
        "metadata": {"name": f"{group}-{number}", "labels": labels, "annotations": annotations},
        "spec": {
            "containers": [container],
            "topologySpreadConstraints": [spread],
            "terminationGracePeriodSeconds": 1,
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
        },
    }
