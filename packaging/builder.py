"""Builds the executables: freezes the models, bundles with PyInstaller, lays out dist/bin. Does nothing if dist/bin is up to date.

dist/bin holds one file per plugin name (hard links to one small executable, which acts by the name it is called under) and
`.cni-plugins-<build>`, the directory with the interpreter and the modules that they need beside them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import bundle

WORK = bundle.ROOT / "build"
DIST = bundle.ROOT / "dist"
#: Bit-identical builds need a fixed time and a fixed order of sets. PyInstaller obeys its own option too late to be silent.
SETTINGS = {"SOURCE_DATE_EPOCH": "1704067200", "PYTHONHASHSEED": "0", "PYI_LOG_LEVEL": "WARN"}


def main() -> None:
    """Build into dist/bin; exits with the failing tool's code."""
    sys.path.insert(0, str(bundle.ROOT))
    from cni_plugins import VERSION
    from cni_plugins.registry import PLUGINS, TOOLS

    build = bundle.build_name(VERSION)
    target = DIST / "bin"
    names = (*PLUGINS, *TOOLS)
    if is_current(target, build=build, names=names):
        print(f"dist/bin is up to date: build {build}")
        return
    for leftover in (WORK, bundle.ROOT / "cni_plugins" / "model" / bundle.FROZEN_MODELS):
        shutil.rmtree(leftover, ignore_errors=True)
    run("-m", "cni_plugins.model.freezer")
    WORK.mkdir()
    spec = bundle.ROOT / "packaging" / "cni-plugins.spec"
    run("-m", "PyInstaller", "--noconfirm", f"--workpath={WORK}", f"--distpath={WORK / 'out'}", spec, build=build)
    if bundle.build_name(VERSION) != build:
        sys.exit("a source file changed while it was being built: run `make build` again")
    lay_out(WORK / "out" / "cni-plugins", target, names=names)
    print(f"dist/bin holds build {build}: {', '.join(names)}")


def is_current(target: Path, *, build: str, names: Collection[str]) -> bool:
    """Whether `target` holds exactly this build's contents directory and these names."""
    return target.is_dir() and {path.name for path in target.iterdir()} == {*names, f".cni-plugins-{build}"}


def run(*arguments: str | Path, build: str = "") -> None:
    """Run this interpreter from the root of the tree; exits with its code if that is not zero."""
    environment = {**os.environ, **SETTINGS, "CNI_PLUGINS_BUILD": build}
    code = subprocess.run([sys.executable, *arguments], cwd=bundle.ROOT, env=environment, check=False).returncode
    if code:
        sys.exit(code)


def lay_out(collected: Path, target: Path, *, names: Collection[str]) -> None:
    """Turn PyInstaller's output (one executable beside its contents directory) into a directory of plugins."""
    executable = collected / "cni-plugins"
    for name in names:
        os.link(executable, collected / name)
    executable.unlink()
    target.parent.mkdir(exist_ok=True)
    if target.exists():
        target.rename(WORK / "replaced")
    collected.rename(target)


if __name__ == "__main__":
    main()
