"""Small files: whole or not there, nothing beside them, and errors that say which file."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from cni_plugins.kernel import calls, files
from cni_plugins.protocol.errors import IoFailure


@pytest.fixture(params=["nameless", "named"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file's place in an empty directory, on a file system with and without O_TMPFILE."""
    if request.param == "named":
        genuine = calls.open

        def without(path: str, flags: int, mode: int = 0o777) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "no O_TMPFILE here")
            return genuine(path, flags, mode)

        monkeypatch.setattr(calls, "open", without)
    return tmp_path / "record"


def test_a_file_is_replaced(target: Path) -> None:
    for data in (b"one", b"two" * 100_000, b""):
        files.write_atomic(str(target), data, mode=0o640)
        assert files.read(str(target)) == data
    assert target.stat().st_mode & 0o777 == 0o640
    assert os.listdir(target.parent) == ["record"]


def test_what_a_killed_writer_left_is_used_up(target: Path) -> None:
    (target.parent / ".record.new").write_bytes(b"half")
    files.write_atomic(str(target), b"whole")
    files.write_atomic(str(target), b"whole again")
    assert target.read_bytes() == b"whole again"
    assert os.listdir(target.parent) == ["record"]


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("old", [b"old", None], ids=["replaced", "new"])
@pytest.mark.parametrize("operation", ["open", "write", "link_fd", "rename"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    operation: str, old: bytes | None, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if old:
        target.write_bytes(old)
    before = contents(target.parent)
    failures = []

    def full(*_: object, **__: object) -> None:
        failures.append(OSError(errno.ENOSPC, "full"))
        raise failures[0]

    monkeypatch.setattr(calls, operation, full)
    complaints = []
    try:
        files.write_atomic(str(target), b"new")
    except IoFailure as error:
        complaints.append((error.msg, error.details.split(",")[0]))
    expected = [(f"cannot write {target}: No space left on device", "free some space there")]
    assert complaints == (expected if failures else [])
    if failures:
        assert contents(target.parent) == before


def test_a_reader_never_sees_half_a_file(target: Path) -> None:
    contents = [bytes([n]) * 200_000 for n in range(4)]
    files.write_atomic(str(target), contents[0])
    stop = threading.Event()
    odd = []

    def watch() -> None:
        while not stop.is_set():
            data = files.read(str(target))
            if data not in contents:
                odd.append(data)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _round in range(50):
        for data in contents:
            files.write_atomic(str(target), data)
    stop.set()
    watcher.join()
    assert not odd


def test_what_does_not_exist_is_no_error(tmp_path: Path) -> None:
    missing = str(tmp_path / "a" / "b")
    assert files.read(missing) is None
    assert files.names(missing) == []
    assert not files.remove(missing)
    assert not files.exists(missing)
    (tmp_path / "plain").write_bytes(b"")
    assert files.read(str(tmp_path / "plain" / "below")) is None


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "huge").write_bytes(b"x" * 101)
    assert files.read(str(tmp_path / "huge"), limit=101) == b"x" * 101
    with pytest.raises(IoFailure, match="more than 100 bytes"):
        files.read(str(tmp_path / "huge"), limit=100)


def test_directories_are_made_where_they_are_missing(tmp_path: Path) -> None:
    for _time in range(2):
        files.make_dirs(str(tmp_path / "a/b/c"), mode=0o700)
    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(IoFailure, match="Not a directory"):
        files.make_dirs(str(tmp_path / "file/b"))


def test_whether_a_directory_can_be_written_is_found_out_without_a_trace(target: Path) -> None:
    files.check_writable(str(target.parent / "still" / "to be made"))
    assert os.listdir(target.parent) == []
    with pytest.raises(IoFailure, match="/proc"):
        files.check_writable("/proc/cni")


def test_a_byte_lock_keeps_out_that_byte_alone_and_goes_with_its_descriptor(tmp_path: Path) -> None:
    first, second = (os.open(tmp_path / "locks", os.O_RDWR | os.O_CREAT) for _ in range(2))
    calls.lock_byte(first, 1 << 40, wait=False)
    calls.lock_byte(second, (1 << 40) + 1, wait=False)
    with pytest.raises(BlockingIOError):
        calls.lock_byte(second, 1 << 40, wait=False)
    os.close(first)
    calls.lock_byte(second, 1 << 40, wait=False)
    os.close(second)


def test_every_operation_exists_and_can_be_replaced() -> None:
    assert sorted(calls.__all__) == calls.__all__
    assert all(callable(getattr(calls, name)) for name in calls.__all__)
