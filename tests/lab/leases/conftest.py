"""What the tests of leases with real peers share with those in etcd alone."""

from __future__ import annotations

from tests.netns.leases.conftest import etcd, managers, stores

__all__ = ["etcd", "managers", "stores"]
