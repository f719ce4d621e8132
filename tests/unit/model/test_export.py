"""What people get of the models: schemas that agree with the plugins, and pages whose tables are fresh."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from referencing import Registry, Resource

from cni_plugins.model import export, frozen, registry
from cni_plugins.model.sources import class_named
from cni_plugins.protocol.errors import InvalidConfig
from tests.unit.model.generated import objects

PAGES = sorted((export.DOCS / "plugins").glob("*.md"))
SCHEMAS = {path.name: json.loads(path.read_text()) for path in (export.DOCS / "schemas").glob("*.json")}
LISTS = jsonschema.Draft202012Validator(
    SCHEMAS["conflist.json"],
    registry=Registry().with_resources((name, Resource.from_contents(schema)) for name, schema in SCHEMAS.items()),
)


def examples() -> list[Any]:
    """Every configuration list that stands on a page, named by the page."""
    found = [(page.stem, text) for page in PAGES for text in re.findall(r"^```json\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)]
    return [pytest.param(json.loads(text), id=f"{name}-{number}") for number, (name, text) in enumerate(found)]


def conflist(**plugin: Any) -> dict[str, Any]:
    """A list with one plugin."""
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]}


def test_schemas_and_key_tables_are_those_of_the_models_as_they_are_now() -> None:
    stale = [path.name for path, _ in export.stale()]
    assert stale == [], "run `python -m cni_plugins.model.export --write`"


def test_every_plugin_has_its_page_and_schema() -> None:
    assert {page.stem for page in PAGES} == {*registry.PLUGINS, "common-keys"}
    assert set(SCHEMAS) == {*(f"{plugin}.json" for plugin in registry.PLUGINS), "conflist.json"}


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_schemas_are_schemas(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", sorted(registry.PLUGINS))
def test_no_key_is_left_without_a_description(name: str) -> None:
    schema = SCHEMAS[f"{name}.json"]
    for part in (schema, *schema["$defs"].values()):
        for key, below in part["properties"].items():
            assert below.get("description"), key


@pytest.mark.parametrize("example", examples())
def test_an_example_from_a_page_suits_the_schema_and_the_plugin(example: dict[str, Any]) -> None:
    if example["plugins"]:
        LISTS.validate(example)
    for plugin in example["plugins"]:
        name = plugin["type"]
        data = {**plugin, "name": example["name"], "cniVersion": example["cniVersion"]}
        frozen.validate(class_named(registry.PLUGINS[name]), data)
        if data.get("ipam", {}).get("type") in registry.PLUGINS:
            frozen.validate(class_named(registry.PLUGINS[data["ipam"]["type"]]), data)


@pytest.mark.parametrize(
    ("plugin", "path"),
    [
        ({"type": "bridge", "mtu": "1500"}, ["plugins", 0, "mtu"]),
        ({"type": "bridge", "vlan": 4095}, ["plugins", 0, "vlan"]),
        ({"type": "bridge", "bridge": "a/b"}, ["plugins", 0, "bridge"]),
        ({"type": "ptp", "ipMasq": "yes"}, ["plugins", 0, "ipMasq"]),
        ({"type": "bridge", "vlanTrunk": [{"id": 0}]}, ["plugins", 0, "vlanTrunk", 0, "id"]),
        ({"type": "bridge", "ipam": {"type": "host-local", "ranges": [[{}]]}}, ["plugins", 0, "ipam", "ranges", 0, 0]),
        ({"type": "macvlan", "ipam": {"type": "static", "addresses": [{"address": 1}]}}, ["plugins", 0, "ipam", "addresses", 0, "address"]),
        ({"bridge": "cni0"}, ["plugins", 0]),
    ],
)
def test_an_editor_shows_what_is_wrong_with_a_list(plugin: dict[str, Any], path: list[str | int]) -> None:
    assert [list(error.absolute_path) for error in LISTS.iter_errors(conflist(**plugin))] == [path]


@pytest.mark.parametrize("name", sorted(registry.PLUGINS))
def test_a_schema_refuses_nothing_that_the_plugin_accepts(name: str) -> None:
    cls = class_named(registry.PLUGINS[name])
    _, keys = frozen.load(cls)
    schema = jsonschema.Draft202012Validator(SCHEMAS[f"{name}.json"])
    accepted = 0

    @settings(max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(objects(keys))
    def compare(data: dict[str, Any]) -> None:
        nonlocal accepted
        folded = frozen.fold(keys, {**data, "name": "pods", "type": name})
        try:
            frozen.validate(cls, folded)
        except InvalidConfig:
            return
        schema.validate(folded)
        accepted += 1

    compare()
    assert accepted > 5, "the generated configurations are nearly all wrong: this shows little"


def test_plugins_and_keys_of_others_are_left_alone() -> None:
    LISTS.validate(conflist(type="calico", anything={"at": ["all"]}))
    LISTS.validate(conflist(type="bridge", ofSomebodyElse=True, ipam={"type": "dhcp", "daemonSocketPath": "/run/x"}))
