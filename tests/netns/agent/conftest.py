"""What tests of the agent share: a node, a pod on it, and an agent's session that a test can cut anywhere."""

from __future__ import annotations

import pytest

from tests.support.netns import Container
from tests.support.node import Node


@pytest.fixture
def pod(node: Node) -> Container:
    """A container without any network."""
    return node.container("pod")
