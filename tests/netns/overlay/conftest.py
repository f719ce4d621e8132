"""What tests of kept overlays share: nodes on an underlay, keepers that end with the test, and what these say."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.overlay.keeping import Lines, Listed, Place, subnet
from tests.support.underlay import Underlay


@pytest.fixture
def underlay(root: None) -> Iterator[Underlay]:
    """Three nodes on a switch."""
    with Underlay(3) as underlay:
        yield underlay


@pytest.fixture
def places(underlay: Underlay) -> Iterator[list[Place]]:
    """The nodes, without an overlay as yet; no thread of their keepers may outlive the test."""
    places = [Place(underlay, number) for number in range(1, len(underlay.nodes) + 1)]
    yield places
    for place in places:
        place.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("overlay ")]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What keepers and managers say."""
    heard = Lines()
    loggers = [logging.getLogger(name) for name in ("cni_plugins.agent", "vxlan.leases")]
    for logger in loggers:
        logger.addHandler(heard)
        logger.setLevel(logging.INFO)
    yield heard
    for logger in loggers:
        logger.removeHandler(heard)


@pytest.fixture
def listed(underlay: Underlay, tmp_path: Path) -> Listed:
    """An overlay of the first two nodes, from a file."""
    listed = Listed(tmp_path)
    listed.write([(own[0], subnet(number)) for number, own in enumerate(underlay.addresses[:2], 1)])
    return listed


@pytest.fixture
def other(places: list[Place], tmp_path: Path) -> Listed:
    """A second overlay of the same two nodes."""
    other = Listed(tmp_path, number=6, vni=101)
    other.write([(place.address, subnet(place.number, 6)) for place in places[:2]])
    return other


@pytest.fixture
def pair(places: list[Place], listed: Listed, lines: Lines) -> list[Place]:
    """Two nodes that reach each other over it."""
    for place in places[:2]:
        place.start(listed.table())
        lines.wait_for_all("net5: brought about: .*entries put in", "net5.env has ")
    return places[:2]
