"""A node on which the reference plugins work, by each of their ways to masquerade."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.kernel.nft import Nft
from cni_plugins.protocol.attachment import Attachment
from tests.support.netns import Container
from tests.support.node import Node

VARIANTS = ("nftables", "iptables-nft", "iptables-legacy")


class Reference:
    """The reference's bridge on a node; `variant` is how it masquerades."""

    def __init__(self, node: Node, directory: Path, variant: str) -> None:
        self.node = node
        self.directory = directory
        self.variant = variant
        # The reference takes the iptables that it finds in PATH, and a distribution's link leads to either of its two.
        path = Path("/run/programs")
        path.mkdir()
        for program in ("iptables", "ip6tables"):
            (path / program).symlink_to(f"/usr/sbin/{program}-{'legacy' if variant == 'iptables-legacy' else 'nft'}")
        self._env = {"PATH": f"{path}:{os.environ['PATH']}"}

    def conf(self, network: str, **keys: Any) -> dict[str, Any]:
        """A dual-stack masqueraded network with a bridge of its own; `number` tells its subnets from others'."""
        number = keys.pop("number", 7)
        ranges = [[{"subnet": f"10.{number}.0.0/24"}], [{"subnet": f"fd00:{number}::/64"}]]
        backend = "nftables" if self.variant == "nftables" else "iptables"
        conf = {
            "cniVersion": "1.0.0",
            "name": network,
            "type": "bridge",
            "bridge": f"br{number}",
            "isGateway": True,
            "ipMasq": True,
            "ipMasqBackend": backend,
            "ipam": {"type": "host-local", "ranges": ranges},
        }
        return conf | keys

    def add(self, container: Container, network: str = "net", ifname: str = "eth0", **keys: Any) -> tuple[Attachment, list[str]]:
        """ADD by the reference; returns the attachment and its addresses."""
        result = self._call("ADD", container, self.conf(network, **keys), ifname).result
        addresses = [ip["address"].partition("/")[0] for ip in result.get("ips", ())]
        return Attachment(network, container.id, ifname, container.path), addresses

    def delete(self, container: Container, network: str = "net", ifname: str = "eth0", **keys: Any) -> None:
        """DEL by the reference, which must succeed."""
        self._call("DEL", container, self.conf(network, **keys), ifname)

    def _call(self, verb: str, container: Container, conf: dict[str, Any], ifname: str) -> Any:
        plugin = self.directory / "bridge"
        outcome = self.node.cni(plugin, verb, conf, container=container, ifname=ifname, path=self.directory, env=self._env)
        assert outcome.code == 0, str(outcome)
        return outcome

    def state(self) -> str:
        """All rules on the node, without counters."""
        listings = [self.node.run(["nft", "--stateless", "list", "ruleset"]).stdout]
        if self.variant != "nftables":
            listings += [self.node.run([program, "-t", "nat", "-S"], env=self._env).stdout for program in ("iptables", "ip6tables")]
        return "\n".join(listings)


@pytest.fixture(params=VARIANTS)
def reference(request: pytest.FixtureRequest, node: Node, reference_bin: Path) -> Reference:
    """The reference on a node where it has added and deleted a container before: tables that it never removes are there."""
    reference = Reference(node, reference_bin, request.param)
    earlier = node.container("earlier")
    reference.add(earlier, macspoofchk=True)
    reference.delete(earlier, macspoofchk=True)
    return reference


@pytest.fixture
def nft(node: Node) -> Iterator[Nft]:
    """nftables of the node."""
    nft = Nft()
    yield nft
    nft.close()
