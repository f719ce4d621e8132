"""What a command works on: where things are on this node, and what is needed to act on them."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from cni_plugins import RUN_DIR
from cni_plugins.cli.places import Places
from cni_plugins.handler import handle
from cni_plugins.ipam.conf import DATA_DIR
from cni_plugins.model.frozen import validate
from cni_plugins.networks import CONF_DIR, Networks
from cni_plugins.plan.world import Handles, World
from cni_plugins.protocol.errors import CniError, DelegateFailed
from cni_plugins.protocol.request import Request
from cni_plugins.protocol.versions import NEWEST
from cni_plugins.registry import PLUGINS, plugin_named

if TYPE_CHECKING:
    import argparse

    from cni_plugins.plan.plugin import Plugin
    from cni_plugins.protocol.attachment import Attachment

    Executable = tuple[int, int]

BIN_DIR = "/opt/cni/bin"
RESULTS = "/var/lib/cni/results"
"""Where libcni, and so every runtime that uses it, remembers its attachments."""


class Context:
    """Directories (records in `run_dir`, leases in `data_dirs`), the node's `networks`, its `places`, our `plugins`, kernel handles.

    `executable` is the file (device, inode) that our plugins are, so that an IPAM plugin of ours is called in this process.
    """

    def __init__(self, options: argparse.Namespace, executable: Executable | None = None) -> None:
        self.run_dir = RUN_DIR
        self.results = RESULTS
        self.networks = Networks(getattr(options, "conf_dir", CONF_DIR))
        self.data_dirs = sorted({*(getattr(options, "data_dir", None) or [DATA_DIR]), *self.networks.data_dirs()})
        self.plugins: dict[str, Plugin] = {name: plugin for name in PLUGINS if (plugin := plugin_named(name))}
        self.places = Places()
        self._executable = executable or _own()
        self.handles = self._handles()

    def renew(self) -> None:
        """Forget what was seen and close what is open: what is done under a lock is decided by a fresh look."""
        self.handles.close()
        self.handles = self._handles()
        self.look_again()

    def look_again(self) -> None:
        """Forget what was seen in the network namespaces."""
        self.places = Places()

    def _handles(self) -> Handles:
        handles = Handles(executable=self._executable, run_dir=self.run_dir)
        handles.nested = _nested
        return handles

    def world(self, plugin: Plugin, att: Attachment | None = None) -> World:
        """The world of a DEL: with the configuration that the network has today, or the least one where it has none (any more)."""
        name = att.network if att else ""
        bare = {"cniVersion": NEWEST, "name": name or "any", "type": plugin.name}
        network = self.networks.named(name)
        data = (network.of_plugin(plugin.name) if network else None) or bare
        try:
            conf = validate(plugin.release_conf, data)
        except CniError:
            data = bare
            conf = plugin.release_conf(**bare)
        return World(self.handles, self._request(plugin, data, att), conf)

    def _request(self, plugin: Plugin, data: dict[str, Any], att: Attachment | None) -> Request:
        path = os.environ.get("CNI_PATH") or f"{os.path.dirname(sys.executable)}:{BIN_DIR}"
        environ = {**os.environ, "CNI_COMMAND": "DEL", "CNI_PATH": path}
        if att is not None:
            environ |= {"CNI_CONTAINERID": att.container_id, "CNI_IFNAME": att.ifname, "CNI_NETNS": att.netns}
        return Request(plugin.name, environ, json.dumps(data).encode())


def _own() -> Executable:
    found = os.stat(sys.executable)
    return found.st_dev, found.st_ino


def _nested(world: World, request: Request) -> None:
    """A delegate of our own: the handler serves it as it serves a runtime. Raises DelegateFailed."""
    answers: list[bytes] = []
    handles = Handles(executable=world.handles.executable, run_dir=world.run_dir)
    if handle(request, lambda answer, status: answers.append(answer), handles):
        said = json.loads(b"".join(answers) or b"{}")
        raise DelegateFailed(f"{request.plugin}: {said.get('msg')}", str(said.get("details", "")), said.get("code", DelegateFailed.code))
