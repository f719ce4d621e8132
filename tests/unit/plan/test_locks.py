"""An attachment's lock and the programs that inherit it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cni_plugins.plan.locks import AttachmentLock

KEY = bytes(16)


@contextmanager
def heir(descriptor: int) -> Iterator[subprocess.Popen[bytes]]:
    """A program that has a copy of the descriptor and waits for its input's end."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[descriptor]) as program:
        yield program
        assert program.stdin
        program.stdin.close()


def is_free(run_dir: Path) -> bool:
    """Whether somebody else would get the lock now."""
    with AttachmentLock(str(run_dir), "bridge", KEY, wait=False) as lock:
        return lock.held


def test_a_program_that_outlives_the_call_does_not_keep_the_next_one_waiting(tmp_path: Path) -> None:
    with ExitStack() as programs:
        with AttachmentLock(str(tmp_path), "bridge", KEY) as lock:
            programs.enter_context(heir(lock.fd))
            assert not is_free(tmp_path)
        assert is_free(tmp_path)


def test_a_program_that_outlives_a_killed_call_keeps_the_next_one_waiting(tmp_path: Path) -> None:
    lock = AttachmentLock(str(tmp_path), "bridge", KEY).__enter__()
    with heir(lock.fd):
        os.close(lock.fd)  # as the kernel does for the dead
        assert not is_free(tmp_path)
    assert is_free(tmp_path)
