"""pyroute2's message classes, without what `import pyroute2` brings along.

pyroute2 knows how netlink messages are laid out; we use that and nothing else of it. Importing its message classes the plain
way takes many times what a whole call may take: the package's `__init__` starts a network database, its `config` imports
multiprocessing and platform, and each class imports logging, socket, threading, traceback and typing, mostly for cases
that never come up here.

So its modules are executed in a name space of our own: each sees builtins in which `__import__` is ours. That one answers from
stand-ins for those modules, of which encoding and decoding use next to nothing, and loads further modules of pyroute2
the same way. Nothing is put into `sys.modules`: a program that also imports pyroute2 (as tests do) gets the real one, and
we keep ours. The layouts of link kinds (vlan, vxlan, …) are loaded when one is met.

The code itself comes through Python's own import machinery (`find_spec` without running anything), so it does not matter whether it
lies in files or in an archive of a bundled program. What must be in such a bundle is listed by `MODULES`: an import
that nobody can see in the source must be named.
"""

from __future__ import annotations

import _collections  # type: ignore[import-not-found]
import _frozen_importlib
import _socket
import _struct
import _thread
import _weakref
import builtins
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

_CLASSES = {
    "ifinfmsg": "pyroute2.netlink.rtnl.ifinfmsg",
    "ifaddrmsg": "pyroute2.netlink.rtnl.ifaddrmsg",
    "rtmsg": "pyroute2.netlink.rtnl.rtmsg",
    "tcmsg": "pyroute2.netlink.rtnl.tcmsg",
}
_TRAFFIC_CONTROL = _CLASSES["tcmsg"]
_QUEUEING = ("act_mirred", "act_police", "cls_u32", "common", "common_act", "sched_ingress", "sched_tbf", "sched_template")
"""What is used of it."""
_KINDS = "pyroute2.netlink.rtnl.ifinfmsg.plugins"

MODULES = (
    "pyroute2.netlink",
    "pyroute2.netlink.exceptions",
    "pyroute2.netlink.rtnl",
    "pyroute2.netlink.rtnl.iw_event",
    _KINDS,
    *_CLASSES.values(),
    *(f"{_TRAFFIC_CONTROL}.{name}" for name in _QUEUEING),
)
"""The modules of pyroute2 that are loaded here."""


class StandIn:
    """Something that plays the part of a module: it has the attributes that it is given, and those alone."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class LazyKinds:
    """Plays the package of link kinds: each kind is a module with one attribute, which loads the true class when called.

    pyroute2 lets a function stand where a class is expected, and calls it with the class's own arguments.
    """

    def __getattr__(self, kind: str) -> StandIn:
        def layout(*arguments: Any, **named: Any) -> Any:
            return getattr(module(f"{_KINDS}.{kind}"), kind)(*arguments, **named)

        return StandIn(__name__=kind, **{kind: layout})


class LazyModule:
    """Plays one module of a package that imports all of them: it is loaded when something of it is asked for.

    What we don't use of the package has no attributes: pyroute2 then takes a discipline's or a filter's options as bytes.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if self._name.rpartition(".")[2] not in _QUEUEING:
            raise AttributeError(attribute)
        return getattr(module(self._name), attribute)


class LazyPackage:
    """Plays the package of queueing disciplines, classifiers and actions for the modules within it, which import it by its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, part: str) -> LazyModule:
        return LazyModule(f"{self._name}.{part}")


def _names_by_prefix(prefix: str, names: Mapping[str, Any], normalize: object = None) -> tuple[dict[str, Any], dict[Any, str]]:
    """What pyroute2.common.map_namespace does for constants: (value by name, name by value)."""
    cut = len(prefix) if normalize else 0
    found = {name[cut:].lower() if normalize else name: value for name, value in names.items() if name.startswith(prefix)}
    return found, {value: name for name, value in found.items()}


def _hexdump(data: bytes, length: int = 0) -> str:
    """What pyroute2.common.hexdump does: bytes in hexadecimal, with colons between."""
    return (data[:length] or data).hex(":")


def _nothing(*arguments: object, **named: object) -> str:
    """Plays functions that would write a log or describe a stack: an attribute that cannot be decoded is kept as bytes."""
    return ""


def _no_file(*arguments: object, **named: object) -> None:
    """Plays open(): a file that pyroute2 would read for a unit of time that is the same everywhere (see shaping.py)."""
    raise OSError(2, "no files here")


_logger = StandIn(debug=_nothing, info=_nothing, warning=_nothing, error=_nothing)
_modules: dict[str, Any] = {
    "collections": StandIn(OrderedDict=_collections.OrderedDict),
    "importlib": StandIn(),
    "io": StandIn(),
    "logging": StandIn(getLogger=lambda name: _logger, warning=_nothing, error=_nothing),
    "math": StandIn(log=_nothing),
    "os": StandIn(strerror=lambda code: f"error {code}"),
    "pkgutil": StandIn(),
    "re": StandIn(compile=_nothing),
    "socket": _socket,
    "struct": _struct,
    "sys": sys,
    "threading": StandIn(local=_thread._local),
    "time": StandIn(),
    "traceback": StandIn(format_exc=_nothing, format_stack=_nothing),
    "types": StandIn(FunctionType=type(_nothing)),
    "typing": StandIn(Dict=dict),
    "weakref": _weakref,
    "pyroute2": StandIn(),
    "pyroute2.common": StandIn(
        AF_MPLS=28,
        basestring=(str, bytes),
        hexdump=_hexdump,
        map_namespace=_names_by_prefix,
        rate_suffixes={},
        size_suffixes={},
        time_suffixes={},
    ),
    "pyroute2.config": StandIn(AF_BRIDGE=7, data_plugins_pkgs=(), data_plugins_path=(), uname=("",)),
    _KINDS: LazyKinds(),
}
_modules["pyroute2"].config = _modules["pyroute2.config"]
_paths: dict[str, Sequence[str]] = {}
_lock = _thread.RLock()
_classes: dict[str, Callable[..., Any]] = {}


_packages = {_TRAFFIC_CONTROL: LazyPackage(_TRAFFIC_CONTROL)}


def _import(name: str, *context: object) -> Any:
    """The `__import__` that pyroute2's modules see; they import absolutely, and from leaf modules only, but for `_packages`."""
    return _packages.get(name) or module(name)


def module(name: str) -> Any:
    """A module of pyroute2 by its full name, or what plays it; loaded at its first use. Raises ImportError."""
    return _modules[name] if name in _modules else _load(name)


def _search_path(package: str) -> Sequence[str]:
    if package not in _paths:
        parent = package.rpartition(".")[0]
        spec = _find(package, _search_path(parent) if parent else None)
        _paths[package] = spec.submodule_search_locations
    return _paths[package]


def _find(name: str, path: Sequence[str] | None) -> Any:
    spec = _frozen_importlib._find_spec(name, path)  # type: ignore[attr-defined]
    if spec is None:
        raise ImportError(f"pyroute2 is not installed completely: {name} is missing")
    return spec


def _load(name: str) -> Any:
    spec = _find(name, _search_path(name.rpartition(".")[0]))
    if spec.submodule_search_locations is not None:
        _paths[name] = spec.submodule_search_locations
    module = _modules[name] = type(sys)(name)
    module.__dict__["__builtins__"] = _builtins
    try:
        exec(spec.loader.get_code(name), module.__dict__)
    except BaseException:
        del _modules[name]
        raise
    return module


_builtins = dict(builtins.__dict__, __import__=_import, open=_no_file)


def message(name: str) -> Callable[..., Any]:
    """The message class `name` (ifinfmsg, ifaddrmsg, rtmsg, tcmsg), loaded at its first use.

    Raises ImportError if pyroute2 is not installed.
    """
    found = _classes.get(name)
    if found is None:
        with _lock:
            found = _classes[name] = getattr(module(_CLASSES[name]), name)
    return found
