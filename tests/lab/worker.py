"""A machine that runs pods: containerd and kubelet, with the CNI plugins under test."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.lab import image, peers
from tests.lab.machine import Machine, wait_for

SOCKET = "/run/containerd/containerd.sock"
TASKS = "state/io.containerd.runtime.v2.task/k8s.io/*"
CONTAINERD = """version = 2
root = "{directory}/containerd"
state = "{directory}/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
KUBELET: dict[str, Any] = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "cgroupDriver": "cgroupfs",
    "containerRuntimeEndpoint": f"unix://{SOCKET}",
    "failSwapOn": False,
    "failCgroupV1": False,
    "oomScoreAdj": 0,
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "cgroupsPerQOS": False,
    "enforceNodeAllocatable": [],
    "localStorageCapacityIsolation": False,
    "evictionHard": {"memory.available": "1Mi"},
    "syncFrequency": "2s",
    "nodeStatusUpdateFrequency": "2s",
    "maxPods": 110,
}


class Worker:
    """A Kubernetes node on `machine`; started when made.

    `plugins` is the directory of the CNI executables, `conflist` the network's configuration list (None: it is written later), `archive`
    the image's file, `kubeconfig` says where the API is, `address` is the machine's own.
    """

    def __init__(
        self, machine: Machine, *, address: str, plugins: Path, conflist: dict[str, Any] | None, archive: Path, kubeconfig: Path
    ) -> None:
        self.machine = machine
        self.address = address
        self._kubeconfig = kubeconfig
        self._write_configuration(plugins, conflist)
        self.start_containerd()
        self.load(archive)
        self.start_kubelet()

    def _write_configuration(self, plugins: Path, conflist: dict[str, Any] | None) -> None:
        directory = self.machine.directory
        if conflist is not None:
            self.write("/etc/cni/net.d/10-pods.conflist", conflist)
        text = CONTAINERD.format(directory=directory, socket=SOCKET, image=image.NAME, plugins=plugins)
        (directory / "containerd.toml").write_text(text)
        (directory / "kubelet.json").write_text(json.dumps(KUBELET))

    def write(self, path: str, value: Any) -> None:
        """Write a file of the machine's own, as JSON; its directory is made."""
        self.machine.write(path, json.dumps(value))

    def start_containerd(self) -> None:
        """Start containerd and wait until it answers."""
        directory = self.machine.directory
        self.machine.start("containerd", "containerd", "--config", directory / "containerd.toml")
        wait_for(lambda: self.ctr("version").returncode == 0, f"containerd does not answer: see {directory}/containerd.log")

    def start_kubelet(self) -> None:
        """Start kubelet; its node becomes ready later."""
        directory, name = self.machine.directory, self.machine.name
        self.machine.start(
            "kubelet",
            peers.program("kubelet"),
            "--config",
            directory / "kubelet.json",
            "--kubeconfig",
            self._kubeconfig,
            "--hostname-override",
            name,
            "--root-dir",
            "/var/lib/kubelet",
            "--node-ip",
            self.address,
            "--cert-dir",
            directory / "certificates",
        )

    def restart(self) -> None:
        """Restart containerd and kubelet, as an upgrade of a node's software does; pods go on running meanwhile."""
        self.machine.stop("kubelet")
        self.machine.stop("containerd")
        self.start_containerd()
        self.start_kubelet()

    def reboot(self) -> None:
        """Lose power and boot again, pods included; kubelet makes them anew."""
        self.machine.reboot()
        shutil.rmtree(self.machine.directory / "state")  # which is in /run as a rule
        self.start_containerd()
        self.start_kubelet()

    def ctr(self, *words: object) -> Any:
        """Run containerd's own client in Kubernetes' namespace of containers."""
        return self.machine.run("ctr", "--address", SOCKET, "--namespace", "k8s.io", *words, check=False)

    def load(self, archive: Path) -> None:
        """Give containerd the image in an OCI archive."""
        done = self.ctr("images", "import", archive)
        assert done.returncode == 0, f"the image was not imported: {done.stdout}{done.stderr}"


def remove_control_groups(directory: Path) -> None:
    """Remove what pods that never ended left in the computer's own control groups.

    `directory` is that of a machine that is gone; what was running on it stands in containerd's state there.
    """
    for task in directory.glob(TASKS):
        for group in Path("/sys/fs/cgroup").glob(f"**/k8s.io/{task.name}"):
            with suppress(OSError):
                group.rmdir()
