"""A store of leases in a directory of the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from cni_plugins.ipam.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The leases of the network `net`."""
    return Store(str(tmp_path), "net")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where they are."""
    return tmp_path / "net"
