"""What the plugins do under Debian's own kernel: the tests of `tests/vm`, run in one boot of an emulated machine."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.lab import vm


def test_plugins_work_under_debians_kernel(plugins: Path, reference_bin: Path) -> None:
    env = {"TERM": "dumb", "CNI_TEST_PLUGINS": str(plugins), "CNI_PEERS_BIN": str(reference_bin), "PYTHONDONTWRITEBYTECODE": "1"}
    done = vm.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/vm"], env=env)
    print(done.stdout)
    assert done.returncode == 0
