"""Pins the dependencies of pyproject.toml in requirements/locked.txt, with hashes, for every Python and machine that we support.

Runs uv in a throw-away environment: pip's own resolver pins for the running interpreter only. Pass `--upgrade` for newer versions.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

UV = "uv==0.13.9"
LOCKED = Path("requirements/locked.txt")
HEAD = "# Made from pyproject.toml by `make lock`: every package that the project uses, with hashes, for Linux and Python 3.11 to 3.13.\n"
OPTIONS = ("--universal", "--python-version=3.11", "--generate-hashes", "--no-annotate", "--no-header", "--no-emit-index-url", "--quiet")


def main() -> None:
    """Rewrite the lock file; raises CalledProcessError when pip or uv fails."""
    with tempfile.TemporaryDirectory() as home:
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([f"{home}/bin/pip", "install", "--quiet", UV], check=True)
        groups = ("--extra", "agent", "--group", "build", "--group", "test")
        output = f"--output-file={LOCKED}"
        subprocess.run([f"{home}/bin/uv", "pip", "compile", *OPTIONS, *groups, *sys.argv[1:], "pyproject.toml", output], check=True)
    LOCKED.write_text(HEAD + "".join(line for line in LOCKED.open() if not line.startswith(("#", "--"))))


if __name__ == "__main__":
    main()
