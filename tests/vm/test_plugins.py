"""A pod's whole life with each plugin, under another kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cnitool import Cnitool
from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import GATEWAYS, addresses, bridge, forward_ipv6, ping, prime, ptp, static
from tests.support.node import Node

PLUGINS: dict[str, dict[str, Any]] = {
    "bridge": bridge(ipMasq=True, hairpinMode=True, portIsolation=True, macspoofchk=True),
    "bridge-static": bridge(static("10.61.0.9/24", "fd61::9/64")),
    "ptp": ptp(ipMasq=True),
}


@pytest.mark.parametrize("kind", PLUGINS)
def test_pod_lives_and_leaves_nothing(node: Node, plugins: Path, kind: str, nothing_left: NothingLeft) -> None:
    net = Cnitool(node, [plugins], name="pods", plugins=[PLUGINS[kind]])
    pod, outside = node.container(), node.outside()
    forward_ipv6(node)
    prime(net, pod)
    with nothing_left(node):
        result = net.add(pod)
        ping(pod, *GATEWAYS)
        ping(node, *addresses(result))
        if "ipMasq" in PLUGINS[kind]:
            ping(pod, *outside.addresses)
        net.check(pod)
        net.delete(pod)


def test_loopback_comes_up(node: Node, plugins: Path) -> None:
    net = Cnitool(node, [plugins], name="lo", plugins=[{"type": "loopback"}])
    pod = node.container()
    net.add(pod, ifname="lo")
    ping(pod, "127.0.0.1", "::1")
    net.check(pod, ifname="lo")
    net.delete(pod, ifname="lo")
