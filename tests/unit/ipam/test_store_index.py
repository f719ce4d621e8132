"""The index of owners beside the leases: which files are read, and what the reference, or a backup, may do to it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cni_plugins.ipam.owner_index import STAMP
from cni_plugins.ipam.store import Store
from cni_plugins.kernel import calls
from cni_plugins.protocol.errors import Conflict, Exhausted
from tests.unit.ipam import foreign
from tests.unit.ipam.leasing import ONE, TINY, TWO, V4, V6, fail_with, fill, get, held


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collects the names of the lease files that are opened from now on."""
    opened: list[str] = []
    ordinary = calls.open

    def record(path: str, flags: int, mode: int = 0o777) -> int:
        if path.rpartition("/")[2][0].isdigit():
            opened.append(path.rpartition("/")[2])
        return ordinary(path, flags, mode)

    monkeypatch.setattr(calls, "open", record)
    return opened


def test_no_call_reads_the_leases_of_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, TINY)
    get(store, TWO)
    opened = reads(monkeypatch)
    get(store, ONE, V4, V6)
    assert opened == []
    store.held(ONE)
    store.release(ONE)
    store.release(ONE)
    assert set(opened) == {"10.1.2.3", "2001:db8:1::2"}


def test_a_failed_allocation_does_not_make_the_next_call_slow(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, TINY)
    with pytest.raises(Exhausted):
        get(store, ONE, V4, TINY)
    opened = reads(monkeypatch)
    store.release(TWO)
    assert opened == []


def test_both_directories_bear_the_stamp_after_a_call(store: Store, directory: Path) -> None:
    get(store, ONE, V4, V6)
    assert directory.stat().st_mtime_ns == (directory / ".by-id").stat().st_mtime_ns == STAMP
    links = {path.name.rpartition(".")[2]: os.readlink(path) for path in (directory / ".by-id").iterdir()}
    assert links == {"0": "../10.1.2.2", "1": "../2001:db8:1::2"}
    store.release(ONE)
    assert list((directory / ".by-id").iterdir()) == []


def test_a_lease_the_reference_added_is_known_at_once(store: Store, directory: Path) -> None:
    get(store, ONE)
    foreign.reserve(directory, "10.1.2.3", "two\r\neth0")
    with pytest.raises(Conflict, match=r"10\.1\.2\.3 has been allocated to two"):
        get(store, TWO)
    assert get(store, ("three", "eth0")) == ["10.1.2.4"]
    assert [address.address for address in store.release(TWO)] == ["10.1.2.3"]


def test_a_lease_the_reference_freed_and_gave_to_another_is_not_freed_again(store: Store, directory: Path) -> None:
    get(store, ONE)
    foreign.release(directory, *ONE)
    foreign.reserve(directory, "10.1.2.2", "two\r\neth0")
    assert store.release(ONE) == []
    assert held(store, TWO) == ["10.1.2.2"]


def test_the_reference_takes_the_links_away_with_the_leases(store: Store, directory: Path) -> None:
    get(store, ONE, V4, V6)
    foreign.release(directory, *ONE)
    assert list((directory / ".by-id").iterdir()) == []
    assert store.leases() == []


def test_a_reference_process_killed_after_removing_the_link_loses_no_lease(store: Store, directory: Path) -> None:
    get(store, ONE)
    for link in (directory / ".by-id").iterdir():
        link.unlink()
    assert [address.address for address in store.release(ONE)] == ["10.1.2.2"]


def test_links_that_a_backup_turned_into_files_are_put_right(store: Store, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    get(store, ONE)
    for link in (directory / ".by-id").iterdir():
        link.unlink()
        link.write_bytes(b"one\r\neth0")
    get(store, TWO)
    opened = reads(monkeypatch)
    assert held(store, ONE) == ["10.1.2.2"]
    assert opened == ["10.1.2.2"]


@pytest.mark.parametrize("step", ["symlink", "readlink", "utime", "listdir"])
def test_an_index_that_cannot_be_kept_costs_time_and_nothing_else(
    store: Store, directory: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    foreign.reserve(directory, "10.1.2.9", "two\r\neth0")
    with monkeypatch.context() as broken:
        if step == "listdir":
            ordinary = calls.listdir
            broken.setattr(calls, "listdir", lambda path: fail() if path.endswith(".by-id") else ordinary(path))
        else:
            fail_with(broken, step, errno.EIO)
        assert get(store, ONE) == ["10.1.2.10"]
        assert held(store, ONE) == ["10.1.2.10"]
        with pytest.raises(Conflict, match="duplicate"):
            get(store, TWO)
        assert [address.address for address in store.release(TWO)] == ["10.1.2.9"]
    assert held(store, ONE) == ["10.1.2.10"]
    assert held(store, TWO) == []


def fail() -> list[str]:
    raise OSError(errno.EIO, os.strerror(errno.EIO))
