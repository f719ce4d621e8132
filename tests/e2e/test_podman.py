"""What a user of podman gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import GATEWAYS, bridge, ping
from tests.e2e.podman import Podman
from tests.support.node import Node

CONFLIST = {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge(ipMasq=True, hairpinMode=True)]}


@pytest.fixture
def podman(node: Node, plugins: Path, tmp_path: Path) -> Iterator[Podman]:
    """podman on the node, with one network called "pods"."""
    podman = Podman(node, plugins=plugins, scratch=tmp_path, conflist=CONFLIST)
    yield podman
    podman.close()


def test_containers_reach_each_other_and_the_node_and_leave_nothing(podman: Podman, node: Node, nothing_left: NothingLeft) -> None:
    podman.start("primer")
    podman.remove("primer")
    with nothing_left(node):
        one, two = podman.start("one"), podman.start("two")
        assert one != two
        podman.execute("one", "ping", "-c1", "-W30", two)
        podman.execute("two", "ping", "-c1", "-W30", one)
        podman.execute("one", "ping", "-c1", "-W30", GATEWAYS[0])
        ping(node, one, two)
        podman.remove("one", "two")
