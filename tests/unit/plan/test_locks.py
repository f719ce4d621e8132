"""An attachment's lock and the programs that inherit it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cni_plugins.plan.locks import AttachmentLock, AttachmentLocks, LentLock
from cni_plugins.plan.world import Handles

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


def test_delegates_get_the_outermost_lock_and_only_while_it_is_held(tmp_path: Path) -> None:
    handles = Handles(run_dir=str(tmp_path))
    with LentLock(handles, "flannel", KEY) as outer:
        with LentLock(handles, "bridge", KEY):
            assert handles.lock == outer.fd
        assert handles.lock == outer.fd
    assert handles.lock == -1


def test_a_lock_that_somebody_else_has_is_not_lent(tmp_path: Path) -> None:
    handles = Handles(run_dir=str(tmp_path))
    with AttachmentLock(str(tmp_path), "bridge", KEY), LentLock(handles, "bridge", KEY, wait=False) as lock:
        assert not lock.held
        assert handles.lock == -1


def test_many_locks_are_held_on_one_descriptor_but_for_those_that_somebody_has(tmp_path: Path) -> None:
    keys = [bytes([number]) * 16 for number in range(3)]
    with AttachmentLock(str(tmp_path), "bridge", keys[0]):
        before = len(os.listdir("/proc/self/fd"))
        with AttachmentLocks(str(tmp_path)) as locks:
            assert [locks.take("bridge", key) for key in keys] == [False, True, True]
            assert locks.take("portmap", keys[0]), "each plugin has its own"
            assert len(os.listdir("/proc/self/fd")) == before + 1
            with AttachmentLock(str(tmp_path), "bridge", keys[1], wait=False) as another:
                assert not another.held
    with AttachmentLock(str(tmp_path), "bridge", keys[1], wait=False) as another:
        assert another.held
