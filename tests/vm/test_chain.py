"""Chained plugins under another kernel: one with fq_codel, which ours here may lack."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.cnitool import Cnitool
from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import GATEWAYS, bridge, ping, prime
from tests.support.node import Node

LIMITS = {"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 8_000_000, "egressBurst": 800_000}
CHAIN = [
    bridge(ipMasq=True),
    {"type": "bandwidth", **LIMITS, "qdisc": "fq_codel"},
    {"type": "firewall"},
    {"type": "tuning", "mtu": 1400, "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}},
]


def test_a_limited_pod_has_low_latency_below_its_limit_and_leaves_nothing(node: Node, plugins: Path, nothing_left: NothingLeft) -> None:
    net = Cnitool(node, [plugins], name="pods", plugins=CHAIN)
    pod = node.container()
    prime(net, pod)
    with nothing_left(node):
        net.add(pod)
        ping(pod, *GATEWAYS)
        kinds = [one["kind"] for one in json.loads(node.run(["tc", "-json", "qdisc", "show"]).stdout)]
        assert kinds.count("tbf") == 2
        assert kinds.count("fq_codel") >= 2, kinds
        net.check(pod)
        net.delete(pod)
