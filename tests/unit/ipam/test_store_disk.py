"""The store on a disk that is full, breaks, or lacks what the store would like to use."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from cni_plugins.ipam.lease_files import LeaseFiles
from cni_plugins.ipam.store import Store
from cni_plugins.kernel import calls
from cni_plugins.protocol.errors import IoFailure
from tests.unit.ipam import foreign
from tests.unit.ipam.leasing import ONE, TWO, V4, V6, fail_with, get, held


@pytest.mark.parametrize("step", ["write", "link_fd", "ftruncate"])
def test_a_disk_that_is_full_holds_nothing_and_is_named(store: Store, directory: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    with monkeypatch.context() as broken:
        fail_with(broken, step, errno.ENOSPC)
        with pytest.raises(IoFailure, match=f"{directory}.*: No space left on device"):
            get(store, ONE, V4, V6)
    assert held(store, ONE) == []
    assert store.leases() == []


def test_a_write_that_is_cut_short_still_makes_a_whole_lease(store: Store, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = calls.write
    monkeypatch.setattr(calls, "write", lambda fd, content: write(fd, content[:3]))
    get(store, ONE)
    assert (directory / "10.1.2.2").read_bytes() == b"one\r\neth0"


def test_a_file_that_an_operator_makes_at_the_same_moment_is_not_overwritten(
    store: Store, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = calls.write

    def meanwhile(fd: int, content: bytes) -> int:
        (directory / "10.1.2.2").write_text("kept by hand")
        return write(fd, content)

    monkeypatch.setattr(calls, "write", meanwhile)
    with pytest.raises(IoFailure, match="File exists"):
        get(store, ONE)
    assert (directory / "10.1.2.2").read_text() == "kept by hand"


def test_an_interrupted_allocation_gives_back_what_it_took(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(LeaseFiles, "set_last", interrupt)
        with pytest.raises(KeyboardInterrupt):
            get(store, ONE, V4, V6)
    assert store.leases() == []
    assert get(store, ONE) == ["10.1.2.2"]


def test_a_lease_that_cannot_be_removed_is_an_error_after_the_others_are_freed(
    store: Store, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get(store, ONE, V4, V6)
    unlink = calls.unlink

    def stubborn(path: str) -> None:
        if path.endswith("10.1.2.2"):
            raise OSError(errno.EROFS, "Read-only file system", path)
        unlink(path)

    with monkeypatch.context() as broken:
        broken.setattr(calls, "unlink", stubborn)
        with pytest.raises(IoFailure, match=f"{directory}: Read-only file system"):
            store.release(ONE)
    assert held(store, ONE) == ["10.1.2.2"]


def test_a_directory_that_cannot_be_written_is_found_before_it_is_needed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.check_writable()
    assert list(tmp_path.iterdir()) == []
    get(store, ONE)
    before = (tmp_path / "net").stat().st_mtime_ns
    store.check_writable()
    assert (tmp_path / "net").stat().st_mtime_ns == before
    with monkeypatch.context() as broken:
        fail_with(broken, "write", errno.ENOSPC)
        with pytest.raises(IoFailure, match="No space left on device"):
            store.check_writable()


def test_a_path_that_is_no_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(f"{tmp_path}/file", "net")
    with pytest.raises(IoFailure, match=f"{tmp_path}/file/net: Not a directory"):
        get(store, ONE)
    assert store.release(ONE) == []


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR])
def test_file_systems_without_nameless_files_serve_as_well(
    store: Store, directory: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    ordinary = calls.open

    def without(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(number, os.strerror(number), path)
        return ordinary(path, flags, mode)

    monkeypatch.setattr(calls, "open", without)
    foreign.die_reserving(directory, "10.1.2.2")
    (directory / ".draft").write_text("half")
    store.check_writable()
    assert get(store, ONE, V4, V6) == ["10.1.2.2", "2001:db8:1::2"]
    assert (directory / "10.1.2.2").read_bytes() == b"one\r\neth0"
    assert stat.S_IMODE((directory / "10.1.2.2").stat().st_mode) == 0o600
    assert not (directory / ".draft").exists()
    with monkeypatch.context() as broken:
        fail_with(broken, "write", errno.ENOSPC)
        with pytest.raises(IoFailure, match="No space left"):
            get(store, TWO)
    assert not (directory / ".draft").exists()


def test_an_unreadable_lease_is_an_error_and_not_taken_for_absent(store: Store, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign.reserve(directory, "10.1.2.2", "one\r\neth0")
    with monkeypatch.context() as broken:
        fail_with(broken, "read", errno.EIO)
        with pytest.raises(IoFailure, match="Input/output error"):
            store.release(ONE)
    assert [address.address for address in store.release(ONE)] == ["10.1.2.2"]
