"""The store and the reference's host-local on one directory at the same time. Neither touches any network."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni_plugins.ipam.owner_index import STAMP
from cni_plugins.ipam.store import Store
from cni_plugins.protocol.errors import Conflict
from tests.netns.ipam.store_call import IFNAME, NETWORK, POOLS, SUBNETS
from tests.support.paths import REPO

BATCH = 25


class Reference:
    """The reference's host-local on the same data directory as the store."""

    def __init__(self, executable: Path, data_dir: Path) -> None:
        self._executable = executable
        ranges = [[{"subnet": subnet}] for subnet in SUBNETS]
        ipam = {"type": "host-local", "dataDir": str(data_dir), "ranges": ranges}
        self._conf = json.dumps({"cniVersion": "1.0.0", "name": NETWORK, "type": "bridge", "ipam": ipam})

    def start(self, verb: str, container_id: str) -> subprocess.Popen[str]:
        env = {"CNI_COMMAND": verb, "CNI_CONTAINERID": container_id, "CNI_NETNS": "/none", "CNI_IFNAME": IFNAME, "CNI_PATH": "/none"}
        process = subprocess.Popen([self._executable], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin
        process.stdin.write(self._conf)
        process.stdin.close()
        process.stdin = None
        return process

    def call(self, verb: str, container_id: str) -> tuple[int, str]:
        process = self.start(verb, container_id)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def add(self, container_id: str) -> set[str]:
        status, output = self.call("ADD", container_id)
        assert status == 0, output
        return addresses(output)

    def delete(self, container_id: str) -> None:
        status, output = self.call("DEL", container_id)
        assert status == 0, output


def addresses(output: str) -> set[str]:
    return {ip["address"].partition("/")[0] for ip in json.loads(output)["ips"]}


@pytest.fixture
def reference(reference_bin: Path, tmp_path: Path) -> Reference:
    return Reference(reference_bin / "host-local", tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path), NETWORK)


def add(store: Store, container_id: str) -> set[str]:
    return {lease.address.address for lease in store.allocate((container_id, IFNAME), POOLS)}


def release(store: Store, container_id: str) -> set[str]:
    return {address.address for address in store.release((container_id, IFNAME))}


def lease_files(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mode) for path in directory.iterdir() if path.is_file()}


def test_both_leave_the_same_files(reference: Reference, store: Store, tmp_path: Path, reference_bin: Path) -> None:
    other = tmp_path / "reference"
    theirs = Reference(reference_bin / "host-local", other)
    for container_id in ("a", "b"):
        assert add(store, container_id) == theirs.add(container_id)
    assert release(store, "a") == {"10.7.0.2", "2001:db8:7::2"}
    theirs.delete("a")
    assert lease_files(tmp_path / NETWORK) == lease_files(other / NETWORK)


def test_each_goes_on_where_the_other_stopped(reference: Reference, store: Store) -> None:
    assert add(store, "a") == {"10.7.0.2", "2001:db8:7::2"}
    assert reference.add("b") == {"10.7.0.3", "2001:db8:7::3"}
    reference.delete("b")
    assert add(store, "c") == {"10.7.0.4", "2001:db8:7::4"}


def test_each_refuses_a_second_address_to_an_owner_the_other_served(reference: Reference, store: Store) -> None:
    add(store, "a")
    reference.add("b")
    status, output = reference.call("ADD", "a")
    assert status == 1
    assert "duplicate allocation is not allowed" in output
    with pytest.raises(Conflict, match="duplicate allocation is not allowed"):
        add(store, "b")


def test_check_of_the_reference_finds_our_lease_until_it_is_released(reference: Reference, store: Store) -> None:
    add(store, "a")
    assert reference.call("CHECK", "a")[0] == 0
    release(store, "a")
    assert reference.call("CHECK", "a")[0] == 1


def test_a_node_handed_back_to_the_reference_loses_the_index_with_the_leases(reference: Reference, store: Store, tmp_path: Path) -> None:
    owners = [f"c{n}" for n in range(10)]
    for owner in owners:
        add(store, owner)
    for owner in owners:
        reference.delete(owner)
    assert list((tmp_path / NETWORK / ".by-id").iterdir()) == []
    assert store.leases() == []


def test_any_order_of_both_gives_every_owner_what_he_had(reference: Reference, store: Store, tmp_path: Path) -> None:
    choose = random.Random(7)
    held: dict[str, set[str]] = {}
    for n in range(120):
        ours = choose.random() < 0.5
        if held and choose.random() < 0.5:
            container_id = choose.choice(sorted(held))
            expected = held.pop(container_id)
            if ours:
                assert release(store, container_id) == expected
            else:
                reference.delete(container_id)
        else:
            container_id = f"c{n}"
            got = add(store, container_id) if ours else reference.add(container_id)
            assert not any(got & others for others in held.values())
            held[container_id] = got
        assert {address.address for address in store.held((container_id, IFNAME))} == held.get(container_id, set())
        names = {path.name for path in (tmp_path / NETWORK).iterdir() if path.name[0] in "12"}
        assert names == set().union(*held.values())


def start_ours(data_dir: Path, verb: str, container_id: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.netns.ipam.store_call", str(data_dir), verb, container_id]
    return subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, text=True)


def finished(processes: list[subprocess.Popen[str]]) -> Iterator[str]:
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        yield output


def test_fifty_at_once_get_different_addresses_and_each_frees_the_others(reference: Reference, store: Store, tmp_path: Path) -> None:
    adding = [start_ours(tmp_path, "ADD", f"ours{n}") for n in range(BATCH)]
    adding_theirs = [reference.start("ADD", f"theirs{n}") for n in range(BATCH)]
    got = [set(output.split()) for output in finished(adding)] + [addresses(output) for output in finished(adding_theirs)]
    assert len(set().union(*got)) == 2 * 2 * BATCH
    for n in range(BATCH):
        assert {address.address for address in store.held((f"theirs{n}", IFNAME))} == got[BATCH + n]
    releasing = [reference.start("DEL", f"ours{n}") for n in range(BATCH)]
    releasing_theirs = [start_ours(tmp_path, "DEL", f"theirs{n}") for n in range(BATCH)]
    list(finished(releasing))
    assert [set(output.split()) for output in finished(releasing_theirs)] == got[BATCH:]
    assert store.leases() == []
    assert set(os.listdir(tmp_path / NETWORK)) == {".by-id", "lock", "last_reserved_ip.0", "last_reserved_ip.1"}


def test_the_reference_leaves_a_directory_without_our_stamp(reference: Reference, store: Store, tmp_path: Path) -> None:
    add(store, "a")
    assert (tmp_path / NETWORK).stat().st_mtime_ns == STAMP
    reference.add("b")
    assert (tmp_path / NETWORK).stat().st_mtime_ns != STAMP
    assert release(store, "b") == {"10.7.0.3", "2001:db8:7::3"}
    assert (tmp_path / NETWORK).stat().st_mtime_ns == STAMP
    reference.delete("a")
    assert (tmp_path / NETWORK).stat().st_mtime_ns != STAMP
