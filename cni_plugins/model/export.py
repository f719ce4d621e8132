"""Build time: what people get of the models: a JSON Schema for each plugin, one for whole lists, and the key tables of the pages.

Commands:
    python -m cni_plugins.model.export --write     make docs/schemas/*.json, and the tables in docs/plugins/*.md
    python -m cni_plugins.model.export --check     say which of them are out of date; exit status 1 if any
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cni_plugins.model import registry
from cni_plugins.model.compiler import pydantic_model
from cni_plugins.model.netconf import NetConf
from cni_plugins.model.sources import class_named, own_annotations
from cni_plugins.model.tables import key_table
from cni_plugins.protocol.versions import SUPPORTED

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[2] / "docs"
BEGIN = "<!-- keys: made by `python -m cni_plugins.model.export --write`; not to be edited -->"
END = "<!-- end of keys -->"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
IPAM = {"host-local": "HostLocalIpam", "static": "StaticIpam"}


def plugin_schema(plugin: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a plugin's object in the `plugins` of a list.

    The plugin's own keys come first. `name` and `cniVersion` may be absent there, because the runtime copies them from the list.
    An IPAM plugin gets the object of the plugin that delegates to it: its own part is `ipam`.
    """
    cls = class_named(registry.PLUGINS[plugin])
    schema: dict[str, Any] = _plain(pydantic_model(cls).model_json_schema(by_alias=True))
    own, common = own_annotations(cls), common_keys()
    properties = dict(sorted(schema["properties"].items(), key=lambda item: (item[0] in common, item[0] not in own)))
    if plugin not in IPAM:
        properties["type"] = {**properties["type"], "const": plugin}
    required = ["type", *(key for key in schema["required"] if key not in common)]
    return {"$schema": DRAFT, **schema, "title": plugin, "properties": properties, "required": required}


def common_keys() -> list[str]:
    """The keys that every plugin has."""
    return [field.alias or name for name, field in pydantic_model(NetConf).model_fields.items()]


def list_schema() -> dict[str, Any]:
    """The JSON Schema of a network configuration list (a .conflist file); plugins that we don't have may hold anything."""
    ours = [plugin for plugin in registry.PLUGINS if plugin not in IPAM]
    chosen = [_when("type", plugin, {"$ref": f"{plugin}.json"}) for plugin in ours]
    delegated = [_when("type", plugin, {"$ref": f"{plugin}.json#/$defs/{name}"}) for plugin, name in IPAM.items()]
    item = {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"type": "string"}, "ipam": {"type": "object", "allOf": delegated}},
        "allOf": chosen,
    }
    return {
        "$schema": DRAFT,
        "title": "CNI network configuration list",
        "type": "object",
        "required": ["name", "plugins"],
        "properties": {
            "cniVersion": {"description": "The version of the specification.", "enum": list(SUPPORTED)},
            "cniVersions": {"description": "All versions that the list can be used with.", "type": "array", "items": {"type": "string"}},
            "name": {"description": "The network's name.", "type": "string", "pattern": r"^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$"},
            "disableCheck": {"description": "Keeps the runtime from calling CHECK.", "type": "boolean"},
            "disableGC": {"description": "Keeps the runtime from calling GC.", "type": "boolean"},
            "plugins": {"description": "The plugins in their order.", "type": "array", "minItems": 1, "items": item},
        },
    }


def _when(key: str, value: str, then: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"properties": {key: {"const": value}}, "required": [key]}, "then": then}


def _plain(node: Any) -> Any:
    """Without what says nothing to a reader: titles that repeat the key, null (which counts as absent), defaults that are empty."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    kinds = [kind for kind in node.get("anyOf", ()) if kind != {"type": "null"}]
    merged = {**node, **(kinds[0] if len(kinds) == 1 else {})}
    if len(kinds) == 1:
        del merged["anyOf"]
    return {
        key: {name: _plain(item) for name, item in value.items()} if key in ("properties", "$defs") else _plain(value)
        for key, value in merged.items()
        if not (key == "title" or (key == "default" and (isinstance(value, dict | list) or value in (None, ""))))
    }


def files() -> Iterator[tuple[Path, str]]:
    """Every file that is made, or has a part that is made, with what it should hold."""
    common = common_keys()
    for plugin in registry.PLUGINS:
        schema = plugin_schema(plugin)
        yield DOCS / "schemas" / f"{plugin}.json", _text(schema)
        yield _page(plugin, key_table(schema, without=common) or "None of its own.\n")
    yield DOCS / "schemas" / "conflist.json", _text(list_schema())
    yield _page("common-keys", key_table(_plain(pydantic_model(NetConf).model_json_schema(by_alias=True))))


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _page(name: str, table: str) -> tuple[Path, str]:
    """A page of docs/plugins/ with a fresh key table. Raises ValueError if the page has no place for one."""
    path = DOCS / "plugins" / f"{name}.md"
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} has no place for the key table: lines with {BEGIN!r} and {END!r}")
    return path, f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def stale() -> list[tuple[Path, str]]:
    """The files that do not hold what they should, with what that is."""
    return [(path, text) for path, text in files() if not path.exists() or path.read_text(encoding="utf-8") != text]


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description="JSON Schemas and key tables of docs/, made from the models.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="name the files that are out of date")
    action.add_argument("--write", action="store_true", help="bring the files up to date")
    write = parser.parse_args().write
    found = stale()
    for path, text in found:
        print(f"{'written' if write else 'out of date'}: {path.relative_to(DOCS.parent)}")
        if write:
            path.write_text(text, encoding="utf-8")
    return 1 if found and not write else 0


if __name__ == "__main__":
    sys.exit(main())
