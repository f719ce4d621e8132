"""The kernel parameters of the calling thread's network namespace that plugins change."""

from __future__ import annotations

import os
from contextlib import suppress

ROOT = "/proc/sys/"
DIRECTORIES = ("net/ipv4", "net/ipv6", "net/bridge", "net/netfilter")
PER_LINK = ("net/ipv4/conf", "net/ipv6/conf")

_NOT_OURS = frozenset({"nf_conntrack_count", "stable_secret", "tcp_fastopen_key", "flush"})
"""Parameters that count something, or that can't be read."""


def read() -> dict[str, dict[str, str]]:
    """All parameters directly in `DIRECTORIES`, and those of each link: path under /proc/sys to {"value": text}."""
    found = {}
    directories = [*DIRECTORIES]
    for parent in PER_LINK:
        with suppress(OSError):
            directories += [f"{parent}/{link}" for link in os.listdir(ROOT + parent)]
    for directory in directories:
        with suppress(OSError), os.scandir(ROOT + directory) as entries:
            for name in [entry.name for entry in entries if entry.name not in _NOT_OURS and entry.is_file()]:
                with suppress(OSError):
                    found[f"{directory}/{name}"] = {"value": _value(f"{ROOT}{directory}/{name}")}
    return found


def _value(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096).decode(errors="replace").strip()
    finally:
        os.close(fd)
