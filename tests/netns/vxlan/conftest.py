"""What tests of the overlay share: two nodes on an underlay, the test being on the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.vxlan.overlay import FAMILIES, Member
from tests.support.underlay import Underlay


@pytest.fixture
def pair(root: None, tmp_path: Path) -> Iterator[list[Member]]:
    """Two dual-stack nodes."""
    with Underlay(2) as underlay:
        underlay.nodes[0].enter()
        yield [Member(underlay, number, tmp_path / str(number), families=FAMILIES["dual"]) for number in (1, 2)]


@pytest.fixture
def member(pair: list[Member]) -> Member:
    """The first of them."""
    return pair[0]
