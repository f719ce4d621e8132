"""Build time: writes a module for each configuration class, by which pydantic-core checks without pydantic.

Commands:
    python -m cni_plugins.model.freezer                    every class of the registry
    python -m cni_plugins.model.freezer my.plugin:Conf     these classes

The modules are plain literals, the same to the byte in every build, so they go the way of all other modules: into a bundle,
through a diff, past a reader's eyes. The directory is not under version control.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cni_plugins.model import registry
from cni_plugins.model.compiler import compiled, key_tables
from cni_plugins.model.sources import class_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni_plugins.model.base import Model

_WIDTH, _INDENT = 120, 4
DIRECTORY = Path(__file__).parent / "_frozen"
_MODULE = '''"""Made from {name} by the freezer; not to be edited."""
# mypy: ignore-errors
# ruff: noqa
KEYS = {keys}


def schema(named):
    return {schema}
'''


def frozen_text(cls: type[Model]) -> str:
    """The module that `frozen.load` imports for a class."""
    name = f"{cls.__module__}:{cls.__qualname__}"
    keys, schema = key_tables(cls), compiled(cls)
    _refuse_others(schema)
    return _MODULE.format(name=name, keys=_source(keys), schema=_source(schema, 1))


def _source(value: Any, depth: int = 0) -> str:
    """Python source of plain values and `Name`s, a line for each part of what does not fit into one."""
    text = repr(value)
    if len(text) + _INDENT * depth <= _WIDTH or not isinstance(value, dict | list):
        return text
    inner = " " * _INDENT * (depth + 1)
    if isinstance(value, dict):
        parts = [f"{inner}{key!r}: {_source(item, depth + 1)},\n" for key, item in value.items()]
    else:
        parts = [f"{inner}{_source(item, depth + 1)},\n" for item in value]
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    return opened + "\n" + "".join(parts) + " " * _INDENT * depth + closed


def _refuse_others(value: Any) -> None:
    """Raise TypeError for what would not be the same in every build, or not at run time."""
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        _refuse_others(item)
    if not (value is None or isinstance(value, dict | list | tuple | bool | int | str)):
        raise TypeError(f"{value!r} cannot be frozen")


def write(classes: Sequence[str] = (), directory: Path = DIRECTORY) -> None:
    """Freeze classes (`module:Class`) into a directory; by default the whole registry, and then nothing else stays there."""
    directory.mkdir(exist_ok=True)
    texts = {"__init__.py": '"""Made by the freezer; not to be edited."""\n'}
    for cls in map(class_named, classes or (*registry.PLUGINS.values(), *registry.OTHERS)):
        texts[f"{cls.__module__.replace('.', '_')}_{cls.__qualname__}.py"] = frozen_text(cls)
    for name, text in texts.items():
        _put(directory / name, text)
    for path in () if classes else directory.glob("*.py"):
        if path.name not in texts:
            path.unlink()


def _put(path: Path, text: str) -> None:
    """Write a file at once, and only if it is not right already: somebody may be importing it."""
    if path.exists() and path.read_text() == text:
        return
    beside = path.with_suffix(f".{secrets.token_hex(4)}")
    beside.write_text(text)
    beside.replace(path)


if __name__ == "__main__":
    write(sys.argv[1:])
