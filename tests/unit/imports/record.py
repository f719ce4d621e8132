"""Write down anew which modules each call imports: `python -m tests.unit.imports.record`, as root."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.unit.imports.measure import PINNED, measure


def main() -> None:
    """Measure and write `modules.json`; the difference is for the reviewer of the change."""
    with tempfile.TemporaryDirectory() as directory:
        found = measure(Path(directory))
    version = ".".join(map(str, sys.version_info[:2]))
    PINNED.write_text(json.dumps({"python": version, "modules": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
