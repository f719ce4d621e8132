"""Fake plugins: Python programs under the name `bad`."""

from __future__ import annotations

import sys
from pathlib import Path

from conformance.profile import Profile

TIMEOUT = 60
"""Seconds that a call may take, however busy the machine is."""
PROFILE = Profile(name="bad", plugin="bad", kind="ipam", conf={})
VERSIONS = (
    'print(\'{"cniVersion": "1.1.0", "supportedVersions": ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]}\', flush=True)'
)
"""A statement that answers VERSION."""


def plugin(directory: Path, body: str) -> Path:
    """Make a plugin of a Python program; returns its directory."""
    path = directory / "bad"
    path.write_text(f"#!{sys.executable}\nimport json, os, signal, subprocess, sys, time\n{body}\n")
    path.chmod(0o755)
    return directory
