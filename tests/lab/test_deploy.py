"""What deploy/ has: its image installs the executables, and what it grants in a real API server is enough for a pod's networks and for an
overlay, and each part of it is needed.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from cni_plugins import VERSION
from tests.lab import image
from tests.lab.control_plane import ApiServer
from tests.lab.machine import Machine, wait_for
from tests.lab.overlay_cluster import DEPLOY
from tests.support.inprocess import InProcess
from vxlan.leases.kubernetes import KubernetesStore
from vxlan.leases.network import NetworkConfig
from vxlan.leases.schema import Attributes, Vtep
from vxlan.leases.store import Claim, Snapshot, StoreUnavailable

ADDRESS = "192.168.77.1"
ACCOUNT = ("multus-lite", "--namespace=kube-system")
NETWORKS = {"k8s.v1.cni.cncf.io/networks": "second"}
STATUS = "k8s.v1.cni.cncf.io/network-status"
BRIDGE = {"cniVersion": "1.0.0", "type": "bridge", "bridge": "br1", "ipam": {"type": "host-local", "subnet": "10.1.0.0/24"}}
Right = tuple[str, str]
EVENTS: Right = ("create", "events")
NODE = "one"
PATHS = {
    "pods": "/api/v1/namespaces/default/pods/web",
    "network-attachment-definitions": "/apis/k8s.cni.cncf.io/v1/namespaces/default/network-attachment-definitions/second",
    "pods/status": "/api/v1/namespaces/default/pods/web/status",
}
NODES = ((1, "one"), (2, "two"))


class Account:
    """The service account that deploy/ has, which gets what a manifest grants, less what a test takes away; `kubeconfig` is its."""

    def __init__(self, api: ApiServer, directory: Path) -> None:
        self.api = api
        self.kubeconfig = directory / "kubeconfig"
        data = json.loads(api.kubeconfig.read_text())
        data["users"][0]["user"] = {"token": api.kubectl("create", "token", *ACCOUNT).strip()}
        self.kubeconfig.write_text(json.dumps(data))

    def grant(self, manifest: str, *, without: Right | None = None) -> None:
        """Grant what a manifest does, less one right, and wait until the API server goes by it."""
        objects = manifests(manifest)
        (role,) = [one for one in objects if one["kind"] == "ClusterRole"]
        wanted = rights(manifest)
        for rule in role["rules"]:
            if without and rule["resources"] == [without[1]]:
                rule["verbs"].remove(without[0])
        role["rules"] = [rule for rule in role["rules"] if rule["verbs"]]
        self.api.apply(*objects)
        for right in wanted:
            wait_for(partial(self._is, right, right != without), f"the API server goes on as before with {right}")

    def _is(self, right: Right, allowed: bool) -> bool:
        verb, resource = right
        kind, _, part = resource.partition("/")
        if kind.startswith("network-"):
            kind += ".k8s.cni.cncf.io"
        words = (verb, kind, f"--subresource={part}", "--as=system:serviceaccount:kube-system:multus-lite")
        return (self.api.kubectl("auth", "can-i", *words, check=False).strip() == "yes") == allowed


class Scene:
    """A pod `web` on this node that asks for the network `second`; with `agent` its calls go through an agent."""

    def __init__(self, account: Account, directory: Path, *, agent: bool = False) -> None:
        self.api = api = account.api
        self._kubeconfig = account.kubeconfig
        self.plugins = InProcess(api.machine.node, directory, agent=agent)
        self._sandbox = api.machine.node.container(f"pod{len(api.machine.node.containers)}")
        pod = {"nodeName": NODE, "containers": [{"name": "main", "image": "none"}], "automountServiceAccountToken": False}
        api.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "annotations": NETWORKS}, "spec": pod})
        metadata = api.get("pod", "web")["metadata"]
        self._args = f"K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID={metadata['uid']};K8S_POD_INFRA_CONTAINER_ID=x"

    def call(self, verb: str) -> Any:
        """ADD or DEL of the pod's networks."""
        first = {**BRIDGE, "name": "first", "bridge": "br0", "ipam": {"type": "host-local", "subnet": "10.0.0.0/24"}}
        conf = {"cniVersion": "1.0.0", "name": "multi", "type": "multus", "kubeconfig": str(self._kubeconfig), "delegates": [first]}
        return self.plugins("multus", verb, {**conf, "apiTimeout": 5}, container=self._sandbox, args=self._args)

    def networks(self) -> list[str]:
        """What the pod was told that it has."""
        annotations = self.api.get("pod", "web")["metadata"]["annotations"]
        return [one["name"] for one in json.loads(annotations.get(STATUS, "[]"))]

    def events(self) -> list[str]:
        """Reasons of what happened to the pod."""
        return [event["reason"] for event in self.api.get("events")["items"] if event["involvedObject"]["name"] == "web"]


def manifests(name: str) -> list[dict[str, Any]]:
    """The objects of a file in deploy/."""
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def is_for_the_agent(right: Right) -> bool:
    """Whether calls work without it."""
    return right[0] in ("list", "watch")


def rights(name: str) -> list[Right]:
    """What a manifest lets the account do: (verb, resource)."""
    (role,) = [one for one in manifests(name) if one["kind"] == "ClusterRole"]
    return [(verb, resource) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]]


@pytest.fixture(scope="module")
def api(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One API server for the tests of this module, which knows the definition `second`."""
    with Machine("control", tmp_path_factory.mktemp("lab") / "control") as machine:
        machine.ip(f"address add {ADDRESS}/24 dev lo")
        api = ApiServer(machine, ADDRESS)
        api.apply(*manifests("crd.yaml"), *manifests("rbac.yaml"))
        definition = {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", "metadata": {"name": "second"}}
        text = json.dumps({**definition, "spec": {"config": json.dumps(BRIDGE)}})
        wait_for(lambda: "second" in api.kubectl("apply", "-f", "-", stdin=text, check=False), "the definition is not accepted")
        yield api


@pytest.fixture
def account(api: ApiServer, tmp_path: Path) -> Account:
    """The account, with a token of its own for each test."""
    return Account(api, tmp_path)


@pytest.fixture
def scene(account: Account, tmp_path: Path) -> Iterator[Scene]:
    """A pod of its own for each test."""
    yield Scene(account, tmp_path)
    clear(account.api)


@pytest.fixture
def watched(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """The same with an agent."""
    monkeypatch.setenv("NODE_NAME", NODE)
    scene = Scene(account, tmp_path, agent=True)
    yield scene
    scene.plugins.rest()
    clear(account.api)


def clear(api: ApiServer) -> None:
    """Remove the pod, which no kubelet does, and what is told of it."""
    api.kubectl("delete", "pod", "web", "--force", "--grace-period=0")
    api.kubectl("delete", "events", "--all")


@pytest.fixture
def store(account: Account) -> Iterator[KubernetesStore]:
    """What the agent on node `one` has for a store."""
    account.api.apply(*({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec(number)} for number, name in NODES))
    conf = json.dumps({"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "VNI": 100}})
    network = NetworkConfig.parse(conf, source="net-conf.json", cut=False)
    with account.api.machine.node.inside():
        store = KubernetesStore("one", network, kubeconfig=str(account.kubeconfig))
        yield store
        store.close()
    account.api.kubectl("delete", "nodes", "--all")


def spec(number: int) -> dict[str, Any]:
    """A node's, with its subnet."""
    return {"podCIDR": f"10.5.{number}.0/24", "podCIDRs": [f"10.5.{number}.0/24"]}


def use(store: KubernetesStore, api: ApiServer) -> None:
    """Do all that an agent does: take a lease, say that the network works, list the others, and hear of a change."""
    lease = store.acquire(Claim(Attributes(IPv4Address(ADDRESS), vtep=Vtep(100, "02:00:00:00:00:0b"))))
    store.announce(lease)
    changes = store.watch(None, lambda problem: None)
    assert isinstance(next(changes), Snapshot)
    api.kubectl("label", "node", "two", f"changed={len(api.get('nodes'))}", "--overwrite")
    next(changes)


def test_every_manifest_is_accepted_as_it_stands(api: ApiServer) -> None:
    names = sorted(path.name for path in DEPLOY.glob("*.yaml"))
    assert names == ["crd.yaml", "daemonset.yaml", "rbac-overlay.yaml", "rbac.yaml", "uninstall.yaml"]
    for name in names:
        said = api.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", DEPLOY / name)
        assert len(said.splitlines()) == len(manifests(name))


@pytest.mark.parametrize("name", ["daemonset.yaml", "uninstall.yaml"])
def test_every_container_has_the_image_of_this_version(name: str) -> None:
    (daemonset,) = manifests(name)
    pod = daemonset["spec"]["template"]["spec"]
    assert {container["image"] for container in (*pod["initContainers"], *pod["containers"])} == {f"cni-plugins:{VERSION}"}


def test_the_image_brings_the_executables_to_a_node_and_takes_them_away_again(root: None, plugins: Path, tmp_path: Path) -> None:
    scratch, host = tmp_path / "scratch", tmp_path / "host"
    directory = host / "opt/cni/bin"
    for path in (scratch, directory):
        path.mkdir(parents=True)
    (directory / "bridge").write_text("somebody else's")
    with image.podman_for_images(scratch) as podman:
        image.build_installer(podman, plugins)
        podman.run(image.INSTALLER, "executables", volumes={"/host": host})
        done = subprocess.run([directory / "bridge"], env={"CNI_COMMAND": "VERSION"}, input=b"{}", capture_output=True, check=False)
        assert "1.1.0" in json.loads(done.stdout)["supportedVersions"]
        assert {path.name for path in plugins.iterdir()} <= {path.name for path in directory.iterdir()}
        podman.run(image.INSTALLER, "uninstall", volumes={"/host": host})
    assert [path.name for path in directory.iterdir()] == ["bridge"]
    assert (directory / "bridge").read_text() == "somebody else's"


def test_what_is_granted_is_enough_for_networks_status_and_events(account: Account, scene: Scene) -> None:
    account.grant("rbac.yaml")
    assert scene.call("ADD").result["ips"][0]["address"].startswith("10.0.0.")
    assert scene.networks() == ["first", "default/second"]
    assert scene.events() == ["AddedInterface"]
    assert scene.call("DEL").code == 0


@pytest.mark.parametrize("right", [right for right in rights("rbac.yaml") if right != EVENTS and not is_for_the_agent(right)], ids=" ".join)
def test_without_any_part_of_it_the_pod_gets_no_network_and_hears_which_part_is_lacking(
    account: Account, scene: Scene, right: Right
) -> None:
    account.grant("rbac.yaml", without=right)
    assert f"{right[0].upper()} {PATHS[right[1]]}: 403" in scene.call("ADD").error["msg"]
    assert scene.networks() == []


def test_without_the_right_to_write_events_there_are_none_and_networks_work(account: Account, scene: Scene) -> None:
    account.grant("rbac.yaml", without=EVENTS)
    assert scene.call("ADD").result
    assert scene.events() == []
    assert scene.call("DEL").code == 0


def test_what_is_granted_is_enough_for_an_agent_that_need_not_ask_for_each_pod(account: Account, watched: Scene) -> None:
    account.grant("rbac.yaml")
    answered: list[bool] = []
    memory = watched.plugins.warm.memory
    memory.told = answered.append
    assert watched.call("ADD").result
    wait_for(lambda: all(one.synced for cluster in memory._clusters.values() for one in cluster._watched.values()), "it is not certain")
    assert watched.call("DEL").code == 0
    answered.clear()
    assert watched.call("ADD").result
    assert answered == [True, True]
    assert watched.networks() == ["first", "default/second"]
    assert watched.call("DEL").code == 0


@pytest.mark.parametrize("right", [right for right in rights("rbac.yaml") if is_for_the_agent(right)], ids=" ".join)
def test_without_any_right_of_the_agents_calls_work_and_its_log_says_which_one_is_lacking(
    account: Account, watched: Scene, caplog: pytest.LogCaptureFixture, right: Right
) -> None:
    account.grant("rbac.yaml", without=right)
    assert watched.call("ADD").result
    verb, resource = right
    said = f'cannot {verb} resource "{resource}" in API group "{"" if resource == "pods" else "k8s.cni.cncf.io"}"'
    wait_for(lambda: any(said in record.message for record in caplog.records), f"the log does not say: {said}")
    assert watched.networks() == ["first", "default/second"]
    assert watched.call("DEL").code == 0


def test_what_is_granted_is_enough_for_an_overlay(account: Account, store: KubernetesStore) -> None:
    account.grant("rbac-overlay.yaml")
    use(store, account.api)


@pytest.mark.parametrize("right", rights("rbac-overlay.yaml"), ids=" ".join)
def test_without_any_part_of_it_the_overlay_hears_which_part_is_lacking(account: Account, store: KubernetesStore, right: Right) -> None:
    account.grant("rbac-overlay.yaml", without=right)
    with pytest.raises(StoreUnavailable, match=f'cannot {right[0]} resource "{right[1]}"|403 Forbidden'):
        use(store, account.api)
