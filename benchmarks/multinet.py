"""Pods with three networks besides their default one, on a real API server: multus-lite beside Multus with the reference plugins.

python -m benchmarks.multinet [-n TIMES]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.table import HEAD, Row
from benchmarks.timing import Run, Series, in_turn, run
from tests.e2e.agents import Agent
from tests.lab import peers
from tests.lab.control_plane import ApiServer
from tests.lab.machine import Machine
from tests.support.paths import PLUGIN_DIR

ADDRESS = "192.168.77.1"
NETWORKS = ("one", "two", "three")
WARM_UP = 2
FROM_MEMORY = "cni_kubernetes_lookups_total{answered_by=memory}"
NAMESPACE = "default"
ANNOTATION = {"k8s.v1.cni.cncf.io/networks": ", ".join(NETWORKS)}
DEFINITION = "customresourcedefinition.apiextensions.k8s.io/network-attachment-definitions.k8s.cni.cncf.io"
CRD = Path(__file__).parents[1] / "deploy" / "crd.yaml"


def bridge(name: str, number: int, **keys: Any) -> dict[str, Any]:
    """A network on a bridge of its own."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": f"10.{number}.0.0/16"}]]}
    return {"cniVersion": "1.0.0", "name": name, "type": "bridge", "bridge": f"br-{name}", "isGateway": True, "ipam": ipam, **keys}


class Contender:
    """A node whose pods get their networks from the plugins in `directory`; with `agent` its `cni-agent` runs beside them."""

    def __init__(self, name: str, directory: Path, *, agent: bool = False) -> None:
        self.name = name
        self.directory = directory
        self.agent = agent
        self._open = ExitStack()

    @contextmanager
    def on(self, machine: Machine, api: ApiServer, *, pods: int) -> Iterator[None]:
        """Have pods, and serve them from here on."""
        self._node = machine.node
        self._kubeconfig = machine.directory / "kubeconfig"
        self._kubeconfig.write_text(json.dumps(credentials(api)))
        api.apply(*(pod(f"{self.name}{number}", self.name) for number in range(pods)))
        self._uids = {one["metadata"]["name"]: one["metadata"]["uid"] for one in api.get("pods")["items"]}
        if not self.agent:
            yield
            return
        with Agent(self._node, self.directory) as agent:
            while FROM_MEMORY not in agent.metrics():
                self.add(0)
            yield

    def call(self, verb: str, number: int) -> Run:
        """One call for the networks of one pod."""
        name = f"{self.name}{number}"
        with self._node.inside():
            if name not in self._node.containers:
                self._node.container(name)
            args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={NAMESPACE};K8S_POD_NAME={name};K8S_POD_UID={self._uids[name]}"
            env = self._node.cni_env(verb, container=self._node.containers[name], path=self.directory, args=args)
            default = bridge("default", 9, isDefaultGateway=True, ipMasq=True)
            conf = {"cniVersion": "1.0.0", "name": "multi", "type": "multus", "binDir": str(self.directory), "delegates": [default]}
            stdin = json.dumps({**conf, "kubeconfig": str(self._kubeconfig)}).encode()
            return run([str(self.directory / "multus")], env=env, stdin=stdin)

    def add(self, number: int) -> Run:
        """An ADD, with a DEL afterwards that does not count."""
        measured = self.call("ADD", number)
        self.call("DEL", number)
        return measured

    def delete(self, number: int) -> Run:
        """A DEL, after an ADD that does not count."""
        self.call("ADD", number)
        return self.call("DEL", number)


def credentials(api: ApiServer) -> dict[str, Any]:
    """A kubeconfig that trusts the API server by its certificate, as on a real node."""
    data: dict[str, Any] = json.loads(api.kubeconfig.read_text())
    del data["clusters"][0]["cluster"]["insecure-skip-tls-verify"]
    data["clusters"][0]["cluster"]["certificate-authority"] = str(api.machine.directory / "certificates" / "apiserver.crt")
    return data


def pod(name: str, node: str) -> dict[str, Any]:
    """A pod that wants all networks, on a node."""
    spec = {"nodeName": node, "containers": [{"name": "main", "image": "none"}], "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": ANNOTATION}, "spec": spec}


def reference() -> Path:
    """A directory with Multus and the reference plugins, as a node has them."""
    plugins = Path(tempfile.mkdtemp(prefix="reference-"))
    for file in (*peers.program("bridge").parent.iterdir(), peers.program("multus")):
        shutil.copy(file, plugins)
    return plugins


def measure(contenders: list[Contender], directory: Path, *, times: int) -> dict[str, dict[str, Series]]:
    """Every contender's ADDs and DELs, in turn."""
    with ExitStack() as stack:
        control = stack.enter_context(Machine("control", directory / "control"))
        control.ip("link add lan type bridge forward_delay 0", f"address add {ADDRESS}/24 dev lan", "link set lan up")
        control.ip(f"route add default via {ADDRESS}")
        api = ApiServer(control, ADDRESS)
        api.kubectl("apply", "-f", CRD)
        api.kubectl("wait", "--for=condition=established", "--timeout=60s", DEFINITION)
        kind = {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition"}
        for number, name in enumerate(NETWORKS, 1):
            api.apply({**kind, "metadata": {"name": name}, "spec": {"config": json.dumps(bridge(name, number))}})
        for number, contender in enumerate(contenders, 11):
            machine = stack.enter_context(Machine(contender.name, directory / contender.name))
            machine.plug(control, [f"192.168.77.{number}/24"])
            stack.enter_context(contender.on(machine, api, pods=times + WARM_UP))
        found = {}
        for verb in ("ADD", "DEL"):
            series = {one.name: Series(one.name, one.add if verb == "ADD" else one.delete) for one in contenders}
            in_turn(list(series.values()), times=times, warm_up=WARM_UP)
            found[verb] = series
    return found


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.multinet", description=__doc__)
    parser.add_argument("-n", type=int, default=25, dest="times", help="counted runs of each contender (default 25)")
    options = parser.parse_args()
    theirs = reference()
    contenders = [Contender("agent", PLUGIN_DIR, agent=True), Contender("cold", PLUGIN_DIR), Contender("reference", theirs)]
    try:
        with tempfile.TemporaryDirectory() as directory:
            found = measure(contenders, Path(directory), times=options.times)
    finally:
        shutil.rmtree(theirs)
    print(HEAD)
    for verb, targets in (("ADD", {"agent": 0.5, "cold": 1.2}), ("DEL", {"agent": 0.4, "cold": 1.2})):
        series = found[verb]
        for who, target in targets.items():
            print(Row(f"{verb}, four networks", who, series[who].ms, "Multus, reference", series["reference"].ms, target))
    return 0


if __name__ == "__main__":
    sys.exit(main())
