"""What all tests share: the node they run on, the executables they run, and a guard over the machine's own network."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance import ledger
from tests.lab import peers
from tests.support.node import Node
from tests.support.paths import PLUGIN_DIR, REPO


def pytest_configure(config: pytest.Config) -> None:
    """Freeze the models once, before any worker or test module imports them."""
    if not hasattr(config, "workerinput"):
        done = subprocess.run([sys.executable, "-m", "cni_plugins.model.freezer"], cwd=REPO, capture_output=True, text=True, check=False)
        if done.returncode:
            raise pytest.UsageError(f"freezing the models failed:\n{done.stdout}{done.stderr}")


@pytest.fixture(scope="session")
def root() -> None:
    """Fails, saying why, unless the tests run as root."""
    if os.geteuid() != 0:
        pytest.fail("this test makes network namespaces and needs root: run it with sudo", pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def machine() -> Iterator[None]:
    """Fails loudly when the tests have changed the machine's own network, which they must never do."""
    before = ledger.take(directories=())
    yield
    changes = ledger.diff(before, ledger.take(directories=()), ignore=["(?s:node (process|netns) .*)"])
    if changes:
        pytest.fail("THE TESTS CHANGED THE MACHINE'S OWN NETWORK:\n" + "\n".join(changes), pytrace=False)


@pytest.fixture
def node(root: None) -> Iterator[Node]:
    """A fresh node, which the test runs on; processes that are left on it make the test fail."""
    node = Node()
    node.enter()
    try:
        yield node
    finally:
        node.close()


@pytest.fixture(scope="session")
def plugin_dir() -> Path:
    """The directory of the built executables."""
    if not PLUGIN_DIR.is_dir():
        pytest.fail("the executables are not built: run `make build` first", pytrace=False)
    return PLUGIN_DIR


@pytest.fixture(scope="session")
def reference_bin() -> Path:
    """The directory with the reference plugins and cnitool: CNI_PEERS_BIN, or else what the lab has built."""
    given = os.environ.get("CNI_PEERS_BIN")
    directory = Path(given) if given else peers.directory("cni")
    if not (directory / "cnitool").exists():
        pytest.fail("the reference plugins and cnitool are not built: run `make peers` first", pytrace=False)
    return directory
