"""What a plugin calls itself: the line that most print when somebody runs them by hand."""

from __future__ import annotations

import os
from pathlib import Path

from conformance import execute

_LIMIT = 100
# Even this call is not one for the machine's own namespaces: nobody knows yet what the plugin does.
_APART = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]


def line(plugin: Path) -> str:
    """Return the first line that the plugin prints when it is executed without CNI_COMMAND; empty for none, or an error result."""
    try:
        done = execute.Running([*_APART, str(plugin)], env={"PATH": os.environ.get("PATH", os.defpath)}, stdin=b"").wait()
    except OSError:
        return ""
    text = (done.stderr.strip() or done.stdout.strip()).split("\n", 1)[0]
    return "" if done.status or text.startswith("{") else text[:_LIMIT]
