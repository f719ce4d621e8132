"""What the tests of the hot change share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.netns.multus_lite.api_server import ApiServer
from tests.netns.multus_lite.foreign import Foreign
from tests.netns.multus_lite.hot_change.changing import Changing
from tests.netns.multus_lite.scene import Scene, bridge, chain


@pytest.fixture
def foreign(scene: Scene, tmp_path: Path) -> Foreign:
    """Somebody else's plugin, in binDir."""
    foreign = Foreign(tmp_path)
    scene.keys = {"binDir": str(foreign.directory)}
    return foreign


@pytest.fixture
def changing(foreign: Foreign, api: ApiServer, scene: Scene) -> Changing:
    """A pod that may ask for the definitions `two` and `three` (bridges, the second with tuning) and `foreign`."""
    scene.keys = {**scene.keys, "binDir": str(foreign.directory)}
    api.define("two", bridge(2))
    api.define("three", chain(3))
    api.define("foreign", {"cniVersion": "1.0.0", "name": "foreign", "type": "foreign"})
    return Changing(scene, api, foreign)
