"""`kubectl annotate` on a pod that runs, and a real API server: the pod gains and loses the network, and is told so.

What deploy/rbac.yaml grants is enough for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from cni_plugins import RUN_DIR
from cni_plugins.agent.hot_change import HotChange
from cni_plugins.agent.warm import Warm
from tests.lab.control_plane import ApiServer
from tests.lab.machine import Machine, wait_for
from tests.lab.overlay_cluster import DEPLOY
from tests.support.inprocess import InProcess

ADDRESS = "192.168.77.1"
NODE = "control"
NETWORKS, STATUS = "k8s.v1.cni.cncf.io/networks", "k8s.v1.cni.cncf.io/network-status"


def bridge(number: int) -> dict[str, Any]:
    """A network's configuration, without a name."""
    ipam = {"type": "host-local", "subnet": f"10.{number}.0.0/24"}
    return {"cniVersion": "1.0.0", "type": "bridge", "bridge": f"br{number}", "ipam": ipam}


class Pod:
    """The pod `web` on the node that the API server runs on, attached by multus-lite."""

    def __init__(self, api: ApiServer, directory: Path) -> None:
        self.api = api
        self.sandbox = api.machine.node.container("web")
        self.plugins = InProcess(api.machine.node, directory)
        keys = {"kubeconfig": str(_credentials(api, directory)), "delegates": [{**bridge(1), "name": "first"}]}
        self.conf = {"cniVersion": "1.0.0", "name": "multi", "type": "multus-lite", **keys}
        spec = {"nodeName": NODE, "containers": [{"name": "main", "image": "none"}], "automountServiceAccountToken": False}
        api.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec})
        uid = api.get("pod", "web")["metadata"]["uid"]
        self._args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID={uid}"

    def call(self, verb: str) -> None:
        """ADD or DEL, which must succeed."""
        self.plugins.good("multus-lite", verb, self.conf, container=self.sandbox, args=self._args)

    def asks_for(self, text: str) -> None:
        """What its owner does; empty: remove the annotation."""
        self.api.kubectl("annotate", "pod", "web", "--overwrite", f"{NETWORKS}={text}" if text else f"{NETWORKS}-")

    @property
    def networks(self) -> dict[str, str]:
        """What it is told that it has, by interface."""
        status = json.loads(self.api.get("pod", "web")["metadata"]["annotations"].get(STATUS, "[]"))
        return {one["interface"]: one["name"] for one in status}

    @property
    def links(self) -> set[str]:
        """Its interfaces."""
        return {one["ifname"] for one in json.loads(self.sandbox.run(["ip", "-json", "link"]).stdout)} - {"lo"}

    @property
    def events(self) -> set[str]:
        """Why something happened to it."""
        return {event["reason"] for event in self.api.get("events")["items"] if event["involvedObject"]["name"] == "web"}


def _credentials(api: ApiServer, directory: Path) -> Path:
    """A kubeconfig of the account that deploy/ has."""
    account = "system:serviceaccount:kube-system:multus-lite"
    wait_for(
        lambda: api.kubectl("auth", "can-i", "watch", "pods", f"--as={account}", check=False).strip() == "yes", "no right to watch pods"
    )
    data = json.loads(api.kubeconfig.read_text())
    data["users"][0]["user"] = {"token": api.kubectl("create", "token", "multus-lite", "--namespace=kube-system").strip()}
    path = directory / "kubeconfig"
    path.write_text(json.dumps(data))
    return path


@pytest.fixture
def api(root: None, tmp_path: Path) -> Iterator[ApiServer]:
    """An API server that knows the definition `second`, and the test on its machine."""
    with Machine(NODE, tmp_path / "control") as machine:
        machine.ip(f"address add {ADDRESS}/24 dev lo")
        api = ApiServer(machine, ADDRESS)
        for name in ("crd.yaml", "rbac.yaml"):
            api.apply(*yaml.safe_load_all((DEPLOY / name).read_text()))
        definition = {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", "metadata": {"name": "second"}}
        text = json.dumps({**definition, "spec": {"config": json.dumps(bridge(2))}})
        wait_for(lambda: "second" in api.kubectl("apply", "-f", "-", stdin=text, check=False), "the definition is not accepted")
        with machine.node.inside():
            yield api


@pytest.fixture
def pod(api: ApiServer, tmp_path: Path) -> Iterator[Pod]:
    """A pod that runs, on a node whose agent makes changes."""
    pod = Pod(api, tmp_path)
    Path("/etc/cni/net.d/10-multi.conflist").write_text(json.dumps({"cniVersion": "1.0.0", "name": "multi", "plugins": [pod.conf]}))
    pod.call("ADD")
    warm = Warm()
    hot_change = HotChange(warm, run_dir=RUN_DIR, executable=pod.plugins._executable)
    hot_change.start()
    yield pod
    hot_change.stop()
    warm.close()
    pod.plugins.rest()


def test_networks_of_a_running_pod_follow_its_annotation(pod: Pod) -> None:
    pod.asks_for("second, second@data0")
    wait_for(lambda: set(pod.networks) == {"eth0", "net1", "data0"}, "the networks do not come")
    assert pod.links == {"eth0", "net1", "data0"}
    pod.asks_for("missing")
    wait_for(lambda: "FailedNetwork" in pod.events, "no event tells of the failure")
    assert pod.links == {"eth0", "net1", "data0"}
    pod.asks_for("second@data0")
    wait_for(lambda: pod.networks == {"eth0": "first", "data0": "default/second"}, "the network does not go")
    assert pod.links == {"eth0", "data0"}
    pod.asks_for("")
    wait_for(lambda: pod.networks == {"eth0": "first"}, "the network does not go")
    assert pod.events == {"AddedInterface", "RemovedInterface", "FailedNetwork"}
    pod.call("DEL")
    assert pod.links == set()
