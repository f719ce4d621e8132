"""The executable of this process, as a file."""

from __future__ import annotations

import sys

from cni_plugins.kernel import calls, files
from cni_plugins.protocol.errors import IoFailure

_LIMIT = 1 << 20


def is_copy(path: str, size: int) -> bool:
    """Whether the file at `path`, which has `size` bytes, says the same as the executable of this process, which is small.

    That has the name of its build in it, so what says the same is of the same build.
    """
    try:
        if size > _LIMIT or calls.stat(sys.executable).st_size != size:
            return False
        return files.read(path, limit=_LIMIT) == files.read(sys.executable, limit=_LIMIT)
    except (OSError, IoFailure):
        return False
