"""Freezing: the same modules in every build, nothing of pydantic in them, and a clear answer when a class cannot be frozen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cni_plugins.model import registry
from cni_plugins.model.freezer import DIRECTORY
from tests.support.paths import REPO

PLUGIN = '''
"""A plugin outside of the project's packages."""
from __future__ import annotations

from cni_plugins.model.base import Model
from cni_plugins.model.netconf import NetConf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated, Any, ClassVar
    from pydantic import AfterValidator

    from cni_plugins.model.base import Problems
    from cni_plugins.model.types import Many, Uint32


class Part(Model):
    """A part."""

    size: Uint32 = 0
    """Its size."""


class Conf(NetConf):
    """An example."""

    aliases: ClassVar[dict[str, str]] = {**NetConf.aliases, "dashed": "a-dashed.key"}

    parts: Many[Part] = ()
    """Its parts."""

    dashed: bool = False
    """Has a name that Python cannot have."""

    def check(self) -> Problems:
        if len(self.parts) > 1:
            yield "parts[1]", "is one too many"


def rule(text: str) -> str:
    return text


class Lambda(NetConf):
    """Cannot be frozen: the rule has no name."""

    word: Annotated[str, AfterValidator(lambda text: text)] = ""
    """A word."""


class NotAModel:
    """Not a configuration class."""
'''
USE = """
import sys
from pathlib import Path
import outside
from cni_plugins.model import _frozen, frozen
_frozen.__path__.append(sys.argv[1])
from cni_plugins.protocol.errors import InvalidConfig
conf = frozen.validate(outside.Conf, {"name": "x", "PARTS": [{"size": 3}], "A-Dashed.Key": True})
assert conf.parts[0].size == 3 and conf.dashed is True
try:
    frozen.validate(outside.Conf, {"name": "x", "parts": [{}, {}], "a-dashed.key": False})
except InvalidConfig as error:
    print(error.msg)
try:
    frozen.validate(outside.Conf, {"name": "x", "a-dashed.key": 1})
except InvalidConfig as error:
    print(error.msg)
"""


def python(*arguments: str, path: Path = REPO, seed: str = "0") -> subprocess.CompletedProcess[str]:
    """Run Python with the project, and a directory of the test, on its path."""
    environ = {**os.environ, "PYTHONPATH": f"{REPO}:{path}", "PYTHONHASHSEED": seed}
    return subprocess.run([sys.executable, *arguments], cwd=path, env=environ, capture_output=True, text=True, check=False)


def freeze(directory: Path, *names: str, seed: str = "0") -> subprocess.CompletedProcess[str]:
    """Freeze classes into a directory, in a process of its own."""
    code = "import sys; from pathlib import Path; from cni_plugins.model.freezer import write; write(sys.argv[2:], Path(sys.argv[1]))"
    return python("-c", code, str(directory), *names, path=directory.parent, seed=seed)


def test_two_builds_of_the_same_sources_are_the_same_to_the_byte(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        assert freeze(tmp_path / seed, seed=seed).returncode == 0
    first, second = ({file.name: file.read_bytes() for file in (tmp_path / seed).iterdir()} for seed in ("1", "2"))
    assert first == second
    assert len(first) == len(registry.PLUGINS) + len(registry.OTHERS) + 1  # and __init__.py


def test_a_class_that_is_gone_leaves_nothing_in_the_next_build(tmp_path: Path) -> None:
    directory = tmp_path / "frozen"
    directory.mkdir()
    (directory / "old_conf_OldConf.py").write_text("KEYS = {}\n")
    assert freeze(directory).returncode == 0
    assert {file.suffix for file in directory.iterdir()} == {".py"}
    assert not (directory / "old_conf_OldConf.py").exists()


def test_what_is_frozen_names_nothing_of_pydantic() -> None:
    for file in DIRECTORY.glob("*.py"):
        assert "pydantic" not in file.read_text()


def test_the_frozen_modules_are_those_of_the_classes_as_they_are_now(tmp_path: Path) -> None:
    assert freeze(tmp_path / "now").returncode == 0
    for file in (tmp_path / "now").iterdir():
        assert (DIRECTORY / file.name).read_text() == file.read_text()


def test_a_plugin_of_somebody_else_is_frozen_and_checked_like_ours(tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text(PLUGIN)
    done = freeze(tmp_path / "more", "outside:Conf")
    assert done.returncode == 0, done.stderr
    used = python("-c", USE, str(tmp_path / "more"), path=tmp_path)
    assert used.stdout.splitlines() == ["parts[1]: is one too many", "a-dashed.key: 1 is neither true nor false"], used.stderr


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("outside:Lambda", "cannot be frozen: rules must be plain functions"),
        ("outside:NotAModel", "is not a configuration class"),
        ("outside:Absent", "has no attribute 'Absent'"),
    ],
)
def test_a_class_that_cannot_be_frozen_stops_the_build_with_its_reason(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "outside.py").write_text(PLUGIN)
    done = freeze(tmp_path / "more", name)
    assert done.returncode != 0
    assert reason in done.stderr
