"""Leases in a file: what is written there is in force, at once, and what is written wrongly does no harm."""

from __future__ import annotations

import json
import os
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.protocol.errors import Conflict, InvalidConfig
from tests.netns.leases.conftest import Managers, attributes
from vxlan.leases.network import NetworkConfig
from vxlan.leases.peers import Peer
from vxlan.leases.schema import Attributes, Subnets
from vxlan.leases.static import StaticStore
from vxlan.leases.store import Claim, StoreUnavailable

SECONDS = 60
ONE = {"node": "192.168.77.11", "subnet": "10.5.1.0/24"}
TWO = {"node": "192.168.77.12", "subnet": "10.5.2.0/24", "mac": "02:00:00:00:00:0c"}
THREE = {"node": "192.168.77.13", "subnet": "10.5.3.0/24"}


def network(**more: Any) -> NetworkConfig:
    """A network on VXLAN 100."""
    config = {"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "VNI": 100}, **more}
    return NetworkConfig.parse(json.dumps(config), source="the test")


def put(path: Path, *entries: object) -> None:
    """Replace the file as a careful program does."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(entries))
    draft.rename(path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with two nodes."""
    path = tmp_path / "peers.json"
    put(path, ONE, TWO)
    return path


def test_this_node_has_its_entry_and_the_others_are_peers(file: Path, managers: Managers) -> None:
    view = managers(11, StaticStore(str(file), network())).wait(lambda view: view.peers is not None, seconds=SECONDS)
    assert view.lease
    assert str(view.lease.subnets) == "10.5.1.0/24"
    assert view.lease.expires is None
    assert view.peers == (Peer("10.5.2.0/24", "192.168.77.12", "02:00:00:00:00:0c", "10.5.2.0/24"),)


def test_each_node_derives_the_same_hardware_address_for_another(file: Path, managers: Managers) -> None:
    put(file, ONE, {"node": "192.168.77.12", "subnet": "10.5.2.0/24"}, THREE)
    seen = [managers(n, StaticStore(str(file), network())).wait(lambda view: view.peers, seconds=SECONDS) for n in (11, 12)]
    macs = [{peer.node: peer.mac for peer in view.peers or ()} for view in seen]
    assert macs[0]["192.168.77.13"] == macs[1]["192.168.77.13"]
    assert seen[1].lease
    assert seen[1].lease.attributes
    assert seen[1].lease.attributes.vtep
    assert macs[0]["192.168.77.12"] == seen[1].lease.attributes.vtep.mac


@pytest.mark.parametrize("careful", [True, False], ids=["by rename", "in place"])
def test_a_changed_file_is_in_force_at_once(file: Path, managers: Managers, careful: bool) -> None:
    manager = managers(11, StaticStore(str(file), network()))
    manager.wait(lambda view: view.peers, seconds=SECONDS)
    if careful:
        put(file, ONE, TWO, THREE)
    else:
        file.write_text(json.dumps([ONE, TWO, THREE]))
    manager.wait(lambda view: view.peers and len(view.peers) == 2, seconds=SECONDS)


def test_a_volume_of_kubernetes_is_followed_through_its_links(tmp_path: Path, managers: Managers) -> None:
    for number, entries in enumerate(([ONE, TWO], [ONE, TWO, THREE])):
        (tmp_path / f"..{number}").mkdir()
        put(tmp_path / f"..{number}" / "peers.json", *entries)
    (tmp_path / "..data").symlink_to("..0")
    (tmp_path / "peers.json").symlink_to("..data/peers.json")
    manager = managers(11, StaticStore(str(tmp_path / "peers.json"), network()))
    manager.wait(lambda view: view.peers, seconds=SECONDS)
    (tmp_path / "..data_tmp").symlink_to("..1")
    os.rename(tmp_path / "..data_tmp", tmp_path / "..data")
    manager.wait(lambda view: view.peers and len(view.peers) == 2, seconds=SECONDS)


@pytest.mark.parametrize("broken", ["", "{", "{}", "[", None], ids=repr)
def test_a_file_that_cannot_be_read_leaves_everything_as_it_was(file: Path, managers: Managers, broken: str | None) -> None:
    manager = managers(11, StaticStore(str(file), network()))
    before = manager.wait(lambda view: view.peers, seconds=SECONDS)
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken)
    after = manager.wait(lambda view: view.problems, seconds=SECONDS)
    assert (after.lease, after.peers) == (before.lease, before.peers)
    assert str(file) in after.problems[0]
    put(file, ONE, TWO, THREE)
    manager.wait(lambda view: not view.problems and len(view.peers or ()) == 2, seconds=SECONDS)


def test_an_entry_that_makes_no_sense_is_named_and_the_others_work(file: Path, managers: Managers) -> None:
    put(file, ONE, {"node": "192.168.77.12", "subnet": "10.99.2.0/24"}, {"node": "nobody", "subnet": "10.5.4.0/24"}, THREE)
    view = managers(11, StaticStore(str(file), network())).wait(lambda view: view.peers is not None and view.problems, seconds=SECONDS)
    assert [peer.node for peer in view.peers or ()] == ["192.168.77.13"]
    assert "10.99.2.0/24" in view.problems[0]
    assert "nobody" in view.problems[0]


def test_a_node_without_an_entry_waits_until_it_gets_one(file: Path, managers: Managers) -> None:
    manager = managers(13, StaticStore(str(file), network()))
    view = manager.wait(lambda view: view.problems, seconds=SECONDS)
    assert view.lease is None
    assert view.problems == (f"{file} has no subnet of IPv4 for 192.168.77.13",)
    put(file, ONE, TWO, THREE)
    manager.wait(lambda view: view.lease and len(view.peers or ()) == 2 and not view.problems, seconds=SECONDS)


def test_a_node_whose_entry_changes_has_the_new_subnet(file: Path, managers: Managers) -> None:
    manager = managers(11, StaticStore(str(file), network()))
    manager.wait(lambda view: view.peers, seconds=SECONDS)
    put(file, {**ONE, "subnet": "10.5.9.0/24"}, TWO)
    manager.wait(lambda view: view.lease and str(view.lease.subnets) == "10.5.9.0/24" and len(view.peers or ()) == 1, seconds=SECONDS)


def test_a_dual_stack_node_has_two_entries_and_one_lease(file: Path, managers: Managers) -> None:
    six = [{"node": f"fd77::{n}", "subnet": f"fd05:{n}::/64"} for n in (11, 12)]
    put(file, ONE, TWO, *six)
    both = network(EnableIPv6=True, IPv6Network="fd05::/16")
    mine = attributes(11, public_ipv6=IPv6Address("fd77::11"))
    manager = managers(11, StaticStore(str(file), both), describe=lambda network: mine)
    view = manager.wait(lambda view: view.peers is not None, seconds=SECONDS)
    assert view.lease
    assert str(view.lease.subnets) == "10.5.1.0/24 and fd05:11::/64"
    assert [(peer.node, peer.subnet) for peer in view.peers or ()] == [("192.168.77.12", "10.5.2.0/24"), ("fd77::12", "fd05:12::/64")]


def test_nothing_is_reserved_in_a_file(file: Path) -> None:
    store = StaticStore(str(file), network())
    lease = store.acquire(Claim(attributes(11)))
    with pytest.raises(Conflict, match=str(file)):
        store.reserve(Subnets(lease.subnets.v4), IPv4Address("192.168.77.20"))


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="nowhere"):
        next(StaticStore(str(tmp_path / "nowhere" / "peers.json"), network()).watch(None, lambda reason: None))


def test_a_closed_store_is_not_watched(file: Path) -> None:
    store = StaticStore(str(file), network())
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        next(store.watch(None, lambda reason: None))


def test_a_node_that_knows_no_address_of_its_own_is_told(file: Path) -> None:
    with pytest.raises(InvalidConfig, match="without address"):
        StaticStore(str(file), network()).acquire(Claim(Attributes()))
