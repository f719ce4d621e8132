"""The store of leases: what an owner gets, what is refused, what is given back, and what others may do to the files meanwhile."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cni_plugins.ipam.pools import Range, RangeSet
from cni_plugins.ipam.store import Store
from cni_plugins.protocol.errors import Conflict, Exhausted, InvalidConfig
from cni_plugins.protocol.ip import parse_address, parse_cidr
from tests.unit.ipam import foreign
from tests.unit.ipam.leasing import ONE, TINY, TWO, V4, V6, fill, get, held


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


@pytest.mark.parametrize("text", ["", "rubbish", "10.1.2.900", "192.0.2.1", "2001:db8::1"])
def test_a_note_of_the_last_address_that_makes_no_sense_is_ignored(store: Store, directory: Path, text: str) -> None:
    get(store, ONE)
    (directory / "last_reserved_ip.0").write_text(text)
    assert get(store, TWO) == ["10.1.2.3"]


def test_a_shorter_last_address_replaces_a_longer_one_whole(store: Store, directory: Path) -> None:
    get(store, ONE, ask="10.1.2.254")
    get(store, TWO)
    assert (directory / "last_reserved_ip.0").read_bytes() == b"10.1.2.2"
