"""The built agent changes the networks of a pod that runs, by plugins of its own that it calls in its own process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance import ledger
from tests.e2e.agents import Agent
from tests.netns.multus_lite.api_server import ApiServer
from tests.netns.multus_lite.certificates import make_certificates
from tests.netns.multus_lite.scene import ARGS, SHARED, bridge, links
from tests.netns.overlay.keeping import until
from tests.support.node import Node


@pytest.fixture
def api(node: Node, tmp_path: Path) -> Iterator[ApiServer]:
    """An API server on the node that has the pod default/web and the definition `two`."""
    node.run(["ip", "link", "set", "lo", "up"])
    with node.inside():
        api = ApiServer(make_certificates(tmp_path))
    api.watchable = True
    api.pod()
    api.define("two", bridge(2))
    yield api
    api.stop()


def test_running_pod_gains_and_loses_a_network(node: Node, plugin_dir: Path, api: ApiServer, tmp_path: Path) -> None:
    keys = {"kubeconfig": str(api.kubeconfig(tmp_path / "kubeconfig")), "binDir": str(plugin_dir), "apiTimeout": 30}
    conf = {"cniVersion": "1.1.0", "name": "multi", "type": "multus-lite", "delegates": [bridge(1)], **keys}
    configured = {"cniVersion": "1.1.0", "name": "multi", "plugins": [conf]}
    (tmp_path / "agent.toml").write_text("[multus]\nhotChange = true\n")
    pod = node.container("pod")
    with node.inside():
        Path("/etc/cni/net.d/10-multi.conflist").write_text(json.dumps(configured))
    with Agent(node, plugin_dir, "--config", str(tmp_path / "agent.toml")):
        before = node.ledger()
        assert node.cni("multus-lite", "ADD", conf, container=pod, args=ARGS).code == 0
        api.annotate("two")
        until(lambda: [one["interface"] for one in api.status()] == ["eth0", "net1"], "the network does not come")
        assert links(pod) == {"eth0": ["10.1.0.2/24"], "net1": ["10.2.0.2/24"]}
        api.annotate("")
        until(lambda: [one["interface"] for one in api.status()] == ["eth0"], "the network does not go")
        assert links(pod) == {"eth0": ["10.1.0.2/24"]}
        assert node.cni("multus-lite", "DEL", conf, container=pod, args=ARGS).code == 0
        assert ledger.diff(before, node.ledger(), ignore=SHARED) == []
