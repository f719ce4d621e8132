"""The network configurations of this node, as libcni finds them: files in one directory, lists (`.conflist`) or single plugins.

For programs that live long and for people; a plugin gets its configuration from the runtime.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cni_plugins.ipam.conf import HostLocalConf
from cni_plugins.ipam.store import Store
from cni_plugins.kernel import files
from cni_plugins.model.base import folded
from cni_plugins.model.frozen import validate
from cni_plugins.protocol.errors import CniError
from cni_plugins.protocol.request import check_network_name
from cni_plugins.protocol.versions import OLDEST

if TYPE_CHECKING:
    from collections.abc import Iterator

CONF_DIR = "/etc/cni/net.d"
_ENDINGS = (".conflist", ".conf", ".json")
_LIMIT = 1 << 22
"""Bytes that are read of a file: more is no configuration, and an agent's memory has bounds."""


class Network:
    """A network: its `name`, the `file` that configures it, and its `plugins` as each is handed its configuration, in order."""

    def __init__(self, name: str, file: Path, plugins: list[dict[str, Any]]) -> None:
        self.name = name
        self.file = file
        self.plugins = plugins

    def of_plugin(self, plugin: str) -> dict[str, Any] | None:
        """The configuration of the first plugin of this type, None when the network has none."""
        return next((one for one in self.plugins if one["type"] == plugin), None)


class Range:
    """A range set of a network: its `addresses` as a person writes them, how many there are (`size`), how many are `free`."""

    def __init__(self, network: str, addresses: str, *, size: int, free: int) -> None:
        self.network = network
        self.addresses = addresses
        self.size = size
        self.free = free


class Networks:
    """All networks of a directory by name; of files that configure the same one, the first in order counts. `broken` says which cannot be
    read, and why.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.broken: list[str] = []
        self.by_name: dict[str, Network] = {}
        for file in _files(Path(directory)):
            try:
                found = _network(file)
            except (CniError, OSError, RecursionError, ValueError) as error:
                self.broken.append(f"{file}: {error}")
            else:
                self.by_name.setdefault(found.name, found)

    def named(self, name: str) -> Network | None:
        """The network of this name, None when no file configures it."""
        return self.by_name.get(name)

    def with_host_local(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Every plugin that gets its addresses from host-local: the network's name, its configuration, and its `ipam`."""
        for network in self.by_name.values():
            for conf in network.plugins:
                ipam = folded(conf, "ipam")
                if isinstance(ipam, dict) and folded(ipam, "type") == "host-local":
                    yield network.name, conf, ipam

    def ranges(self) -> Iterator[Range]:
        """The range sets of every network whose host-local configuration can be read; why others cannot is added to `broken`."""
        for name, data, _ in self.with_host_local():
            try:
                conf = validate(HostLocalConf, data)
                for pool in conf.range_sets():
                    yield Range(name, str(pool), size=pool.size, free=Store(conf.ipam.directory, name).free(pool))
            except CniError as error:
                self.broken.append(f"{name}: {error.msg}")

    def data_dirs(self) -> set[str]:
        """The directories of leases that configurations name, besides the usual one."""
        named = {folded(ipam, "datadir") for _, _, ipam in self.with_host_local()}
        return {path for path in named if isinstance(path, str) and path}


def _files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(file for file in directory.iterdir() if file.suffix in _ENDINGS and file.is_file())


def _network(file: Path) -> Network:
    data = json.loads(files.read(str(file), limit=_LIMIT) or b"")
    if not isinstance(data, dict):
        raise ValueError("is not a JSON object")  # noqa: TRY004 - of the file, not of an argument
    name = data.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError("has no name")
    check_network_name(name)
    entries = data.get("plugins", []) if file.suffix == ".conflist" else [data]
    if not isinstance(entries, list) or not all(isinstance(one, dict) and isinstance(one.get("type"), str) for one in entries):
        raise ValueError("plugins: not a list of objects that each have a type")
    common = {"cniVersion": data.get("cniVersion") or OLDEST, "name": name}
    return Network(name, file, [{**one, **common} for one in entries])
