"""What tests of the plugins share: a node, the plugins on it, a pod."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node


@pytest.fixture
def plugins(node: Node, tmp_path: Path) -> InProcess:
    """The plugins, called in process on the node."""
    return InProcess(node, tmp_path)


@pytest.fixture
def pod(node: Node) -> Container:
    """A container without any network."""
    return node.container("pod")


@pytest.fixture
def other(node: Node) -> Container:
    """Another one."""
    return node.container("other")
