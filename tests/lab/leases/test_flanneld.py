"""One network in etcd for flanneld and for us: what either writes the other reads, and our bytes are its bytes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from tests.lab.leases.flanneld import SUBNET_FILE, Flanneld
from tests.lab.machine import wait_for
from tests.netns.leases.conftest import Managers, Stores, attributes
from tests.netns.leases.etcd_server import Etcd
from tests.support.node import Node
from vxlan.leases import subnet_env
from vxlan.leases.schema import Attributes, Subnets, Vtep
from vxlan.leases.store import Claim
from vxlan.leases.subnet_env import SubnetEnv

SECONDS = 60
DUAL = {"EnableIPv6": True, "IPv6Network": "fd05::/48"}
CONFIGS: dict[str, dict[str, Any]] = {
    "vxlan": {"Backend": {"Type": "vxlan", "VNI": 100}},
    "a large vni": {"Backend": {"Type": "vxlan", "VNI": 70000}},
    "dual stack": {**DUAL, "Backend": {"Type": "vxlan", "VNI": 100}},
    "host-gw": {"Backend": {"Type": "host-gw"}},
    "host-gw dual stack": {**DUAL, "Backend": {"Type": "host-gw"}},
}


def start(node: Node, etcd: Etcd, **config: Any) -> Flanneld:
    """A flanneld that works in a network with this configuration."""
    etcd.configure(Network="10.5.0.0/16", **config)
    flanneld = Flanneld(node, "-etcd-endpoints", etcd.url)
    flanneld.wait()
    return flanneld


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_what_it_writes_comes_out_of_our_hands_the_same_to_the_byte(node: Node, etcd: Etcd, stores: Stores, config: dict[str, Any]) -> None:
    start(node, etcd, **config)
    [(key, entry)] = etcd.entries().items()
    subnets = Subnets.from_key(key)
    assert subnets.key == key
    assert Attributes.from_json(entry["value"]).to_json() == entry["value"]
    written = Path(SUBNET_FILE).read_bytes()
    env = SubnetEnv.from_bytes(written)
    assert env.to_bytes() == written
    assert SubnetEnv.of(stores().network(), subnets, mtu=env.mtu, ipmasq=env.ipmasq).to_bytes() == written


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_either_goes_on_with_the_others_lease(node: Node, etcd: Etcd, stores: Stores, config: dict[str, Any]) -> None:
    start(node, etcd, **config).stop()
    [(key, entry)] = etcd.entries().items()
    lease = stores().acquire(Claim(Attributes.from_json(entry["value"])))
    assert lease.key == key
    assert etcd.entries()[key] == entry
    start(node, etcd, **config)
    assert list(etcd.entries()) == [key]


def test_it_takes_what_we_have_reserved_for_it(node: Node, etcd: Etcd, stores: Stores) -> None:
    stores().reserve(Subnets(IPv4Network("10.5.9.0/24")), IPv4Address("192.168.77.12"))
    start(node, etcd, **CONFIGS["vxlan"])
    assert list(etcd.entries()) == ["10.5.9.0-24"]


def test_each_sees_the_other_come_and_go(node: Node, etcd: Etcd, managers: Managers) -> None:
    flanneld = start(node, etcd, **CONFIGS["dual stack"])
    mine = attributes(11, public_ipv6=IPv6Address("fd77::11"), vtep_v6=Vtep(100, "02:00:00:00:00:6b"))
    manager = managers(11, describe=lambda network: mine)
    view = manager.wait(lambda view: view.peers and len(view.peers) == 2, seconds=SECONDS)
    assert view.lease
    macs = {peer.node: peer.mac for peer in view.peers or ()}
    for address, device in (("192.168.77.12", "flannel.100"), ("fd77::12", "flannel-v6.100")):
        assert macs[address] == Path(f"/sys/class/net/{device}/address").read_text().strip()

    def routes() -> str:
        return node.run(["ip", "route"]).stdout + node.run(["ip", "-6", "route"]).stdout

    ours = [str(view.lease.subnets.v4), str(view.lease.subnets.v6)]
    wait_for(lambda: all(subnet in routes() for subnet in ours), "flanneld does not see our node", seconds=SECONDS)
    neighbours = node.run(["ip", "neigh"]).stdout
    assert "02:00:00:00:00:0b" in neighbours
    manager.close(release=True)
    wait_for(lambda: not any(subnet in routes() for subnet in ours), "flanneld does not see that our node is gone", seconds=SECONDS)

    other = managers(13)
    other.wait(lambda view: view.peers, seconds=SECONDS)
    flanneld.stop()
    [theirs] = [key for key, entry in etcd.entries().items() if b"192.168.77.12" in entry["value"]]
    etcd.delete(f"/coreos.com/network/subnets/{theirs}")
    other.wait(lambda view: view.peers == (), seconds=SECONDS)


def test_its_subnet_file_gives_us_its_subnet_when_its_lease_is_gone(node: Node, etcd: Etcd, stores: Stores) -> None:
    start(node, etcd, **CONFIGS["vxlan"]).stop()
    [key] = etcd.entries()
    etcd.delete(f"/coreos.com/network/subnets/{key}")
    env = subnet_env.read(SUBNET_FILE)
    assert env
    assert stores().acquire(Claim(attributes(11), previous=env.subnets)).key == key
