"""The store of leases: what an owner gets, what is refused, what is given back, and what others may do to the files meanwhile."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from cni_plugins.ipam.lease_files import LeaseFiles
from cni_plugins.ipam.owner_index import STAMP
from cni_plugins.ipam.pools import Range, RangeSet
from cni_plugins.ipam.store import Store
from cni_plugins.kernel import calls
from cni_plugins.protocol.errors import Conflict, Exhausted, InvalidConfig, IoFailure
from cni_plugins.protocol.ip import parse_address, parse_cidr
from tests.unit.ipam import foreign

V4 = RangeSet([Range(parse_cidr("10.1.2.0/24"))])
V6 = RangeSet([Range(parse_cidr("2001:db8:1::/64"))])
TINY = RangeSet([Range(parse_cidr("10.0.0.0/29"))])
ONE = ("one", "eth0")
TWO = ("two", "eth0")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path), "net")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "net"


def get(store: Store, owner: tuple[str, str], *pools: RangeSet, ask: str = "") -> list[str]:
    leases = store.allocate(owner, pools or (V4,), [parse_address(text) for text in ask.split()])
    return [lease.address.address for lease in leases]


def held(store: Store, owner: tuple[str, str]) -> list[str]:
    return sorted(address.address for address in store.held(owner))


def fill(store: Store, pool: RangeSet) -> None:
    for n in range(pool.size):
        get(store, (f"filler{n}", "eth0"), pool)


def fail_with(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(calls, name, refuse)


def test_files_are_those_of_the_reference(store: Store, directory: Path) -> None:
    before = os.umask(0o022)
    try:
        assert get(store, ONE, V4, V6) == ["10.1.2.2", "2001:db8:1::2"]
    finally:
        os.umask(before)
    files = {path.name: (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) for path in directory.iterdir() if path.is_file()}
    assert files == {
        "10.1.2.2": (b"one\r\neth0", 0o600),
        "2001:db8:1::2": (b"one\r\neth0", 0o600),
        "last_reserved_ip.0": (b"10.1.2.2", 0o600),
        "last_reserved_ip.1": (b"2001:db8:1::2", 0o600),
        "lock": (b"", 0o750),
    }
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755


def test_a_lease_names_prefix_and_gateway(store: Store) -> None:
    (lease,) = store.allocate(ONE, [V4])
    assert (str(lease.address), str(lease.gateway)) == ("10.1.2.2/24", "10.1.2.1/32")


def test_what_is_foretold_is_what_comes_and_changes_nothing(store: Store, directory: Path) -> None:
    foretold = store.foretell([V4, V6], [parse_address("10.1.2.88")])
    assert not directory.exists()
    assert store.allocate(ONE, [V4, V6], [parse_address("10.1.2.88")]) == foretold
    assert store.foretell([V4, V6]) == store.allocate(TWO, [V4, V6])


def test_what_will_be_refused_is_foretold(store: Store) -> None:
    fill(store, TINY)
    with pytest.raises(Exhausted, match="range 1"):
        store.foretell([V4, TINY])
    with pytest.raises(Conflict, match=r"10\.0\.0\.3 is not available"):
        store.foretell([TINY], [parse_address("10.0.0.3")])
    with pytest.raises(InvalidConfig, match="subnet's gateway"):
        store.foretell([TINY], [parse_address("10.0.0.1")])


def test_an_address_just_given_back_is_the_last_to_be_used_again(store: Store) -> None:
    order = []
    for n in range(TINY.size + 1):
        order += get(store, (f"c{n}", "eth0"), TINY)
        store.release((f"c{n}", "eth0"))
    assert order == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]


def test_white_space_around_a_container_id_does_not_count(store: Store, directory: Path) -> None:
    get(store, ("   dummy\n ", "eth0"))
    assert (directory / "10.1.2.2").read_bytes() == b"dummy\r\neth0"
    assert held(store, ("dummy", "eth0")) == ["10.1.2.2"]


def test_a_second_address_for_the_same_interface_is_refused_and_takes_nothing(store: Store) -> None:
    get(store, ONE)
    with pytest.raises(Conflict, match=r"10\.1\.2\.2 has been allocated to one, duplicate allocation is not allowed"):
        get(store, ONE)
    assert held(store, ONE) == ["10.1.2.2"]


def test_asking_for_a_particular_address_does_not_get_a_second_one_either(store: Store) -> None:
    get(store, ONE)
    with pytest.raises(Conflict, match="duplicate allocation is not allowed"):
        get(store, ONE, ask="10.1.2.88")
    assert held(store, ONE) == ["10.1.2.2"]


def test_a_second_interface_of_the_same_container_gets_its_own(store: Store) -> None:
    assert get(store, ("one", "eth0")) == ["10.1.2.2"]
    assert get(store, ("one", "net1")) == ["10.1.2.3"]
    store.release(("one", "eth0"))
    assert held(store, ("one", "net1")) == ["10.1.2.3"]


def test_an_address_from_another_range_set_does_not_stand_in_the_way(store: Store) -> None:
    get(store, ONE, TINY)
    assert get(store, ONE, V4) == ["10.1.2.2"]
    assert sorted(address.address for address in store.release(ONE)) == ["10.0.0.2", "10.1.2.2"]


def test_requested_addresses_are_given_by_the_range_sets_they_lie_in(store: Store) -> None:
    assert get(store, ONE, V4, V6, ask="2001:db8:1::999 10.1.2.88") == ["10.1.2.88", "2001:db8:1::999"]
    assert get(store, TWO, V4, V6, ask="10.1.2.7") == ["10.1.2.7", "2001:db8:1::99a"]


def test_a_request_does_not_depend_on_the_prefix_length_it_is_written_with(store: Store) -> None:
    (lease,) = store.allocate(ONE, [V4], [parse_cidr("10.1.2.88/16"), parse_address("10.1.2.88")])
    assert str(lease.address) == "10.1.2.88/24"


def test_a_requested_address_that_is_taken_is_refused_with_its_holder(store: Store) -> None:
    get(store, ONE, ask="10.1.2.88")
    with pytest.raises(Conflict, match=r"requested IP address 10\.1\.2\.88 is not available in range set 10\.1\.2\.1-") as caught:
        get(store, TWO, ask="10.1.2.88")
    assert "one eth0" in caught.value.details
    assert held(store, TWO) == []


def test_requested_addresses_that_no_range_set_can_give_are_named(store: Store, directory: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"^failed to allocate all requested IPs: 10\.1\.2\.77 192\.0\.2\.1$"):
        get(store, ONE, V4, V6, ask="10.1.2.88 10.1.2.77 192.0.2.1")
    assert not directory.exists()


def test_the_gateway_cannot_be_requested(store: Store) -> None:
    with pytest.raises(InvalidConfig, match=r"requested ip 10\.1\.2\.1 is subnet's gateway"):
        get(store, ONE, ask="10.1.2.1")


def test_a_full_pool_says_so_and_gives_again_after_a_release(store: Store) -> None:
    fill(store, TINY)
    with pytest.raises(Exhausted, match=r"failed to allocate for range 0: no IP addresses available in range set: 10\.0\.0\.1-10\.0\.0\.6"):
        get(store, ONE, TINY)
    store.release(("filler2", "eth0"))
    assert get(store, ONE, TINY) == ["10.0.0.4"]


def test_when_one_range_set_is_full_nothing_of_the_others_is_kept(store: Store) -> None:
    fill(store, TINY)
    with pytest.raises(Exhausted, match="range 2"):
        get(store, ONE, V4, V6, TINY)
    assert held(store, ONE) == []
    assert {holding.address.address for holding in store.leases()} == {f"10.0.0.{n}" for n in range(2, 7)}


def test_a_free_address_behind_a_long_taken_stretch_is_found(store: Store, directory: Path) -> None:
    pool = RangeSet([Range(parse_cidr("2001:db8::/64"))])
    for n in range(2, 300):
        foreign.reserve(directory, f"2001:db8::{n:x}", f"c{n}\r\neth0")
    (directory / "last_reserved_ip.0").unlink()
    assert get(store, ONE, pool) == ["2001:db8::12c"]


def test_release_frees_every_address_and_a_second_one_is_no_error(store: Store) -> None:
    get(store, ONE, V4, V6)
    get(store, TWO, V4, V6)
    assert sorted(address.address for address in store.release(ONE)) == ["10.1.2.2", "2001:db8:1::2"]
    assert store.release(ONE) == []
    assert held(store, TWO) == ["10.1.2.3", "2001:db8:1::3"]


def test_nothing_is_made_by_a_release_where_nobody_ever_had_a_lease(store: Store, directory: Path) -> None:
    assert store.release(ONE) == store.held(ONE) == store.gc(set()) == store.leases() == []
    assert not directory.exists()


def test_a_lease_of_old_without_an_interface_is_found_and_freed(store: Store, directory: Path) -> None:
    foreign.reserve(directory, "10.1.2.9", "one")
    assert held(store, ONE) == ["10.1.2.9"]
    with pytest.raises(Conflict, match=r"10\.1\.2\.9 has been allocated"):
        get(store, ONE)
    assert [address.address for address in store.release(ONE)] == ["10.1.2.9"]


def test_a_lease_rewritten_in_place_the_old_way_is_freed(store: Store, directory: Path) -> None:
    get(store, ONE)
    (directory / "10.1.2.2").write_text("one")
    store.release(ONE)
    assert not (directory / "10.1.2.2").exists()


def test_a_named_interface_goes_before_a_lease_of_old(store: Store, directory: Path) -> None:
    foreign.reserve(directory, "10.1.2.9", "one")
    foreign.reserve(directory, "10.1.2.8", "one\r\neth0")
    assert [address.address for address in store.release(ONE)] == ["10.1.2.8"]
    assert [address.address for address in store.release(ONE)] == ["10.1.2.9"]


def test_what_a_killed_reference_process_left_empty_is_used_again(store: Store, directory: Path) -> None:
    foreign.die_reserving(directory, "10.1.2.2")
    assert get(store, ONE) == ["10.1.2.2"]
    foreign.die_reserving(directory, "10.1.2.9")
    assert get(store, TWO, ask="10.1.2.9") == ["10.1.2.9"]


def test_a_pool_full_of_empty_files_is_not_exhausted(store: Store, directory: Path) -> None:
    for n in range(2, 7):
        foreign.die_reserving(directory, f"10.0.0.{n}")
    assert store.free(TINY) == 5
    assert store.exhausted([TINY]) is None
    assert get(store, ONE, TINY) == ["10.0.0.2"]


def test_gc_frees_everybody_who_is_not_valid_and_nobody_s_files(store: Store, directory: Path) -> None:
    get(store, ONE, V4, V6)
    get(store, TWO, V4, V6)
    foreign.die_reserving(directory, "10.1.2.50")
    foreign.reserve(directory, "10.1.2.51", "two")
    foreign.reserve(directory, "10.1.2.52", "three")
    freed = {address.address for address in store.gc({TWO, ("four", "eth0")})}
    assert freed == {"10.1.2.2", "2001:db8:1::2", "10.1.2.50", "10.1.2.52"}
    assert held(store, TWO) == ["10.1.2.3", "2001:db8:1::3"]
    assert held(store, ONE) == []
    assert store.gc({TWO}) == []


def test_leases_are_listed_with_their_owners(store: Store, directory: Path) -> None:
    get(store, ONE, V4, V6)
    foreign.reserve(directory, "10.1.2.9", "old")
    foreign.die_reserving(directory, "10.1.2.10")
    assert {(lease.address.address, lease.container_id, lease.ifname) for lease in store.leases()} == {
        ("10.1.2.2", "one", "eth0"),
        ("2001:db8:1::2", "one", "eth0"),
        ("10.1.2.9", "old", ""),
    }


def test_status_counts_what_is_free_and_names_the_full_range_set(store: Store) -> None:
    assert store.exhausted([TINY, V6]) is None
    fill(store, TINY)
    get(store, ONE)
    assert store.free(TINY) == 0
    assert store.free(V4) == 252
    assert store.exhausted([V4, TINY]) is TINY


def test_networks_do_not_see_each_other(tmp_path: Path) -> None:
    one, other = Store(f"{tmp_path}/", "one"), Store(str(tmp_path), "other")
    assert get(one, ONE) == get(other, ONE) == ["10.1.2.2"]
    one.gc(set())
    assert held(other, ONE) == ["10.1.2.2"]


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


def test_an_unreadable_lease_is_an_error_and_not_taken_for_absent(store: Store, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign.reserve(directory, "10.1.2.2", "one\r\neth0")
    with monkeypatch.context() as broken:
        fail_with(broken, "read", errno.EIO)
        with pytest.raises(IoFailure, match="Input/output error"):
            store.release(ONE)
    assert [address.address for address in store.release(ONE)] == ["10.1.2.2"]


@pytest.mark.parametrize("text", ["", "rubbish", "10.1.2.900", "192.0.2.1", "2001:db8::1"])
def test_a_note_of_the_last_address_that_makes_no_sense_is_ignored(store: Store, directory: Path, text: str) -> None:
    get(store, ONE)
    (directory / "last_reserved_ip.0").write_text(text)
    assert get(store, TWO) == ["10.1.2.3"]


def test_a_shorter_last_address_replaces_a_longer_one_whole(store: Store, directory: Path) -> None:
    get(store, ONE, ask="10.1.2.254")
    get(store, TWO)
    assert (directory / "last_reserved_ip.0").read_bytes() == b"10.1.2.2"
