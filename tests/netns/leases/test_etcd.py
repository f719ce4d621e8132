"""Leases in a real etcd: whose is which, to the byte, and through races."""

from __future__ import annotations

import threading
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from cni_plugins.protocol.errors import Conflict, Exhausted, InvalidConfig
from tests.netns.leases.conftest import Stores, attributes
from tests.netns.leases.etcd_server import Etcd
from vxlan.leases.etcd import TTL
from vxlan.leases.schema import Attributes, Lease, Subnets, Vtep
from vxlan.leases.store import Claim, LeaseLost

ONE = IPv4Network("10.5.1.0/24")


def test_a_lease_is_written_as_flanneld_writes_it(etcd: Etcd, stores: Stores) -> None:
    lease = stores().acquire(Claim(attributes(11)))
    entries = etcd.entries()
    assert list(entries) == [str(lease.subnets.v4).replace("/", "-")] == [lease.key]
    assert entries[lease.key]["value"] == (
        b'{"PublicIP":"192.168.77.11","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":100,"VtepMAC":"02:00:00:00:00:0b"}}'
    )
    answer = etcd.call("/v3/lease/timetolive", {"ID": entries[lease.key]["lease"], "keys": True})
    assert int(answer["grantedTTL"]) == TTL == 24 * 3600
    assert len(answer["keys"]) == 1


def test_host_gw_publishes_no_backend_data(etcd: Etcd, stores: Stores) -> None:
    etcd.configure(Network="10.5.0.0/16", Backend={"Type": "host-gw"})
    lease = stores().acquire(Claim(attributes(11, backend="host-gw", vtep=None)))
    assert etcd.entries()[lease.key]["value"] == b'{"PublicIP":"192.168.77.11","PublicIPv6":null,"BackendType":"host-gw"}'


def test_a_node_that_comes_back_has_its_lease_and_nobody_hears_of_it(etcd: Etcd, stores: Stores) -> None:
    first = stores().acquire(Claim(attributes(11)))
    before = etcd.revision()
    again = stores().acquire(Claim(attributes(11)))
    assert replace(again, expires=None) == replace(first, expires=None)
    assert etcd.revision() == before


def test_a_node_that_comes_back_with_another_device_publishes_it_in_its_old_lease(etcd: Etcd, stores: Stores) -> None:
    first = stores().acquire(Claim(attributes(11)))
    again = stores().acquire(Claim(attributes(11, vtep=Vtep(100, "02:ff:00:00:00:00"))))
    assert (again.subnets, again.grant) == (first.subnets, first.grant)
    assert b"02:ff:00:00:00:00" in etcd.entries()[first.key]["value"]


def test_the_subnet_of_the_last_life_is_taken_again_when_it_is_free(etcd: Etcd, stores: Stores) -> None:
    wish = Subnets(IPv4Network("10.5.77.0/24"))
    assert stores().acquire(Claim(attributes(11), previous=wish)).subnets == wish
    other = stores().acquire(Claim(attributes(12), previous=wish))
    assert other.subnets.v4
    assert not other.subnets.overlaps(wish)


def test_a_node_whose_address_changes_keeps_its_subnet(etcd: Etcd, stores: Stores) -> None:
    store = stores()
    held = store.acquire(Claim(attributes(11)))
    moved = store.acquire(Claim(attributes(99), held=held))
    assert moved.subnets == held.subnets
    assert list(etcd.entries()) == [held.key]
    assert b"192.168.77.99" in etcd.entries()[held.key]["value"]


def test_renewing_extends_the_lease_in_silence(etcd: Etcd, stores: Stores) -> None:
    store = stores(ttl=60)
    lease = store.acquire(Claim(attributes(11)))
    assert lease.expires
    before = etcd.revision()
    renewed = store.renew(replace(lease, expires=lease.expires - 30))
    assert renewed.expires
    assert renewed.expires >= lease.expires
    assert etcd.revision() == before


def test_a_lease_that_was_revoked_cannot_be_renewed(etcd: Etcd, stores: Stores) -> None:
    store = stores()
    lease = store.acquire(Claim(attributes(11)))
    etcd.call("/v3/lease/revoke", {"ID": str(lease.grant)})
    with pytest.raises(LeaseLost, match=str(lease.subnets)):
        store.renew(lease)
    assert store.acquire(Claim(attributes(11), held=lease)).subnets == lease.subnets


def test_releasing_removes_only_what_is_ours(etcd: Etcd, stores: Stores) -> None:
    store = stores()
    lease = store.acquire(Claim(attributes(11)))
    store.release(lease)
    assert etcd.entries() == {}
    theirs = stores().acquire(Claim(attributes(12), previous=lease.subnets))
    assert theirs.key == lease.key
    store.release(lease)
    assert list(etcd.entries()) == [lease.key]


class TestReservations:
    def test_a_reservation_waits_for_its_node_and_never_ends(self, etcd: Etcd, stores: Stores) -> None:
        reserved = Subnets(IPv4Network("10.5.9.0/24"))
        stores().reserve(reserved, IPv4Address("192.168.77.11"))
        assert etcd.entries()["10.5.9.0-24"]["value"] == b'{"PublicIP":"192.168.77.11","PublicIPv6":null}'
        lease = stores().acquire(Claim(attributes(11)))
        assert (lease.subnets, lease.expires, lease.grant) == (reserved, None, 0)
        entry = etcd.entries()["10.5.9.0-24"]
        assert "lease" not in entry
        assert b'"VtepMAC":"02:00:00:00:00:0b"' in entry["value"]
        assert stores().renew(lease) == lease

    def test_one_written_by_hand_counts_as_well(self, etcd: Etcd, stores: Stores) -> None:
        etcd.put("/coreos.com/network/subnets/10.5.8.0-24", '{"publicIP": "192.168.77.11"}')
        assert stores().acquire(Claim(attributes(11))).key == "10.5.8.0-24"

    def test_what_is_leased_or_reserved_is_refused_and_its_owner_named(self, etcd: Etcd, stores: Stores) -> None:
        store = stores()
        lease = store.acquire(Claim(attributes(11)))
        with pytest.raises(Conflict, match=r"leased by 192\.168\.77\.11"):
            store.reserve(lease.subnets, IPv4Address("192.168.77.12"))
        wide = Subnets(IPv4Network("10.5.0.0/16"))
        with pytest.raises(Conflict, match=lease.key):
            store.reserve(wide, IPv4Address("192.168.77.12"))

    def test_a_lease_becomes_a_reservation_without_its_node_noticing(self, etcd: Etcd, stores: Stores) -> None:
        store = stores()
        lease = store.acquire(Claim(attributes(11)))
        value = etcd.entries()[lease.key]["value"]
        store.reserve(lease.subnets, IPv4Address("192.168.77.11"))
        etcd.call("/v3/lease/revoke", {"ID": str(lease.grant)})
        assert etcd.entries()[lease.key]["value"] == value

    def test_a_reserved_subnet_is_given_to_nobody_else(self, etcd: Etcd, stores: Stores) -> None:
        etcd.configure(Network="10.5.0.0/16", SubnetMin="10.5.1.0", SubnetMax="10.5.2.0", Backend={"Type": "vxlan"})
        store = stores()
        store.reserve(Subnets(ONE), IPv4Address("192.168.77.200"))
        assert store.acquire(Claim(attributes(11), previous=Subnets(ONE))).key == "10.5.2.0-24"
        with pytest.raises(Exhausted, match="leased or reserved"):
            store.acquire(Claim(attributes(12)))


class TestChangedConfiguration:
    def test_a_lease_that_no_longer_fits_makes_room_for_one_that_does(self, etcd: Etcd, stores: Stores) -> None:
        store = stores()
        old = store.acquire(Claim(attributes(11)))
        etcd.configure(Network="10.6.0.0/16", Backend={"Type": "vxlan"})
        new = store.acquire(Claim(attributes(11), held=old))
        assert new.subnets.v4
        assert new.subnets.v4.subnet_of(IPv4Network("10.6.0.0/16"))
        assert list(etcd.entries()) == [new.key]

    def test_a_node_that_becomes_dual_stack_keeps_its_ipv4_subnet(self, etcd: Etcd, stores: Stores) -> None:
        store = stores()
        old = store.acquire(Claim(attributes(11)))
        etcd.configure(Network="10.5.0.0/16", EnableIPv6=True, IPv6Network="fd05::/48", Backend={"Type": "vxlan"})
        both = attributes(11, public_ipv6=IPv6Address("fd77::b"), vtep_v6=Vtep(1, "02:00:00:00:00:6b"))
        new = store.acquire(Claim(both, held=old))
        assert new.subnets.v4 == old.subnets.v4
        assert new.subnets.v6
        assert list(etcd.entries()) == [f"{old.key}&{new.subnets.v6.network_address}-64"]
        assert etcd.entries()[new.key]["value"] == (
            b'{"PublicIP":"192.168.77.11","PublicIPv6":"fd77::b","BackendType":"vxlan",'
            b'"BackendData":{"VNI":100,"VtepMAC":"02:00:00:00:00:0b"},"BackendV6Data":{"VNI":1,"VtepMAC":"02:00:00:00:00:6b"}}'
        )

    def test_ipv6_alone(self, etcd: Etcd, stores: Stores) -> None:
        etcd.configure(EnableIPv4=False, EnableIPv6=True, IPv6Network="fd05::/48", Backend={"Type": "vxlan"})
        six = [Attributes(public_ipv6=IPv6Address(f"fd77::{n}"), vtep_v6=Vtep(1, f"02:00:00:00:00:6{n}")) for n in (1, 2)]
        one, two = (stores().acquire(Claim(mine)) for mine in six)
        assert one.key.startswith("0.0.0.0-0&fd05:")
        assert not one.subnets.overlaps(two.subnets)
        assert stores().acquire(Claim(six[0])).key == one.key

    def test_no_configuration_is_an_error_that_names_the_key(self, etcd: Etcd, stores: Stores) -> None:
        with pytest.raises(InvalidConfig, match="etcd has no key /other/network/config"):
            stores(prefix="/other/network/").acquire(Claim(attributes(11)))


def test_what_nobody_can_read_is_left_alone_and_its_subnet_counts_as_taken(etcd: Etcd, stores: Stores) -> None:
    etcd.configure(Network="10.5.0.0/16", SubnetMin="10.5.1.0", SubnetMax="10.5.2.0", Backend={"Type": "vxlan"})
    etcd.put("/coreos.com/network/subnets/10.5.1.0-24", "not JSON")
    etcd.put("/coreos.com/network/subnets/nonsense", "{}")
    assert stores().acquire(Claim(attributes(11))).key == "10.5.2.0-24"
    assert set(etcd.entries()) == {"10.5.1.0-24", "10.5.2.0-24", "nonsense"}


class TestRaces:
    """Nodes that ask in the same moment."""

    ROUNDS = 200

    def race(self, stores: list[object], claims: list[Claim]) -> list[Lease | Exception]:
        outcomes: list[Lease | Exception] = [RuntimeError("nothing came back")] * len(claims)
        barrier = threading.Barrier(len(claims))

        def run(place: int) -> None:
            barrier.wait()
            try:
                outcomes[place] = stores[place].acquire(claims[place])  # type: ignore[attr-defined]
            except Exception as error:  # noqa: BLE001 -- what it is, the test says
                outcomes[place] = error

        threads = [threading.Thread(target=run, args=(place,)) for place in range(len(claims))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return outcomes

    def test_one_subnet_has_one_owner_two_hundred_times(self, etcd: Etcd, stores: Stores) -> None:
        etcd.configure(Network="10.5.0.0/16", SubnetMin="10.5.1.0", SubnetMax="10.5.1.0", Backend={"Type": "vxlan"})
        pair = [stores(), stores()]
        for _ in range(self.ROUNDS):
            outcomes = self.race(list(pair), [Claim(attributes(11)), Claim(attributes(12))])
            winners = [one for one in outcomes if isinstance(one, Lease)]
            losers = [one for one in outcomes if isinstance(one, Exhausted)]
            assert (len(winners), len(losers)) == (1, 1), outcomes
            entries = etcd.entries()
            assert list(entries) == ["10.5.1.0-24"]
            assert winners[0].attributes
            assert str(winners[0].attributes.public_ip).encode() in entries["10.5.1.0-24"]["value"]
            pair[outcomes.index(winners[0])].release(winners[0])

    def test_who_loses_a_race_takes_another_subnet(self, etcd: Etcd, stores: Stores) -> None:
        wish = Subnets(ONE)
        several = [stores() for _ in range(6)]
        for _ in range(10):
            outcomes = self.race(list(several), [Claim(attributes(n), previous=wish) for n in range(11, 17)])
            leases = [one for one in outcomes if isinstance(one, Lease)]
            assert len(leases) == 6, outcomes
            assert len({lease.subnets for lease in leases}) == 6
            assert len([lease for lease in leases if lease.subnets == wish]) == 1
            for store, lease in zip(several, leases, strict=True):
                store.release(lease)

    def test_the_same_ipv4_subnet_is_not_given_out_under_two_dual_stack_keys(self, etcd: Etcd, stores: Stores) -> None:
        etcd.configure(
            Network="10.5.0.0/16",
            SubnetMin="10.5.1.0",
            SubnetMax="10.5.1.0",
            EnableIPv6=True,
            IPv6Network="fd05::/48",
            Backend={"Type": "vxlan"},
        )
        pair = [stores(), stores()]
        claims = [Claim(attributes(n, public_ipv6=IPv6Address(f"fd77::{n}"), vtep_v6=Vtep(1, "02:00:00:00:00:01"))) for n in (11, 12)]
        for _ in range(30):
            outcomes = self.race(list(pair), claims)
            winners = [one for one in outcomes if isinstance(one, Lease)]
            assert len(winners) == 1, outcomes
            assert winners[0].subnets.v6
            assert winners[0].subnets.v6.subnet_of(IPv6Network("fd05::/48"))
            pair[outcomes.index(winners[0])].release(winners[0])

    def test_losing_leaves_no_grant_behind(self, etcd: Etcd, stores: Stores) -> None:
        etcd.configure(Network="10.5.0.0/16", SubnetMin="10.5.1.0", SubnetMax="10.5.1.0", Backend={"Type": "vxlan"})
        for _ in range(20):
            pair = [stores(), stores()]
            outcomes = self.race(list(pair), [Claim(attributes(11)), Claim(attributes(12))])
            for store, one in zip(pair, outcomes, strict=True):
                if isinstance(one, Lease):
                    store.release(one)
        assert etcd.call("/v3/lease/leases", {}).get("leases", []) == []
