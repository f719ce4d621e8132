"""The machine that runs Kubernetes' control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler."""

from __future__ import annotations

import json
from typing import Any

from tests.lab import peers
from tests.lab.machine import Machine, wait_for

SERVICE_NETWORK = "10.96.0.0/16"
TOKEN = "the-administrator-of-a-cluster-that-lives-for-a-minute"
PORT = 6443


class ControlPlane:
    """The control plane on `machine`, which has `address`; started when made. Nodes get a part each of `pods_network`, if it is given."""

    def __init__(self, machine: Machine, address: str, *, pods_network: str = "") -> None:
        self.machine = machine
        self.address = address
        self._pods_network = pods_network
        self.kubeconfig = machine.directory / "kubeconfig.json"
        self._write_credentials()
        self._start_store()
        self._start_api()
        self._start_controllers()

    def _write_credentials(self) -> None:
        directory = self.machine.directory
        self.machine.run("openssl", "genrsa", "-out", directory / "service-accounts.key", "2048")
        (directory / "tokens.csv").write_text(f"{TOKEN},admin,1,system:masters\n")
        self.kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "lab",
                    "clusters": [
                        {"name": "lab", "cluster": {"server": f"https://{self.address}:{PORT}", "insecure-skip-tls-verify": True}}
                    ],
                    "users": [{"name": "admin", "user": {"token": TOKEN}}],
                    "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
                }
            )
        )

    def _start_store(self) -> None:
        self.machine.start(
            "etcd",
            "etcd",
            "--data-dir",
            self.machine.directory / "etcd",
            "--unsafe-no-fsync",
            "--listen-client-urls",
            "http://127.0.0.1:2379",
            "--advertise-client-urls",
            "http://127.0.0.1:2379",
            "--listen-peer-urls",
            "http://127.0.0.1:2380",
        )

    def _start_api(self) -> None:
        directory = self.machine.directory
        key = directory / "service-accounts.key"
        self.machine.start(
            "kube-apiserver",
            peers.program("kube-apiserver"),
            "--etcd-servers=http://127.0.0.1:2379",
            f"--secure-port={PORT}",
            f"--advertise-address={self.address}",
            f"--cert-dir={directory}/certificates",
            f"--token-auth-file={directory}/tokens.csv",
            "--service-account-issuer=https://lab",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--disable-admission-plugins=ServiceAccount",
            "--kubelet-preferred-address-types=InternalIP",
        )
        wait_for(
            lambda: self.kubectl("get", "--raw=/readyz", check=False) == "ok",
            f"kube-apiserver is not ready: see {directory}/kube-apiserver.log",
        )

    def _start_controllers(self) -> None:
        common = (f"--kubeconfig={self.kubeconfig}", "--leader-elect=false")
        key = self.machine.directory / "service-accounts.key"
        subnets = ("--allocate-node-cidrs=true", f"--cluster-cidr={self._pods_network}") if self._pods_network else ()
        self.machine.start(
            "kube-controller-manager",
            peers.program("kube-controller-manager"),
            *common,
            *subnets,
            f"--root-ca-file={self.machine.directory}/certificates/apiserver.crt",
            f"--service-account-private-key-file={key}",
            "--controllers=*,-serviceaccount-token-controller",
        )
        self.machine.start("kube-scheduler", peers.program("kube-scheduler"), *common)

    def kubectl(self, *words: object, check: bool = True, stdin: str | None = None) -> str:
        """Run kubectl as the administrator and return what it prints. Raises LabError when `check` is set and it fails."""
        return self.machine.run(peers.program("kubectl"), "--kubeconfig", self.kubeconfig, *words, check=check, stdin=stdin).stdout

    def get(self, *words: object) -> Any:
        """Return what `kubectl get` says, as the API's objects."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))


class ApiServer(ControlPlane):
    """An API server that nobody controls: its user makes nodes and pods, and no token of a service account is ever taken back."""

    def _start_controllers(self) -> None:
        pass

    def apply(self, *objects: dict[str, Any]) -> None:
        """Make objects, or bring them to this state. Raises LabError when one is refused."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
