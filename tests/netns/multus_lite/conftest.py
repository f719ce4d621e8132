"""What the tests of multus-lite share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.multus_lite.api_server import ApiServer
from tests.netns.multus_lite.certificates import Certificates, make_certificates
from tests.netns.multus_lite.scene import ARGS, Scene
from tests.support.inprocess import InProcess
from tests.support.node import Node


@pytest.fixture
def scene(node: Node, tmp_path: Path) -> Scene:
    """A node with three networks that the configuration lists."""
    return Scene(node, InProcess(node, tmp_path))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates for the API server and a client."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def api(scene: Scene, certificates: Certificates, tmp_path: Path) -> Iterator[ApiServer]:
    """An API server on the node that has the pod default/web, to which the scene's container belongs; one network is configured."""
    scene.node.run(["ip", "link", "set", "lo", "up"])
    server = ApiServer(certificates)
    server.pod()
    scene.delegates = scene.delegates[:1]
    scene.keys = {"kubeconfig": str(server.kubeconfig(tmp_path / "kubeconfig")), "apiTimeout": 30}
    scene.args = ARGS
    yield server
    server.stop()
