"""Build time: the table of keys on a plugin's page, made from its JSON Schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

Row = tuple[str, str, str, str]
_KINDS = {"boolean": "true or false", "integer": "whole number", "object": "object", "string": "string"}


def key_table(schema: dict[str, Any], *, without: Collection[str] = ()) -> str:
    """A Markdown table: key, type, default and text of every key, those of nested objects below them; empty if there are none."""
    shown = {key: below for key, below in schema["properties"].items() if key not in without}
    rows = list(_rows(schema, {**schema, "properties": shown}, ""))
    lines = ["| key | type | default | |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n" if rows else ""


def _rows(schema: dict[str, Any], node: dict[str, Any], above: str) -> Iterator[Row]:
    for key, below in node.get("properties", {}).items():
        path = above + key
        default = below.get("default")
        needed = "required" if key in node.get("required", ()) else ""
        shown = needed if default is None else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        target, suffix = _target(schema, below)
        yield f"`{path}`", _kind(below, target, suffix), shown, below.get("description", "")
        if "$ref" in below or suffix:
            yield from _rows(schema, target, f"{path}{suffix}.")


def _target(schema: dict[str, Any], node: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """What a key's value is, or what its lists hold, with `[]` for each list around it."""
    suffix = ""
    while "items" in node:
        node, suffix = node["items"], suffix + "[]"
    return schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node, suffix


def _kind(node: dict[str, Any], target: dict[str, Any], suffix: str) -> str:
    """In words: `list of whole numbers`, `string, such as 10.1.0.1`, `whole number, 0 to 4094`."""
    kind = _KINDS[target.get("type", "object")]
    if kind == "whole number" and target.get("maximum", 0) < 1 << 31 and "maximum" in target:
        kind += f", {target['minimum']} to {target['maximum']}"
    examples = node.get("examples") or target.get("examples")
    if examples:
        kind += f", such as `{examples[0]}`"
    words = {"[]": "list: ", "[][]": "list of lists: "}
    return words.get(suffix, "") + kind
