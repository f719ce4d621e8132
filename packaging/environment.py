"""Runs a command in the project's Python environment, which it makes when it is missing: `environment.py -m pytest …`.

The environment lies outside the work tree, under a name made from the lock file and the interpreter, so that clones share it
and a changed lock file never meets an old environment. Needs the standard library only. Arguments: those of `python`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements" / "locked.txt"


def directory() -> Path:
    """Where the environment for this lock file and this interpreter lies."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    interpreter = f"{sys.version} {sysconfig.get_platform()} {sys.base_prefix}"
    key = hashlib.sha256(LOCK.read_bytes() + interpreter.encode()).hexdigest()[:16]
    return cache / "cni-plugins" / f"venv-{key}"


def ensure() -> Path:
    """The environment's interpreter. The environment is made whole or not at all, by one process at a time.

    Exits with pip's code when pip fails.
    """
    home = directory()
    python = home / "bin" / "python"
    finished = home / "complete"
    if finished.exists():
        return python
    home.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{home}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            print(f"making the Python environment {home}", file=sys.stderr)
            shutil.rmtree(home, ignore_errors=True)
            run(sys.executable, "-m", "venv", str(home))
            run(str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:", "-r", str(LOCK))
            finished.touch()
    return python


def run(*command: str) -> None:
    """Run a command whose output belongs to stderr; exits with its code if that is not zero."""
    code = subprocess.run(command, stdout=sys.stderr, check=False).returncode
    if code:
        sys.exit(code)


if __name__ == "__main__":
    interpreter = str(ensure())
    os.environ["PATH"] = f"{Path(interpreter).parent}:{os.environ.get('PATH', os.defpath)}"
    os.execv(interpreter, [interpreter, *sys.argv[1:]])
