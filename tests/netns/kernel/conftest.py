"""What tests of the kernel's faces share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cni_plugins.kernel.netlink import Netlink
from tests.support.node import Node


@pytest.fixture
def netlink(node: Node) -> Iterator[Netlink]:
    """A netlink socket on the node."""
    netlink = Netlink()
    yield netlink
    netlink.close()
