"""What people read when a configuration is wrong: `path: value is not what is wanted`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

_LONGEST = 80
_WANTED = {
    "string_type": "is not a string",
    "int_type": "is not a whole number",
    "bool_type": "is neither true nor false",
    "dict_type": "is not an object",
    "tuple_type": "is not a list",
}


def sentences(errors: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each error of pydantic-core, and for each problem that a configuration class found."""
    for error in errors:
        path = path_text(error["loc"])
        cause = error.get("ctx", {}).get("error")
        problems = getattr(cause, "problems", None)
        if problems is None:
            yield f"{path}: {_sentence(error, cause)}"
        else:
            for below, text in problems:
                yield f"{path}.{below}: {text}" if path else f"{below}: {text}"


def _sentence(error: Mapping[str, Any], cause: object) -> str:
    kind, value = error["type"], error["input"]
    context = error.get("ctx", {})
    if cause is not None:
        return str(cause)
    if kind == "missing":
        return "is missing"
    if kind == "greater_than_equal":
        return f"{shown(value)} is too small: at least {context['ge']}"
    if kind == "less_than_equal":
        return f"{shown(value)} is too large: at most {context['le']}"
    return f"{shown(value)} {_WANTED.get(kind) or error['msg']}"


def path_text(path: Sequence[str | int]) -> str:
    """`("ipam", "ranges", 0, "subnet")` as `ipam.ranges[0].subnet`."""
    text = ""
    for part in path:
        text += f"[{part}]" if type(part) is int else f".{part}" if text else str(part)
    return text


def shown(value: object) -> str:
    """A value as the configuration has it, cut short when it is long."""
    text = {"True": "true", "False": "false", "None": "null"}.get(repr(value)) or repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
