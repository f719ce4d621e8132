"""A node with an etcd on it, and managers that end with the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from tests.netns.leases.etcd_server import Etcd
from tests.support.node import Node
from vxlan.leases.etcd import EtcdStore
from vxlan.leases.manager import Manager
from vxlan.leases.network import NetworkConfig
from vxlan.leases.schema import Attributes, Vtep

Stores = Callable[..., EtcdStore]
Managers = Callable[..., Manager]


def attributes(number: int, **more: Any) -> Attributes:
    """What node 192.168.77.`number` publishes."""
    values = {"public_ip": IPv4Address(f"192.168.77.{number}"), "vtep": Vtep(100, f"02:00:00:00:00:{number:02x}"), **more}
    return Attributes(**values)


@pytest.fixture
def etcd(node: Node, tmp_path: Path) -> Etcd:
    """An etcd with a network."""
    etcd = Etcd(node, tmp_path)
    etcd.configure(Network="10.5.0.0/16", Backend={"Type": "vxlan", "VNI": 100})
    return etcd


@pytest.fixture
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    """Makes stores in etcd: by `access` or, without, in the test's own etcd."""
    made: list[EtcdStore] = []

    def make(access: Any = None, **options: Any) -> EtcdStore:
        made.append(EtcdStore(access or request.getfixturevalue("etcd").access, **options))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def managers(stores: Stores) -> Iterator[Managers]:
    """Makes managers that have started; none of their threads may outlive the test."""
    before = set(threading.enumerate())
    made: list[Manager] = []

    def make(number: int, store: Any = None, *, describe: Callable[[NetworkConfig], Attributes] | None = None, **options: Any) -> Manager:
        manager = Manager(store or stores(), describe or (lambda network: attributes(number)), name=f"node{number}", **options)
        made.append(manager)
        manager.start()
        return manager

    yield make
    for manager in made:
        manager.close()
    left = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("node")]
    assert not left
