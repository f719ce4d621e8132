"""Run time: JSON in and out, and configurations checked by what the freezer compiled.

Of pydantic only the compiled extension `pydantic_core._pydantic_core` is loaded. Its parent package would import typing, re and
more, at ten times the cost, so an empty stand-in takes the parent's place while the extension is imported; where the real package
is there already (tests), it is used.
"""

from __future__ import annotations

import _datetime  # type: ignore[import-not-found]
import _json
import sys

from cni_plugins.model import explain
from cni_plugins.protocol.errors import CniError, DecodeFailure, InvalidConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, TypeVar

    import pydantic_core._pydantic_core as core

    from cni_plugins.model.base import Model

    M = TypeVar("M", bound=Model)

FROZEN = "cni_plugins.model._frozen"
_validators: dict[type, tuple[core.SchemaValidator, dict[str, Any]]] = {}


def _load_core() -> ModuleType:
    """Import the compiled extension, with stand-ins for what it would import and does not use.

    It wants `datetime` for the pointers that are in the compiled `_datetime` as well.
    """
    stand_in = type(sys)("pydantic_core")
    stand_in.__path__ = [f"{entry}/pydantic_core" for entry in sys.path]
    absent = {name: module for name, module in (("pydantic_core", stand_in), ("datetime", _datetime)) if name not in sys.modules}
    sys.modules.update(absent)
    try:
        __import__("pydantic_core._pydantic_core")
    finally:
        for name in absent:
            del sys.modules[name]
    return sys.modules["pydantic_core._pydantic_core"]


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


if not TYPE_CHECKING:
    core = _load_core()

_encode = _json.make_encoder(None, _refuse, _json.encode_basestring, None, ":", ",", False, False, False)


def parse_json(data: bytes) -> Any:
    """Read JSON strictly. Of a key that comes twice the last counts, as in Go.

    Raises DecodeFailure, with line and column where they are known, for anything that is not JSON: also NaN, Infinity, and
    numbers too large for a double, which pydantic-core would read as infinity.
    """
    try:
        # Keys come again and again; values, which are addresses and IDs, do not: an agent would only fill pydantic-core's cache with them.
        value = core.from_json(data, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise DecodeFailure(f"the input is not JSON: {error}") from None
    overflowed = _overflowed(value)
    if overflowed:
        raise DecodeFailure(f"the input is not JSON that can be used: the number at {overflowed} is too large")
    return value


def _overflowed(value: Any) -> str:
    """The path of a number that became infinite, empty when there is none."""
    todo: list[tuple[tuple[str | int, ...], Any]] = [((), {"": value})]
    while todo:
        path, container = todo.pop()
        for key, item in container.items() if type(container) is dict else enumerate(container):
            if type(item) in (dict, list):
                todo.append(((*path, key), item))
            elif type(item) is float and item - item != 0:
                return explain.path_text((*path, key)) or "the top"
    return ""


def dump_json(value: Any) -> bytes:
    """Write plain values (objects, lists, strings, numbers, truth values, None) as compact JSON in UTF-8.

    By the standard library's encoder: the first `to_json` of pydantic-core imports decimal, uuid, pathlib and more. A lone
    surrogate is written as an escape. Raises ValueError for a number that JSON does not have, TypeError for other values.
    """
    return "".join(_encode(value, 0)).encode("utf-8", "backslashreplace")


def load(cls: type) -> tuple[core.SchemaValidator, dict[str, Any]]:
    """The validator of a configuration class and its table of keys. Raises CniError if the class was never frozen."""
    ready = _validators.get(cls)
    if ready is None:
        name = f"{FROZEN}.{cls.__module__.replace('.', '_')}_{cls.__qualname__}"
        try:
            __import__(name)
        except ModuleNotFoundError:
            raise CniError(f"{cls.__module__}.{cls.__qualname__} is not frozen: run `python -m cni_plugins.model.freezer`") from None
        made = sys.modules[name]
        ready = _validators[cls] = (core.SchemaValidator(made.schema(_named)), made.KEYS)
    return ready


def _named(name: str) -> Any:
    """What `module:qualified.name` stands for."""
    module, _, path = name.partition(":")
    __import__(module)
    found: Any = sys.modules[module]
    for part in path.split("."):
        found = getattr(found, part)
    return found


def validate(cls: type[M], data: Any) -> M:
    """Check a configuration (parsed JSON) and return it as an object of `cls`.

    Keys are taken in any case and null counts as absent, as Go reads them; keys that the class does not have are left out.
    Raises InvalidConfig that names every key that is wrong, its value and what is wanted.
    """
    validator, keys = load(cls)
    if type(data) is not dict:
        raise DecodeFailure(f"the configuration is not a JSON object: {explain.shown(data)}")
    try:
        return validator.validate_python(fold(keys, data))  # type: ignore[no-any-return]
    except core.ValidationError as error:
        raise InvalidConfig("; ".join(explain.sentences(error.errors(include_url=False)))) from None


def fold(keys: dict[str, Any], value: Any) -> Any:
    """Give an object the spelling of the class: known keys only, null left out; of two spellings the last counts.

    `keys` maps each key in lower case to its spelling and, where the value is an object of a class or lists of them, to the keys
    below; free-form objects stay as they are.
    """
    if type(value) is list:
        return [fold(keys, item) for item in value]
    if type(value) is not dict:
        return value
    out = {}
    for name, item in value.items():
        known = keys.get(name.lower())
        if known is not None and item is not None:
            key, below = known
            out[key] = item if below is None else fold(below, item)
    return out
