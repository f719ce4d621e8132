"""What is the ptp plugin's alone: a node that routes between its containers."""

from __future__ import annotations

from pathlib import Path

from tests.netns.plugins.networks import host_local, network
from tests.support.inprocess import InProcess
from tests.support.netns import Container


def test_node_forwards_ipv6_to_a_new_pod_without_waiting(plugins: InProcess, pod: Container, other: Container) -> None:
    """It asks for a neighbour from its link-local address, and would not while it looks for duplicates of that."""
    confs = network("ptp"), network("ptp", name="four", ipam=host_local("10.2.0.0/24"))
    ends = [
        plugins("ptp", "ADD", conf, container=one).result["interfaces"][0]["name"] for conf, one in zip(confs, (pod, other), strict=True)
    ]
    looks = [Path(f"/proc/sys/net/ipv6/conf/{end}/accept_dad").read_text().strip() for end in ends]
    assert looks == ["0", "1"], "and what has no IPv6 address is left as it is"
