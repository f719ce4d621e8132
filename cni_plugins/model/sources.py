"""Build time: what the source of a configuration class says beyond its values: annotations resolved, and the texts below keys."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
import typing
from typing import Any

from cni_plugins.model.base import Model

if typing.TYPE_CHECKING:
    from collections.abc import Iterator


def class_named(name: str) -> type[Model]:
    """The class that `module:Class` names. Raises ImportError, AttributeError, or TypeError if it is not a Model."""
    module, _, attribute = name.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if not (isinstance(found, type) and issubclass(found, Model)):
        raise TypeError(f"{name} is not a configuration class: it does not derive from cni_plugins.model.base.Model")
    return found


def own_annotations(cls: type[Model]) -> dict[str, Any]:
    """The keys that a class adds to its bases, with their types. Class variables are not keys."""
    names = inspect.get_annotations(cls)
    namespace = _namespace(sys.modules[cls.__module__])
    types = {name: eval(text, namespace) for name, text in names.items()}
    return {name: kind for name, kind in types.items() if typing.get_origin(kind) is not typing.ClassVar}


def own_texts(cls: type[Model]) -> dict[str, str]:
    """The text below each key that a class adds to its bases."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            texts[statement.target.id] = inspect.cleandoc(following.value.value)
    return texts


def _namespace(module: Any) -> dict[str, Any]:
    """A module's names together with those that it imports for the type checker only (`if TYPE_CHECKING:`)."""
    namespace = dict(vars(module))
    for statement in ast.parse(inspect.getsource(module)).body:
        if isinstance(statement, ast.If) and isinstance(statement.test, ast.Name) and statement.test.id == "TYPE_CHECKING":
            for imported in (below for below in statement.body if isinstance(below, ast.ImportFrom)):
                namespace.update(_imported(imported))
    return namespace


def _imported(statement: ast.ImportFrom) -> Iterator[tuple[str, Any]]:
    """The names of one import that exist outside of the type checker too; an annotation that uses another fails by its name."""
    module = importlib.import_module(statement.module or "")
    for alias in statement.names:
        if hasattr(module, alias.name):
            yield alias.asname or alias.name, getattr(module, alias.name)
