"""A first profile says what a plugin is and does, works as it is, and leaves to the author what only an author can know."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance import init
from conformance.cli import main
from conformance.init import InitError
from conformance.profile import Profile

pytestmark = pytest.mark.usefixtures("root")


class Maker:
    """Makes profiles of plugins that the suite does not know by their names, with the reference plugins as helpers."""

    def __init__(self, directory: Path, reference_bin: Path) -> None:
        self.directory = directory
        self.reference_bin = reference_bin

    def stranger(self, like: str) -> Path:
        """A reference plugin under another name."""
        path = self.directory / f"my-{like}"
        path.symlink_to(self.reference_bin / like)
        return path

    def profile(self, plugin: Path) -> tuple[Profile, str]:
        """The first profile of a plugin, and its text."""
        text = init.first_profile(plugin, helpers=[self.reference_bin])
        return Profile.model_validate(tomllib.loads(text)), text


@pytest.fixture
def maker(tmp_path: Path, reference_bin: Path) -> Maker:
    return Maker(tmp_path, reference_bin)


@pytest.mark.parametrize(
    ("like", "kind", "creates"),
    [
        ("bridge", "interface", True),
        ("ptp", "interface", True),
        ("host-local", "ipam", False),
        ("static", "ipam", False),
        ("tuning", "chained", False),
        ("portmap", "chained", False),
    ],
)
def test_an_unknown_plugin_is_recognized_by_what_it_does(maker: Maker, like: str, kind: str, creates: bool) -> None:
    profile, _ = maker.profile(maker.stranger(like))
    assert (profile.kind, profile.creates, profile.addresses) == (kind, creates, True)
    assert profile.versions[-1] == "1.1.0"
    assert (profile.before is not None) == (kind == "chained")


def test_what_stays_is_shown_but_not_excused(maker: Maker) -> None:
    profile, text = maker.profile(maker.stranger("bridge"))
    assert not any("cni0" in one.pattern for one in profile.shared)
    assert '# pattern = "node (link cni0|' in text


def test_two_families_are_found(maker: Maker) -> None:
    profile, _ = maker.profile(maker.stranger("ptp"))
    assert profile.ipv6
    assert profile.dual_stack
    assert profile.pool


def test_a_known_name_gets_the_profile_of_the_suite_with_the_versions_it_says(maker: Maker, tmp_path: Path) -> None:
    plugin = script(tmp_path / "bridge", versions=["0.3.1", "0.4.0"])
    profile, _ = maker.profile(plugin)
    assert profile.versions == ["0.3.1", "0.4.0"]
    assert "GC" not in profile.verbs
    assert profile.layer == "l2"


def test_what_was_tried_in_vain_is_told(maker: Maker, tmp_path: Path) -> None:
    _, text = maker.profile(script(tmp_path / "mine", versions=["1.1.0"], add="""echo '{"code": 7, "msg": "no uplink"}'; exit 1"""))
    assert text.count("no uplink") == len(init.trials("mine"))
    assert Profile.model_validate(tomllib.loads(text)).versions == ["1.1.0"]


@pytest.mark.parametrize("body", ["exit 1", "echo hello", "echo '{}'", """echo '{"supportedVersions": "1.1.0"}'""", "kill -9 $$"])
def test_a_plugin_that_does_not_answer_version_gets_no_profile(tmp_path: Path, body: str) -> None:
    plugin = tmp_path / "mine"
    plugin.write_text(f"#!/bin/sh\n{body}\n")
    plugin.chmod(0o755)
    with pytest.raises(InitError, match="VERSION"):
        init.first_profile(plugin)


def test_a_profile_that_is_there_is_not_overwritten(maker: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    output = maker.directory / "mine.toml"
    line = ["init", "--plugin", str(maker.stranger("static")), "--helpers", str(maker.reference_bin), "--output", str(output)]
    assert main(line) == 0
    written = output.read_text()
    assert main(line) == 2
    assert "exists already" in capsys.readouterr().err
    assert output.read_text() == written


def script(path: Path, *, versions: list[str], add: str = "exit 1") -> Path:
    """Write a plugin as a shell script."""
    answer = json.dumps({"cniVersion": "1.1.0", "supportedVersions": versions})
    path.write_text(f"#!/bin/sh\ncat >{os.devnull}\n[ $CNI_COMMAND = VERSION ] && echo '{answer}' && exit\n{add}\n")
    path.chmod(0o755)
    return path


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3),
)


@given(VALUES)
def test_any_configuration_comes_out_of_the_file_as_it_went_in(value: object) -> None:
    assert tomllib.loads(f"value = {init.toml(value)}\n")["value"] == value


def test_a_plugin_of_which_nothing_was_checked_does_not_pass(maker: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    (maker.directory / "mine.toml").write_text(
        'name = "x"\nplugin = "my-static"\nkind = "ipam"\nneeds = ["tool:no-such-tool"]\nconf = {}\n'
    )
    maker.stranger("static")
    assert main(["run", "--plugin-dir", str(maker.directory), "--profile", str(maker.directory / "mine.toml"), "--only", "VER-01"]) == 2
    assert "every case was skipped" in capsys.readouterr().err
