"""Profiles: what an author writes, and what is said when it is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from conformance import profile
from conformance.profile import ProfileError, at, filled, load, merged, shipped
from conformance.scene import places
from tests.support.paths import REPO

MINIMAL = 'name = "mine"\nplugin = "mine"\nkind = "interface"\n[conf]\n'


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_profile_is_right_and_has_no_placeholder_that_nobody_fills(name: str) -> None:
    found = load(name)
    assert found.name == name
    text = json.dumps(
        filled(found.model_dump(mode="json", include={"conf", "second_conf", "before", "pool", "ranges", "dual_stack"}), places(1))
    )
    assert not re.findall(r"\{\w+\}", text)
    for shared in found.shared:
        re.compile(shared.pattern)
        assert shared.reason


def test_an_authors_file_is_a_profile(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(MINIMAL)
    assert load(str(tmp_path / "mine.toml")).plugin == "mine"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name = ", "is not TOML"),
        (MINIMAL.replace('"interface"', '"router"'), "kind: Input should be"),
        (MINIMAL + "[extra]\n", "extra: Extra inputs are not permitted"),
        ('name = "mine"\n', "plugin: Field required"),
    ],
)
def test_what_is_wrong_with_a_profile_is_told_in_a_sentence(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ProfileError, match=told) as caught:
        load(str(tmp_path / "mine.toml"))
    assert "\n" not in str(caught.value).rstrip()


def test_a_profile_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ProfileError, match=r"there are: .*bridge.*host-local"):
        load("brigde")


def test_placeholders_are_filled_everywhere_in_a_configuration() -> None:
    assert filled({"a": ["{x}/24", {"b": "{y}"}], "c": 5}, {"x": "10.0.0.0"}) == {"a": ["10.0.0.0/24", {"b": "{y}"}], "c": 5}


def test_changes_reach_single_keys_and_remove_them() -> None:
    base = {"mtu": 1500, "ipam": {"type": "host-local", "subnet": "a"}}
    assert merged(base, at("ipam.subnet", "b")) == {"mtu": 1500, "ipam": {"type": "host-local", "subnet": "b"}}
    assert merged(base, {"mtu": None, "ipam": {"subnet": None}}) == {"ipam": {"type": "host-local"}}
    assert base == {"mtu": 1500, "ipam": {"type": "host-local", "subnet": "a"}}


def test_the_published_schema_is_that_of_the_profiles() -> None:
    written = json.loads((REPO / "docs/conformance/profile.schema.json").read_text())
    assert written == profile.schema(), "run `python -m conformance.profile > docs/conformance/profile.schema.json`"
