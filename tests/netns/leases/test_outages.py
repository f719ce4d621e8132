"""What happens to a node when its store does not answer, forgets, or lies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.leases.conftest import Managers, Stores, attributes
from tests.netns.leases.etcd_server import Authority, Etcd
from tests.support.node import Node
from vxlan.leases.etcd import EtcdStore
from vxlan.leases.etcd_gateway import EtcdAccess, Refused
from vxlan.leases.store import Claim, CursorLost, Put, Removed, Snapshot, StoreUnavailable
from vxlan.leases.view import View

SUBNETS = "/coreos.com/network/subnets/"
VALUE = '{"PublicIP":"192.168.77.%d","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":100,"VtepMAC":"0e:00:00:00:00:01"}}'
SECONDS = 60
MEMBERS = (("a", 2379), ("b", 2389), ("c", 2399))


def is_there(subnet: str) -> Any:
    """A condition: the peer with this subnet is known."""
    return lambda view: view.peers is not None and subnet in {peer.subnet for peer in view.peers}


def later_than(before: View) -> Callable[[View], object]:
    """A condition: the lease was renewed or acquired since."""
    return lambda view: view.renewed > before.renewed


def cut(node: Node, port: int) -> None:
    """Let every packet from and to a port vanish, as a broken network does."""
    chain = "add table inet cut; add chain inet cut input { type filter hook input priority 0; }"
    rules = "; ".join(f"add rule inet cut input tcp {end} {port} drop" for end in ("dport", "sport"))
    node.run(["nft", f"{chain}; {rules}"])


def heal(node: Node) -> None:
    """Undo `cut`."""
    node.run(["nft", "delete table inet cut"])


class TestRestart:
    def test_peers_and_lease_stay_while_etcd_is_away(self, etcd: Etcd, managers: Managers) -> None:
        etcd.put(SUBNETS + "10.5.50.0-24", VALUE % 50)
        manager = managers(11)
        before = manager.wait(is_there("10.5.50.0/24"), seconds=SECONDS)
        etcd.stop()
        away = manager.wait(lambda view: view.away_since, seconds=SECONDS)
        assert (away.lease, away.peers) == (before.lease, before.peers)
        assert "etcd does not answer: http://127.0.0.1:2379" in away.problems[0]
        etcd.start()
        back = manager.wait(lambda view: view.away_since is None, seconds=SECONDS)
        assert (back.lease, back.peers, back.problems) == (before.lease, before.peers, ())
        etcd.put(SUBNETS + "10.5.51.0-24", VALUE % 51)
        manager.wait(is_there("10.5.51.0/24"), seconds=SECONDS)

    def test_a_node_that_starts_before_etcd_gets_its_lease_when_etcd_comes(self, etcd: Etcd, managers: Managers) -> None:
        etcd.stop()
        manager = managers(11)
        manager.wait(lambda view: view.away_since, seconds=SECONDS)
        etcd.start()
        manager.wait(lambda view: view.lease and view.peers == () and not view.problems, seconds=SECONDS)

    def test_a_lease_that_ended_in_an_outage_is_taken_again_with_its_subnet(self, etcd: Etcd, managers: Managers) -> None:
        manager = managers(11)
        before = manager.wait(lambda view: view.peers is not None, seconds=SECONDS)
        assert before.lease
        etcd.call("/v3/lease/revoke", {"ID": str(before.lease.grant)})
        after = manager.wait(lambda view: view.lease and before.lease and view.lease.grant != before.lease.grant, seconds=SECONDS)
        assert after.lease
        assert after.lease.subnets == before.lease.subnets
        assert list(etcd.entries()) == [before.lease.key]


def test_a_short_lease_is_renewed_before_it_ends(etcd: Etcd, managers: Managers, stores: Stores) -> None:
    manager = managers(11, stores(ttl=10))  # on a busy machine half of it must be enough to renew it
    before = manager.wait(lambda view: view.lease, seconds=SECONDS)
    after = before
    for _ in range(2):
        after = manager.wait(later_than(after), seconds=SECONDS)
    assert before.lease
    assert after.lease
    assert after.lease.grant == before.lease.grant
    assert list(etcd.entries()) == [before.lease.key]


class TestWatching:
    def test_what_happened_between_two_watches_comes_once(self, etcd: Etcd, stores: Stores) -> None:
        watch = stores().watch(None, lambda reason: None)
        snapshot = next(watch)
        assert isinstance(snapshot, Snapshot)
        etcd.put(SUBNETS + "10.5.50.0-24", VALUE % 50)
        first = next(watch)
        watch.close()  # type: ignore[attr-defined]
        etcd.put(SUBNETS + "10.5.51.0-24", VALUE % 51)
        etcd.delete(SUBNETS + "10.5.50.0-24")
        etcd.put("/coreos.com/network/subnets2/10.5.9.0-24", VALUE % 9)
        etcd.put(SUBNETS + "10.5.52.0-24", VALUE % 52)
        again = stores().watch(first.cursor, lambda reason: None)
        second, third, fourth = (next(again) for _ in range(3))
        again.close()  # type: ignore[attr-defined]
        assert isinstance(first, Put)
        assert isinstance(second, Put)
        assert isinstance(third, Removed)
        assert isinstance(fourth, Put)
        assert [first.lease.key, second.lease.key, third.key, fourth.lease.key] == [
            "10.5.50.0-24", "10.5.51.0-24", "10.5.50.0-24", "10.5.52.0-24",
        ]  # fmt: skip

    def test_a_cursor_from_before_a_compaction_is_lost(self, etcd: Etcd, stores: Stores) -> None:
        watch = stores().watch(None, lambda reason: None)
        cursor = next(watch).cursor
        for number in range(3):
            etcd.put(SUBNETS + "10.5.50.0-24", VALUE % number)
        etcd.compact()
        with pytest.raises(CursorLost, match="compacted at revision"):
            next(stores().watch(cursor, lambda reason: None))

    def test_after_a_compaction_in_an_outage_all_is_listed_once(self, node: Node, etcd: Etcd, managers: Managers) -> None:
        store = Counting(etcd.access)
        manager = managers(11, store)
        manager.wait(lambda view: view.peers is not None, seconds=SECONDS)
        cut(node, etcd.port)
        manager.wait(lambda view: view.away_since, seconds=SECONDS)
        for number in (50, 51):
            etcd.put(f"{SUBNETS}10.5.{number}.0-24", VALUE % number)
        etcd.delete(SUBNETS + "10.5.50.0-24")
        etcd.compact()
        heal(node)
        manager.wait(is_there("10.5.51.0/24"), seconds=SECONDS)
        assert len(manager.view.peers or ()) == 1
        assert store.listings == 2
        etcd.put(SUBNETS + "10.5.52.0-24", VALUE % 52)
        manager.wait(is_there("10.5.52.0/24"), seconds=SECONDS)
        assert store.listings == 2


class Counting(EtcdStore):
    """Counts the watches that begin with a listing."""

    listings = 0

    def watch(self, cursor: str | None, report: Any) -> Iterator[Any]:
        self.listings += cursor is None
        return super().watch(cursor, report)


class TestPartition:
    def test_a_silent_network_is_noticed_and_what_was_missed_is_caught_up_with(self, node: Node, etcd: Etcd, managers: Managers) -> None:
        etcd.put(SUBNETS + "10.5.50.0-24", VALUE % 50)
        manager = managers(11)
        before = manager.wait(is_there("10.5.50.0/24"), seconds=SECONDS)
        cut(node, etcd.port)
        away = manager.wait(lambda view: view.away_since, seconds=SECONDS)
        assert (away.lease, away.peers) == (before.lease, before.peers)
        etcd.put(SUBNETS + "10.5.51.0-24", VALUE % 51)
        heal(node)
        manager.wait(lambda view: is_there("10.5.51.0/24")(view) and view.away_since is None, seconds=SECONDS)

    @pytest.mark.parametrize("broken", [False, True], ids=["works", "is cut"])
    def test_closing_does_not_wait_for_news(self, node: Node, etcd: Etcd, managers: Managers, broken: bool) -> None:
        manager = managers(11)
        manager.wait(lambda view: view.peers is not None, seconds=SECONDS)
        etcd.put(SUBNETS + "10.5.50.0-24", VALUE % 50)
        manager.wait(is_there("10.5.50.0/24"), seconds=SECONDS)
        if broken:
            cut(node, etcd.port)
        closed = threading.Thread(target=manager.close, daemon=True)
        closed.start()
        closed.join(SECONDS)
        assert not closed.is_alive()


class TestRivals:
    def test_a_lease_that_somebody_overwrites_is_published_again(self, etcd: Etcd, managers: Managers) -> None:
        manager = managers(11)
        lease = manager.wait(lambda view: view.peers is not None, seconds=SECONDS).lease
        assert lease
        etcd.put(SUBNETS + lease.key, VALUE % 11)
        after = manager.wait(lambda view: view.lease and view.lease.grant == 0 and ours_in(view), seconds=SECONDS)
        assert after.lease
        assert after.lease.attributes == attributes(11)
        assert b"02:00:00:00:00:0b" in etcd.entries()[lease.key]["value"]

    def test_two_nodes_with_one_address_are_told_and_do_not_fight_for_long(self, etcd: Etcd, managers: Managers) -> None:
        two = [
            managers(11),
            managers(11, describe=lambda network: attributes(11, vtep=attributes(12).vtep)),
        ]
        for manager in two:
            manager.wait(lambda view: any("is 192.168.77.11 also another node's address?" in one for one in view.problems), seconds=SECONDS)
        before = etcd.revision()
        assert before < 60


def ours_in(view: View) -> bool:
    """Whether the store has our lease as we think it is."""
    return view.lease is not None and any(one.key == view.lease.key and one.attributes == view.lease.attributes for one in view.leases)


class TestTls:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path)

    @pytest.fixture
    def secured(self, node: Node, tmp_path: Path, authority: Authority) -> Etcd:
        certificate, key = authority.issue("etcd")
        options = [f"--cert-file={certificate}", f"--key-file={key}", "--client-cert-auth", f"--trusted-ca-file={authority.ca}"]
        etcd = Etcd(node, tmp_path, options=options)
        value = {
            "key": "L2NvcmVvcy5jb20vbmV0d29yay9jb25maWc=",
            "value": "eyJOZXR3b3JrIjoiMTAuNS4wLjAvMTYiLCJCYWNrZW5kIjp7IlR5cGUiOiJ2eGxhbiJ9fQ==",
        }
        etcd.call("/v3/kv/put", value, verify=authority.client("root"))
        return etcd

    def test_a_client_with_a_certificate_gets_a_lease_and_follows(
        self, secured: Etcd, authority: Authority, managers: Managers, stores: Stores
    ) -> None:
        certificate, key = authority.issue("node")
        access = EtcdAccess([secured.url], ca_file=str(authority.ca), cert_file=str(certificate), key_file=str(key))
        manager, other = managers(11, stores(access)), managers(12, stores(access))
        for one in (manager, other):
            one.wait(lambda view: view.peers and len(view.peers) == 1, seconds=SECONDS)

    def test_one_without_is_refused_with_a_reason(self, secured: Etcd, authority: Authority, stores: Stores) -> None:
        with pytest.raises(StoreUnavailable, match=r"https://127\.0\.0\.1:2379: .*(certificate|closed|reset|EOF)"):
            stores(EtcdAccess([secured.url], ca_file=str(authority.ca))).network()

    def test_a_server_of_another_authority_is_not_believed(self, secured: Etcd, tmp_path: Path, stores: Stores) -> None:
        (tmp_path / "other").mkdir()
        other = Authority(tmp_path / "other")
        certificate, key = other.issue("node")
        with pytest.raises(StoreUnavailable, match="certificate verify failed"):
            stores(EtcdAccess([secured.url], ca_file=str(other.ca), cert_file=str(certificate), key_file=str(key))).network()


class TestUsers:
    @pytest.fixture
    def guarded(self, etcd: Etcd) -> Etcd:
        for name in ("root", "overlay"):
            etcd.call("/v3/auth/user/add", {"name": name, "password": f"{name}'s"})
            etcd.call("/v3/auth/role/add", {"name": name})
            etcd.call("/v3/auth/user/grant", {"user": name, "role": name})
        keys = {"key": "L2NvcmVvcy5jb20vbmV0d29yay8=", "range_end": "L2NvcmVvcy5jb20vbmV0d29yazA=", "permType": "READWRITE"}
        etcd.call("/v3/auth/role/grant", {"name": "overlay", "perm": keys})
        etcd.call("/v3/auth/enable", {})
        return etcd

    def test_a_user_gets_a_lease_and_logs_in_again_when_etcd_has_forgotten(self, guarded: Etcd, managers: Managers, stores: Stores) -> None:
        access = EtcdAccess([guarded.url], username="overlay", password="overlay's")
        one = managers(11, stores(access))
        one.wait(lambda view: view.peers is not None and not view.problems, seconds=SECONDS)
        guarded.stop()
        guarded.start()
        managers(12, stores(access))
        one.wait(lambda view: view.peers and not view.problems, seconds=SECONDS)
        before = one.view
        one.refresh()
        one.wait(lambda view: later_than(before)(view) and not view.problems, seconds=SECONDS)

    def test_a_request_with_a_token_that_etcd_has_forgotten_is_made_again(self, guarded: Etcd, stores: Stores) -> None:
        store = stores(EtcdAccess([guarded.url], username="overlay", password="overlay's"))
        store.network()
        token = guarded.call("/v3/auth/authenticate", {"name": "root", "password": "root's"})["token"]
        # A new password, were it the old one, makes all tokens of the user worthless.
        guarded.call("/v3/auth/user/changepw", {"name": "overlay", "password": "overlay's"}, headers={"Authorization": token})
        store.network()

    def test_a_wrong_password_is_named(self, guarded: Etcd, stores: Stores) -> None:
        with pytest.raises(Refused, match="authentication failed"):
            stores(EtcdAccess([guarded.url], username="overlay", password="guess")).network()

    def test_other_keys_are_out_of_reach_and_it_is_said(self, guarded: Etcd, stores: Stores) -> None:
        access = EtcdAccess([guarded.url], username="overlay", password="overlay's")
        with pytest.raises(Refused, match="permission denied"):
            stores(access, prefix="/elsewhere").network()


class TestSeveralEndpoints:
    def test_the_first_that_answers_serves(self, etcd: Etcd, managers: Managers, stores: Stores) -> None:
        access = EtcdAccess(["http://127.0.0.1:1", "http://127.0.0.1:2", etcd.url])
        managers(11, stores(access)).wait(lambda view: view.peers is not None and not view.problems, seconds=SECONDS)

    def test_a_cluster_that_loses_members_goes_on_while_most_are_left(
        self, node: Node, tmp_path: Path, managers: Managers, stores: Stores
    ) -> None:
        cluster = {name: f"http://127.0.0.1:{port + 1}" for name, port in MEMBERS}
        members = [Etcd(node, tmp_path, name=name, port=port, cluster=cluster) for name, port in MEMBERS]
        for member in members:
            member.wait()
        members[0].configure(Network="10.5.0.0/16", Backend={"Type": "vxlan", "VNI": 100})
        access = EtcdAccess([member.url for member in members])
        manager = managers(11, stores(access))
        manager.wait(lambda view: view.peers is not None, seconds=SECONDS)
        members[0].stop()
        managers(12, stores(access))
        manager.wait(lambda view: view.peers, seconds=SECONDS)
        members[1].stop()
        manager.wait(lambda view: view.away_since, seconds=SECONDS)
        members[0].start(wait=False)
        managers(13, stores(access))
        manager.wait(lambda view: view.peers and len(view.peers) == 2 and view.away_since is None, seconds=SECONDS)


def test_an_endpoint_that_is_something_else_is_named(node: Node, stores: Stores) -> None:
    server = node.popen(["python3", "-u", "-m", "http.server", "8000", "--bind", "127.0.0.1"])
    assert server.stdout
    assert "Serving HTTP" in server.stdout.readline()
    with pytest.raises(StoreUnavailable, match=r"http://127\.0\.0\.1:8000: (?!.*refused)"):
        stores(EtcdAccess(["http://127.0.0.1:8000"])).acquire(Claim(attributes(11)))
