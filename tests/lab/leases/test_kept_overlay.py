"""An overlay that the agent keeps, with its leases in a real Kubernetes API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni_plugins.agent.conf import OverlayConf
from cni_plugins.agent.overlays import Overlays
from cni_plugins.agent.warm import Warm
from tests.lab.leases.test_kubernetes import PREFIX, ApiServer
from tests.lab.machine import Machine
from tests.netns.overlay.conftest import lines
from tests.netns.overlay.keeping import RUN_DIR, Lines

__all__ = ["lines"]

ADDRESSES = "link add eth0 type bridge; address add 192.168.77.11/24 dev eth0; link set eth0 up; address add 192.168.77.1/32 dev lo"


@pytest.fixture
def api(root: None, tmp_path: Path) -> Iterator[ApiServer]:
    """An API server on a node that is of the overlay; the test is there too."""
    with Machine("control", tmp_path / "control") as machine:
        for command in ADDRESSES.split("; "):
            machine.ip(command)
        server = ApiServer(machine, "192.168.77.1")
        with machine.node.inside():
            yield server


def test_a_node_publishes_itself_hears_of_others_and_says_that_its_network_works(api: ApiServer, lines: Lines) -> None:
    api.add_node("one", "10.5.1.0/24")
    conf = OverlayConf.model_validate(
        {
            "name": "pods",
            "store": "kubernetes",
            "underlay": "eth0",
            "network": "10.5.0.0/16",
            "vni": 100,
            "kubernetes": {"node": "one", "kubeconfig": str(api.kubeconfig)},
        }
    )
    warm = Warm()
    overlays = Overlays(warm, run_dir=RUN_DIR, repaired=lambda name: None)
    overlays.keep([conf])
    try:
        lines.wait_for("pods: /run/flannel/subnet.env has 10.5.1.0/24")
        theirs = {"kube-subnet-manager": "true", "backend-type": "vxlan", "public-ip": "192.168.77.12"}
        theirs["backend-data"] = '{"VNI":100,"VtepMAC":"02:00:00:00:00:0c"}'
        api.add_node("two", "10.5.2.0/24", annotations={PREFIX + key: value for key, value in theirs.items()})
        lines.wait_for("joined: peer 192.168.77.12 with 10.5.2.0/24")
        lines.wait_for("brought about: .*3 entries put in")
        (device,) = json.loads(api.machine.node.run(["ip", "-json", "link", "show", "vxlan.100"]).stdout)
        assert api.annotations("one")[PREFIX + "backend-data"] == f'{{"VNI":100,"VtepMAC":"{device["address"]}"}}'
        conditions = api.get("node", "one")["status"]["conditions"]
        assert [one["status"] for one in conditions if one["type"] == "NetworkUnavailable"] == ["False"]
    finally:
        overlays.stop()
        warm.close()
