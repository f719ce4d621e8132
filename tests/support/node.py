"""A node that runs the executables of the work tree; see `conformance.node`."""

from __future__ import annotations

from pathlib import Path

from conformance import node
from conformance.node import LeftBehind
from tests.support.paths import PLUGIN_DIR

__all__ = ["LeftBehind", "Node"]


class Node(node.Node):
    """As `conformance.node.Node`, with the executables that `make build` makes."""

    def __init__(self, name: str = "node", *, plugin_dir: Path = PLUGIN_DIR) -> None:
        super().__init__(name, plugin_dir=plugin_dir)
