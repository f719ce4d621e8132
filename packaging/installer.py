"""Installs the plugins into a directory that a container runtime is using, and removes them from it.

    installer.py install FROM DIR [UNITS]       installer.py uninstall DIR [UNITS]

No step disturbs a call that is under way or starts meanwhile. The contents directory, named after its build, is copied under another
name and renamed when it is whole; only then is each executable replaced, by rename. So a file is never "text file busy", and
an executable always finds exactly the modules that it was built with. The builds that were in use before stay until the next
upgrade, for the calls that still run them. A plugin of somebody else's is kept in `.cni-plugins-replaced/`, and `uninstall`
puts it back. UNITS is where systemd's units for the agent go, if anywhere (see units.py). Needs the standard library only.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import units

KEPT = ".cni-plugins-replaced"
BUILD = re.compile(r"\.cni-plugins-\d[\w.+-]*")
# An executable of ours names its contents directory in the archive that PyInstaller appends to it.
MARK = re.compile(rb"pyi-contents-directory (\.cni-plugins-\d[\w.+-]*)")


class InstallError(Exception):
    """Nothing was replaced; the text says why and what to do."""


def install(source: Path, target: Path) -> list[str]:
    """Bring the build in `source` (as `make build` leaves it) to `target`. Returns what to tell the operator, in sentences.

    Doing it again changes nothing. Raises InstallError, or OSError when the file system refuses.
    """
    (contents,) = builds(source)
    names = sorted(path.name for path in source.iterdir() if path.is_file())
    target.mkdir(parents=True, exist_ok=True)
    with locked(target):
        sweep(target)
        for name in names:
            if (target / name).is_dir():
                raise InstallError(f"{target / name} is a directory: move it away, then install again")
        add_contents(source / contents, target / contents)
        before = {entry: build for entry in sorted(path.name for path in target.iterdir()) if (build := build_of(target / entry))}
        replaced = [name for name in names if os.path.lexists(target / name) and name not in before]
        if all(before.get(name) == contents for name in names):
            return [f"{target} has build {contents} already"]
        add_executables(source, target, names=names, keep=replaced)
        for name in set(before) - set(names):
            (target / name).unlink()
        for old in builds(target) - {contents, *before.values()}:
            shutil.rmtree(target / old)
        flush(target)
    said = [f"{target} has build {contents} now: {', '.join(names)}"]
    if replaced:
        said.append(f"replaced {', '.join(replaced)}, kept in {target / KEPT}: `make uninstall` puts them back")
    return said


def uninstall(target: Path) -> list[str]:
    """Take our plugins out of `target` and put back what they replaced. Returns what to tell the operator, in sentences."""
    if not target.is_dir():
        raise InstallError(f"{target} is not a directory: nothing is installed there")
    with locked(target):
        sweep(target)
        ours = sorted(path.name for path in target.iterdir() if build_of(path))
        kept = sorted(path.name for path in (target / KEPT).iterdir()) if (target / KEPT).is_dir() else []
        back = [name for name in kept if name in ours or not os.path.lexists(target / name)]
        for name in ours:
            if name not in back:
                (target / name).unlink()
        for name in back:
            (target / KEPT / name).replace(target / name)
        for directory in (KEPT, *builds(target)):
            shutil.rmtree(target / directory, ignore_errors=True)
        flush(target)
    return [f"{target} is rid of our plugins: {', '.join(ours) or 'there were none'}", f"put back: {', '.join(back) or 'nothing'}"]


def builds(directory: Path) -> set[str]:
    """The names of the contents directories in a directory of plugins."""
    return {path.name for path in directory.iterdir() if BUILD.fullmatch(path.name) and path.is_dir()}


def build_of(path: Path) -> str | None:
    """The contents directory that an executable needs, or None if it is not ours."""
    found = MARK.search(path.read_bytes()) if path.is_file() else None
    return found.group(1).decode() if found else None


def sweep(target: Path) -> None:
    """Remove what an interrupted run left; it stands under names that end in ~ until it is complete."""
    for path in target.glob(".cni-plugins*~"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def add_contents(source: Path, target: Path) -> None:
    """Copy a contents directory: it appears whole or not at all."""
    if target.exists():
        return
    unfinished = target.with_name(f"{target.name}~")
    shutil.copytree(source, unfinished, symlinks=True)
    for path in unfinished.rglob("*"):
        flush(path)
    unfinished.rename(target)
    flush(target.parent)


def add_executables(source: Path, target: Path, *, names: list[str], keep: list[str]) -> None:
    """Put executables in place one by one; they stay links to one file, by which a plugin knows its siblings."""
    first = target / ".cni-plugins~"
    link = target / ".cni-plugins-link~"
    shutil.copy2(source / names[0], first)
    flush(first)
    for name in names:
        if name in keep:
            (target / KEPT).mkdir(exist_ok=True)
            (target / KEPT / name).unlink(missing_ok=True)
            os.link(target / name, target / KEPT / name, follow_symlinks=False)
        link.hardlink_to(first)
        link.replace(target / name)
    first.unlink()


def flush(path: Path) -> None:
    """Bring a file or directory to the disk, so that a power cut leaves the old build or the new one."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One installer at a time in a directory."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    try:
        match arguments:
            case ["install", source, target, *more] if len(more) < 2:
                said = install(Path(source), Path(target))
                (contents,) = builds(Path(source))
                for place in more:
                    said += units.write(Path(place), directory=Path(target).absolute(), build=contents.removeprefix(".cni-plugins-"))
            case ["uninstall", target, *more] if len(more) < 2:
                said = uninstall(Path(target))
                for place in more:
                    said += units.remove(Path(place))
            case _:
                raise InstallError("use: installer.py install FROM DIR [UNITS], or installer.py uninstall DIR [UNITS]")
    except (InstallError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(said))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
