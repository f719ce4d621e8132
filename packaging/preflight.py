"""Says in one sentence what this machine lacks for a target and how to get it; on Debian, root gets it at once.

    preflight.py build|demo|test|cluster|vm

What is needed stands in packages.txt. Needs the standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

LIST = Path(__file__).with_name("packages.txt")
INCLUDES = {
    "build": ("build",),
    "demo": ("build", "demo"),
    "test": ("build", "demo", "test"),
    "cluster": ("build", "demo", "test", "cluster"),
    "vm": ("build", "demo", "test", "vm"),
}
# Tools of the administrator, which are not in everybody's PATH.
SEARCH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"


class Need(NamedTuple):
    """A line of packages.txt."""

    group: str
    what: str
    package: str
    reason: str


def needs(target: str, text: str) -> list[Need]:
    """The lines of packages.txt that a target needs. Raises KeyError for an unknown target."""
    groups = INCLUDES[target]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    lines = [line.split(maxsplit=3) for line in text.splitlines() if line and not line.startswith("#")]
    return [Need(group, what, package.format(python=python), reason) for group, what, package, reason in lines if group in groups]


def is_there(what: str) -> bool:
    """Whether the machine has a command, a shared library, a file, a module of this Python, or this Python's own shared library."""
    kind, _, name = what.partition(":")
    match kind:
        case "command":
            return shutil.which(name, path=SEARCH) is not None
        case "library":
            return loads(name)
        case "file":
            return Path(name).exists()
        case "module":
            return importlib.util.find_spec(name) is not None
        case "libpython":
            name = sysconfig.get_config_var("INSTSONAME")
            return loads(name) or loads(f"{sysconfig.get_config_var('LIBDIR')}/{name}")
    raise ValueError(f"packages.txt: nobody knows how to look for {what}")


def loads(library: str) -> bool:
    """Whether a shared library is there and loads."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def sentence(missing: Sequence[Need]) -> str:
    """What is missing, for what, and the command that brings it."""
    things = ", ".join(f"{need.what.partition(':')[2] or need.what} (for {need.reason})" for need in missing)
    return f"This machine lacks {things}: run `apt-get install {' '.join(packages(missing))}` as root, or your distribution's equivalent."


def packages(missing: Iterable[Need]) -> list[str]:
    """The names of the packages to install, each once."""
    return list(dict.fromkeys(need.package for need in missing))


def fetch(missing: Sequence[Need]) -> None:
    """Install what is missing with apt-get; what it says goes to stderr. Failure shows in what is still missing afterwards."""
    print(f"installing {' '.join(packages(missing))}", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ("install", "--yes", "--no-install-recommends", *packages(missing))
    patient = ("-o", "DPkg::Lock::Timeout=300")  # somebody else may be installing something, for so many seconds
    for arguments in (("update",), install):
        subprocess.run(["apt-get", "-qq", *patient, *arguments], env=environment, stdout=sys.stderr, check=False)


def complaint(target: str) -> str:
    """Why this machine cannot run a target, after installing what can be installed; empty when it can."""
    if target != "build" and os.geteuid() != 0:
        return f"`make {target}` makes network namespaces and needs root: run `sudo make {target}`."
    wanted = needs(target, LIST.read_text(encoding="utf-8"))
    missing = [need for need in wanted if not is_there(need.what)]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        fetch(missing)
        missing = [need for need in missing if not is_there(need.what)]
    if missing:
        return sentence(missing)
    if target != "build" and subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False).returncode:
        return "This machine does not let root make network and mount namespaces: run outside the container, or in a privileged one."
    return ""


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status."""
    if len(arguments) != 1 or arguments[0] not in INCLUDES:
        print(f"use: preflight.py {'|'.join(INCLUDES)}", file=sys.stderr)
        return 2
    problem = complaint(arguments[0])
    if problem:
        print(problem, file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
