"""A network's configuration, and what becomes of it for one container: the exact bytes that each of its plugins gets."""

from __future__ import annotations

from cni_plugins.model.base import folded
from cni_plugins.model.frozen import dump_json
from cni_plugins.protocol.errors import CniError, InvalidConfig
from cni_plugins.protocol.request import check_network_name
from cni_plugins.protocol.versions import OLDEST, SUPPORTED
from multus_lite.conf import OURSELVES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_plugins.protocol.ip import Cidr
    from cni_plugins.protocol.result import Result
    from multus_lite.annotation import Selection

    Conf = dict[str, Any]


class NetworkList:
    """A network as it is written down: its `name`, its `version`, the configurations of its `plugins` in order.

    `disable_check` and `disable_gc` are the list's own wishes (SPEC section 1).
    """

    __slots__ = ("disable_check", "disable_gc", "name", "plugins", "version")

    def __init__(self, name: str, version: str, plugins: list[Conf], *, disable_check: bool = False, disable_gc: bool = False) -> None:
        self.name = name
        self.version = version
        self.plugins = plugins
        self.disable_check = disable_check
        self.disable_gc = disable_gc


class Network:
    """A network that one container gets.

    `title` is what people call it (`namespace/name` of its definition, or the network's own name), `ifname` its interface in the container,
    `plugins` what its plugins get, in order. The `master`'s result is the answer of the whole call. `gateways` are the addresses of
    `default-route`, None where the pod did not ask for it; an empty list leaves the gateway to the network. `wish` is what the pod's
    annotation asks for (`Selection.wish`), None for a network that every pod gets. `result` is what its plugins made, None until they have.
    """

    __slots__ = ("gateways", "ifname", "master", "result", "source", "title", "wish")

    def __init__(
        self,
        source: NetworkList,
        *,
        title: str,
        ifname: str,
        master: bool,
        gateways: list[Cidr] | None = None,
        wish: Conf | None = None,
    ) -> None:
        self.source = source
        self.title = title
        self.ifname = ifname
        self.master = master
        self.gateways = gateways
        self.wish = wish
        self.result: Result | None = None

    @property
    def name(self) -> str:
        """The network's name, as its plugins know it."""
        return self.source.name

    @property
    def version(self) -> str:
        """The version of the specification that its plugins are called in; one that is not ours counts as the oldest."""
        return self.source.version if self.source.version in SUPPORTED else OLDEST

    @property
    def families(self) -> list[int]:
        """The address families whose default route the pod wants through it: both where it is to keep its own gateway."""
        return [] if self.gateways is None else [gateway.family for gateway in self.gateways] or [4, 6]

    @property
    def plugins(self) -> list[Conf]:
        """What each plugin gets."""
        return self.source.plugins

    def stdin(self, index: int) -> bytes:
        """The bytes that plugin number `index` gets, without a prevResult."""
        return dump_json(self.plugins[index])


def read(data: Any, *, where: str, name: str = "", version: str = "") -> NetworkList:
    """Read a configuration or a list of them; `name` and `version` are used where it has none, `where` names it in errors.

    Raises InvalidConfig.
    """
    if not isinstance(data, dict):
        raise InvalidConfig(f"{where}: {data!r} is not an object")
    single = folded(data, "type") is not None or not isinstance(folded(data, "plugins"), list)
    plugins = [data] if single else folded(data, "plugins")
    if not isinstance(plugins, list) or not plugins:
        raise InvalidConfig(f"{where}: plugins: is empty")
    called = folded(data, "name") or name
    try:
        check_network_name(called if isinstance(called, str) else "")
    except CniError as error:
        raise InvalidConfig(f"{where}: {error.msg}", error.details) from None
    for plugin in plugins:
        _check_type(plugin, where)
    found = folded(data, "cniversion")
    return NetworkList(
        str(called),
        found if isinstance(found, str) and found else version or OLDEST,
        plugins,
        disable_check=_is_true(data, "disablecheck"),
        disable_gc=_is_true(data, "disablegc"),
    )


def assemble(source: NetworkList, wish: Selection | None, *, device: str, runtime: Conf) -> NetworkList:
    """The network as its plugins get it for one container: with what the pod wishes, and each with what it declares a capability for.

    `device` is the ID of the device that the kubelet allotted, empty when there is none. `runtime` are the values that came from the
    runtime; unlike the pod's wishes they are dropped where no plugin wants them, as runtimes do it. Raises InvalidConfig for a wish that
    no plugin of the network declares (multi-network specification 1.3, section 4.1.2.1).
    """
    values = {**runtime, **(wish.capabilities if wish else {})}
    if device:
        values["deviceID"] = device
    declared: set[str] = set()
    plugins = []
    for plugin in source.plugins:
        conf = {key: value for key, value in plugin.items() if key.lower() not in ("name", "cniversion", "masterplugin")}
        conf |= {"name": source.name, "cniVersion": source.version}
        if device:
            conf |= {"deviceID": device, "pciBusID": device}
        if wish and wish.cni_args:
            conf["args"] = _with_args(conf.get("args"), wish.cni_args)
        wanted = _declared(plugin)
        declared |= wanted
        given = {key: value for key, value in values.items() if key in wanted}
        if given:
            conf["runtimeConfig"] = given
        plugins.append(conf)
    refused = [key for key in (wish.capabilities if wish else ()) if key not in declared]
    if refused:
        raise InvalidConfig(
            f"network {source.name}: the pod asks for {', '.join(refused)}, but no plugin of the network declares the capability",
            f'add "capabilities": {{"{refused[0]}": true}} to the plugin that is to do it',
        )
    return NetworkList(source.name, source.version, plugins, disable_check=source.disable_check, disable_gc=source.disable_gc)


def _with_args(args: Any, added: Conf) -> Conf:
    """`args` with the pod's arguments in `cni`, where they win."""
    args = args if isinstance(args, dict) else {}
    own = args.get("cni")
    return {**args, "cni": {**(own if isinstance(own, dict) else {}), **added}}


def _declared(plugin: Conf) -> set[str]:
    capabilities = folded(plugin, "capabilities")
    return {key for key, value in capabilities.items() if value is True} if isinstance(capabilities, dict) else set()


def _is_true(data: Conf, key: str) -> bool:
    """disableCheck and disableGC may be written as text (SPEC 1.1.0, section 1)."""
    value = folded(data, key)
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _check_type(plugin: Any, where: str) -> None:
    kind = folded(plugin, "type") if isinstance(plugin, dict) else None
    if not isinstance(kind, str) or not kind or "/" in kind or "\0" in kind or kind in (".", ".."):
        raise InvalidConfig(f"{where}: type: {kind!r} is not the name of a plugin")
    if kind in OURSELVES:
        raise InvalidConfig(f"{where}: type: {kind} cannot delegate to itself", "point it at the configuration of the default network")
