"""Build time: configuration classes to pydantic models, and these to what pydantic-core alone can check by.

The pydantic model of a class (`pydantic_model`) has its keys, types and defaults; the JSON Schemas come from it too. `compiled`
takes its core schema and makes it independent of pydantic: objects become typed dictionaries handed to the class's
`from_values`, defaults are left to the class's own attributes, functions and classes become names, references get numbers (pydantic
makes them of memory addresses), and what only pydantic reads is dropped.
"""

from __future__ import annotations

import functools
import operator
import types
import typing
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from cni_plugins.model.base import Model
from cni_plugins.model.sources import own_annotations, own_texts

if typing.TYPE_CHECKING:
    from pydantic.fields import FieldInfo

CONFIG = ConfigDict(strict=True, extra="ignore")
_DROPPED = frozenset({"metadata", "serialization", "ref", "config", "cls", "root_model", "custom_init", "post_init", "generic_origin"})
_models: dict[type[Model], type[BaseModel]] = {}
_classes: dict[type, type[Model]] = {}


class Name(str):
    """A class or function of ours, as `module:qualified.name`. Its repr is the call by which a frozen module looks it up."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"named({str(self)!r})"


def pydantic_model(cls: type[Model]) -> type[BaseModel]:
    """The pydantic model with the same keys, types and defaults."""
    if cls not in _models:
        model: type[BaseModel] = create_model(cls.__name__, __config__=CONFIG, __doc__=cls.__doc__, **_fields(cls))
        _models[cls] = model
        _classes[model] = cls
    return _models[cls]


def _fields(cls: type[Model]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, Model) and base is not Model:
            texts = own_texts(base)
            for name, kind in own_annotations(base).items():
                fields[name] = (_with_models(kind), _field(cls, name, texts.get(name)))
    return fields


def _field(cls: type[Model], name: str, text: str | None) -> FieldInfo:
    default: Any = getattr(cls, name, ...)
    if isinstance(default, Model):
        default = pydantic_model(type(default))()
    made: FieldInfo = Field(default, description=text, alias=cls.aliases.get(name))
    return made


def _with_models(kind: Any) -> Any:
    """The type with pydantic models in place of configuration classes, at any depth."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and origin is None:
        return pydantic_model(kind) if issubclass(kind, Model) else kind
    if origin is typing.Annotated:
        return typing.Annotated[(_with_models(arguments[0]), *arguments[1:])]
    if origin in (types.UnionType, typing.Union):
        return functools.reduce(operator.or_, map(_with_models, arguments))
    return origin[tuple(_with_models(argument) for argument in arguments)] if origin else kind


def key_tables(cls: type[Model]) -> dict[str, Any]:
    """For `frozen.fold`: lower-case key to (key, table of the keys below or None)."""
    table = {}
    for name, field in pydantic_model(cls).model_fields.items():
        key = field.alias or name
        below = _class_within(field.annotation)
        table[key.lower()] = (key, key_tables(below) if below else None)
    return table


def _class_within(kind: Any) -> type[Model] | None:
    """The configuration class that a type is, or holds lists of."""
    if kind in _classes:
        return _classes[kind]
    return next((found for found in map(_class_within, typing.get_args(kind)) if found), None)


def compiled(cls: type[Model]) -> Any:
    """The core schema of a class, made of plain values and `Name`s."""
    schema: Any = pydantic_model(cls).__pydantic_core_schema__
    shared = schema["definitions"] if schema["type"] == "definitions" else ()
    return _Converter([node["ref"] for node in shared]).node(schema)


class _Converter:
    """Rewrites the nodes of one schema; `references` are those that are used, in their order."""

    def __init__(self, references: list[str]) -> None:
        self.numbers = {reference: str(number) for number, reference in enumerate(references)}

    def node(self, node: Any) -> Any:
        """A schema node, or a list or tuple of them, or a plain value."""
        if isinstance(node, list | tuple):
            return [self.node(item) for item in node]
        if not isinstance(node, dict):
            return node
        kind = node["type"]
        if kind == "model":
            return self.model(node)
        if kind == "default":
            raise TypeError(f"a default below a key cannot be frozen: {node['default']!r}")
        return self.referable(node, {key: self.value(key, value) for key, value in node.items() if key not in _DROPPED})

    def value(self, key: str, value: Any) -> Any:
        """One key of a node: a nested node, a reference, a function, or plain."""
        if key == "schema_ref":
            return self.numbers[value]
        if key == "function":
            return {"type": value["type"], "function": named(value["function"])}
        return self.node(value) if isinstance(value, dict | list | tuple) else value

    def referable(self, node: Any, converted: dict[str, Any]) -> dict[str, Any]:
        """The converted node, with the number by which others refer to it if they do."""
        number = self.numbers.get(node.get("ref"))
        return converted if number is None else {**converted, "ref": number}

    def model(self, node: Any) -> dict[str, Any]:
        """A pydantic model becomes a typed dictionary that the class is made from."""
        cls = _classes[node["cls"]]
        fields = node["schema"]["fields"]
        schema = {
            "type": "typed-dict",
            "fields": {name: self.field(field) for name, field in fields.items()},
            "config": {"strict": True},
        }
        function = {"type": "no-info", "function": named(cls.from_values)}
        return self.referable(node, {"type": "function-after", "function": function, "schema": schema})

    def field(self, field: Any) -> dict[str, Any]:
        """A key: required unless the class has a default, which then stays the class's business."""
        schema = field["schema"]
        required = schema["type"] != "default"
        out = {"type": "typed-dict-field", "schema": self.node(schema if required else schema["schema"]), "required": required}
        return {**out, "validation_alias": field["validation_alias"]} if "validation_alias" in field else out


def named(function: Any) -> Name:
    """The name of a function or class. Raises TypeError for one that only exists inside another or belongs to pydantic."""
    module, path = function.__module__, function.__qualname__
    if hasattr(function, "__self__"):
        module, path = function.__self__.__module__, f"{function.__self__.__qualname__}.{function.__name__}"
    if "<" in path or module.split(".")[0] in ("pydantic", "pydantic_core", "typing", "annotated_types"):
        raise TypeError(f"{module}.{path} cannot be frozen: rules must be plain functions of a module of the plugin")
    return Name(f"{module}:{path}")
