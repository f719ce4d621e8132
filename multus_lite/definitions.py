"""Where a network's configuration is: in a NetworkAttachmentDefinition, or in a file that its name or a path leads to."""

from __future__ import annotations

from cni_plugins.kernel import calls, files
from cni_plugins.model.base import folded
from cni_plugins.model.frozen import parse_json
from cni_plugins.protocol.errors import CniError, InvalidConfig
from multus_lite import networks
from multus_lite.conf import OURSELVES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from multus_lite.api import Api
    from multus_lite.conf import MultusReleaseConf
    from multus_lite.networks import NetworkList

_RESOURCE = "k8s.v1.cni.cncf.io/resourceName"
_SUFFIXES = (".conf", ".conflist", ".json")
_S_IFMT, _S_IFDIR = 0o170000, 0o040000


class Definition:
    """A network, what people call it, and the resource whose devices it wants one of (empty: none)."""

    __slots__ = ("network", "resource", "title")

    def __init__(self, network: NetworkList, *, title: str = "", resource: str = "") -> None:
        self.network = network
        self.title = title or network.name
        self.resource = resource


class Definitions:
    """Finds definitions by the configuration `conf`, through `api` where that is not None."""

    def __init__(self, conf: MultusReleaseConf, api: Api | None) -> None:
        self._conf = conf
        self._api = api

    def of(self, namespace: str, name: str) -> Definition:
        """The NetworkAttachmentDefinition of this name. Raises InvalidConfig when there is none, CniError."""
        found = self._ask(namespace, name)
        if found is None:
            raise InvalidConfig(f"there is no NetworkAttachmentDefinition {namespace}/{name}", "make it, or correct the annotation")
        return found

    def named(self, name: str, *, field: str) -> Definition:
        """The network that a value of clusterNetwork or defaultNetworks means; `field` is the key. Raises CniError."""
        if "/" in name:
            return Definition(self._at(name, field))
        found = self._ask(self._conf.multusNamespace, name) if self._api and _is_name(name) else None
        if found is None:
            network = self._in_directory(name)
            if network is None:
                asked = f"no NetworkAttachmentDefinition {self._conf.multusNamespace}/{name}, and " if self._api else ""
                raise InvalidConfig(f"{field}: {name!r}: there is {asked}no network of this name in {self._conf.confDir}")
            found = Definition(network)
        return found

    def _ask(self, namespace: str, name: str) -> Definition | None:
        if self._api is None:
            raise InvalidConfig(f"NetworkAttachmentDefinition {namespace}/{name}: there is no Kubernetes API to ask", "set kubeconfig")
        data = self._api.get(f"/apis/k8s.cni.cncf.io/v1/namespaces/{namespace}/network-attachment-definitions/{name}")
        if data is None:
            return None
        where = f"NetworkAttachmentDefinition {namespace}/{name}"
        try:
            config = (data.get("spec") or {}).get("config") or ""
            resource = (data["metadata"].get("annotations") or {}).get(_RESOURCE) or ""
        except (AttributeError, KeyError, TypeError):
            raise InvalidConfig(f"{where}: is not a definition: {data!r}") from None
        if not isinstance(config, str):
            raise InvalidConfig(f"{where}: spec.config: is not a string")
        if config.strip():
            network = self._read(config.encode(), f"{where}: spec.config", name)
            return Definition(network, title=f"{namespace}/{name}", resource=resource)
        found = self._in_directory(name)
        if found is None:
            raise InvalidConfig(f"{where}: spec.config is empty, and there is no network {name!r} in {self._conf.confDir}")
        return Definition(found, title=f"{namespace}/{name}", resource=resource)

    def _at(self, path: str, field: str) -> NetworkList:
        """The file at `path`, or the first one in a directory that is not a configuration of ours."""
        try:
            directory = calls.stat(path).st_mode & _S_IFMT == _S_IFDIR
        except OSError as error:
            raise InvalidConfig(f"{field}: {path}: {error.strerror}") from None
        if not directory:
            return self._read(files.read(path) or b"", f"{field}: {path}")
        for found, data in _configurations(path):
            if not _is_ours(data):
                return self._read_parsed(data, f"{field}: {found}")
        raise InvalidConfig(f"{field}: {path}: there is no network configuration in this directory")

    def _in_directory(self, name: str) -> NetworkList | None:
        """The network of this name in confDir; lists come before single configurations."""
        found = [(path, data) for path, data in _configurations(self._conf.confDir) if folded(data, "name") == name]
        for path, data in sorted(found, key=lambda one: not one[0].endswith(".conflist")):
            return self._read_parsed(data, path)
        return None

    def _read(self, text: bytes, where: str, name: str = "") -> NetworkList:
        try:
            return self._read_parsed(parse_json(text), where, name)
        except CniError as error:
            raise error if error.msg.startswith(where) else InvalidConfig(f"{where}: {error.msg}", error.details) from None

    def _read_parsed(self, data: Any, where: str, name: str = "") -> NetworkList:
        return networks.read(data, where=where, name=name, version=self._conf.cniVersion)


def _configurations(directory: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The files of a directory that hold a configuration, by name; others are passed over, as runtimes do."""
    for name in sorted(files.names(directory)):
        if name.endswith(_SUFFIXES) and not files.name_of_draft(name):
            path = f"{directory}/{name}"
            try:
                data = parse_json(files.read(path) or b"")
            except CniError:
                continue
            if isinstance(data, dict):
                yield path, data


def _is_ours(data: dict[str, Any]) -> bool:
    plugins = folded(data, "plugins")
    kinds = [folded(one, "type") for one in (plugins if isinstance(plugins, list) else [data]) if isinstance(one, dict)]
    return any(kind in OURSELVES for kind in kinds)


def _is_name(name: str) -> bool:
    """Whether it can be part of a path of the API; a network in confDir may be called otherwise."""
    return bool(name) and name.replace("-", "").replace(".", "").isalnum() and name.isascii() and name[0] not in "-."
