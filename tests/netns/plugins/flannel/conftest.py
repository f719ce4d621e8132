"""What the tests of the flannel plugin share."""

from __future__ import annotations

import pytest

from tests.netns.plugins.flannel.scene import Scene
from tests.support.inprocess import InProcess
from tests.support.node import Node


@pytest.fixture
def scene(node: Node, plugins: InProcess) -> Scene:
    """A node that has a subnet of an overlay."""
    return Scene(node, plugins)
