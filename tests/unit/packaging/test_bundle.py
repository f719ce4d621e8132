"""packaging/bundle.py and boot.py: the modules of a bundle are found again, and a build's name tells builds apart."""

from __future__ import annotations

import importlib.util
import marshal
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import boot
import bundle
import pytest


def code(text: str) -> bytes:
    return marshal.dumps(compile(text, "test", "exec"))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A contents directory with a package, a module in it and one beside it; its importer is in use."""
    sources = dict.fromkeys(("pots/__init__", "pots/lid", "encodings/utf_8", "encodings/cp037"), "NAME = __name__")
    datas = []
    for name, text in {**sources, "kettle": "WATER = 1", "broken": "1 / 0"}.items():
        pyc = tmp_path / f"{name.replace('/', '-')}.pyc"
        pyc.write_bytes(bytes(16) + code(text))
        datas.append((f"{name}.pyc", str(pyc), "DATA"))
    rest = bundle.write_modules(tmp_path / "modules", datas=[*datas, ("notice.txt", "x", "DATA")], binaries=[])
    assert [path for path, _, _ in rest] == ["encodings/utf_8.pyc", "notice.txt", "modules"]
    finder = boot.Bundle(str(tmp_path), "modules")
    sys.meta_path.insert(0, finder)
    yield tmp_path
    sys.meta_path.remove(finder)
    os.close(finder.descriptor)
    for name in ("pots", "pots.lid", "kettle", "broken"):
        sys.modules.pop(name, None)


def test_packages_and_modules_of_a_bundle_are_imported(home: Path) -> None:
    assert importlib.import_module("pots.lid").NAME == "pots.lid"
    assert importlib.import_module("pots").__path__ == []
    assert importlib.import_module("kettle").WATER == 1


def test_a_module_that_is_not_bundled_is_missing_as_usual(home: Path) -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("pots.spoon")


def test_a_module_that_fails_is_not_left_half_imported(home: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("broken")
    assert "broken" not in sys.modules


def test_a_call_that_began_before_an_upgrade_goes_on_reading_its_own_modules(home: Path) -> None:
    (home / "modules").unlink()
    assert importlib.import_module("kettle").WATER == 1


def test_codes_are_there_for_those_who_run_modules_their_own_way(home: Path) -> None:
    spec: Any = importlib.util.find_spec("kettle")
    space: dict[str, object] = {}
    exec(spec.loader.get_code("kettle"), space)
    assert space["WATER"] == 1


def test_compiled_extensions_are_found_by_their_file(tmp_path: Path) -> None:
    suffix = EXTENSION_SUFFIXES[0]
    binaries = [
        (f"python3.11/lib-dynload/_json{suffix}", "x", "EXTENSION"),
        (f"pydantic_core/_pydantic_core{suffix}", "x", "BINARY"),
        ("libz.so.1", "x", "BINARY"),
    ]
    bundle.write_modules(tmp_path / "modules", datas=[], binaries=binaries)
    finder = boot.Bundle(str(tmp_path), "modules")
    os.close(finder.descriptor)
    assert set(finder.extensions) == {"_json", "pydantic_core._pydantic_core"}
    spec = finder.find_spec("_json")
    assert spec is not None
    assert spec.origin == f"{tmp_path}/python3.11/lib-dynload/_json{suffix}"


def test_nothing_that_works_at_build_time_is_bundled() -> None:
    names = bundle.run_time_modules()
    assert {"cni_plugins.main", "cni_plugins.handler", "bridge.plan", "cni_plugins.model.frozen"} <= set(names)
    assert not [name for name in names if name.startswith("cni_plugins.cli") or name.endswith(("freezer", "compiler", "model.types"))]


def test_another_source_or_lock_file_is_another_build(tmp_path: Path) -> None:
    for name in (*bundle.PACKAGES, "packaging", "requirements"):
        shutil.copytree(bundle.ROOT / name, tmp_path / name)
    first = bundle.build_name("1.0", tmp_path)
    assert first == bundle.build_name("1.0", bundle.ROOT)
    assert first.startswith("1.0-")
    seen = {first}
    for path in ("bridge/__init__.py", "packaging/boot.py", "requirements/locked.txt"):
        with (tmp_path / path).open("a") as file:
            file.write("\n")
        seen.add(bundle.build_name("1.0", tmp_path))
    assert len(seen) == 4


def test_what_the_freezer_makes_does_not_change_the_name(tmp_path: Path) -> None:
    for name in (*bundle.PACKAGES, "packaging", "requirements"):
        shutil.copytree(bundle.ROOT / name, tmp_path / name)
    shutil.rmtree(tmp_path / "cni_plugins/model/_frozen", ignore_errors=True)
    assert bundle.build_name("1.0", tmp_path) == bundle.build_name("1.0", bundle.ROOT)
