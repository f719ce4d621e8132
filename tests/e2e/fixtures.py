"""What the end-to-end tests share, here and in the emulated machine: whose executables run, and a ledger that must stay equal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from conformance import ledger
from tests.support.node import Node

NothingLeft = Callable[[Node], AbstractContextManager[None]]
MAY_CHANGE = (
    r".* route (local|anycast|broadcast|multicast) .* proto kernel .*",  # the kernel's own echo of an address, seconds after it
    r"node file /var/lib/cni/networks/[^/]+/last_reserved_ip\.\d+",  # where the next search begins
    r"node nftables table ip6? (nat|filter|mangle|raw|security) / .*",  # told by iptables-save, and the better way
    r"node file /run/cni-plugins/overlays",  # a directory that an agent watches
    r"node file /run/(libpod|containers|runc|netns|lock|mount)\b.*",  # of podman, and of mount
)


@pytest.fixture(scope="session")
def plugins(request: pytest.FixtureRequest) -> Path:
    """The directory of the plugins under test: CNI_TEST_PLUGINS, or else our built executables."""
    given = os.environ.get("CNI_TEST_PLUGINS")
    return Path(given) if given else request.getfixturevalue("plugin_dir")


@pytest.fixture
def nothing_left() -> NothingLeft:
    """A context manager that fails when its body leaves anything on the node, or in its containers, that was not there before."""

    @contextmanager
    def compare(node: Node) -> Iterator[None]:
        before = _snapshot(node)
        yield
        changes = ledger.diff(before, _snapshot(node), ignore=MAY_CHANGE)
        assert not changes, "left behind:\n" + "\n".join(changes)

    return compare


def _snapshot(node: Node) -> ledger.Snapshot:
    with node.inside():
        return ledger.take({container.name: container.path for container in node.containers.values()})
