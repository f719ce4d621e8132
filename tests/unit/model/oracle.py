"""Checks configurations with real pydantic, in a process of its own: a line of JSON in, a line of JSON out.

In one process with the frozen models, pydantic could hand back a validator that is already built, and the test would compare it
with itself. Input: {"class": "module:Class", "data": object}. Output: {"values": ...} or {"errors": [[path, kind], ...]}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic import BaseModel, ValidationError

from cni_plugins.model.base import Broken, Model
from cni_plugins.model.compiler import pydantic_model
from cni_plugins.model.sources import class_named


def comparable(value: Any) -> Any:
    """A checked value as JSON: objects with all their keys, defaults included."""
    if isinstance(value, BaseModel):
        return {name: comparable(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, tuple | list):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def by_hand(value: Any, plain: dict[type[BaseModel], type[Model]]) -> Any:
    """The same value made of configuration classes, whose rules between keys are asked on the way. Raises Broken."""
    if isinstance(value, BaseModel):
        return plain[type(value)].from_values({name: by_hand(getattr(value, name), plain) for name in type(value).model_fields})
    return tuple(by_hand(item, plain) for item in value) if isinstance(value, tuple) else value


def all_classes(cls: type[Model] = Model) -> list[type[Model]]:
    """Every configuration class that is loaded."""
    return [found for below in cls.__subclasses__() for found in (below, *all_classes(below))]


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Check one configuration."""
    model = pydantic_model(class_named(request["class"]))
    try:
        value = model.model_validate(request["data"])
        by_hand(value, {pydantic_model(cls): cls for cls in all_classes()})
    except ValidationError as error:
        return {"errors": [[list(item["loc"]), item["type"]] for item in error.errors(include_url=False, include_context=False)]}
    except Broken:
        return {"errors": []}
    return {"values": comparable(value)}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
