"""The overlay beside real flanneld's, on the same nodes: throughput and latency, how soon a node that joins is reached, a thousand peers.

python -m benchmarks.overlay [-n ROUNDS] [--peers N]
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cni_plugins.protocol.ip import parse_address
from tests.e2e.agents import Agent
from tests.netns.leases.etcd_server import Etcd
from tests.support.flanneld import Flanneld
from tests.support.node import Node
from tests.support.paths import PLUGIN_DIR
from tests.support.underlay import Underlay
from vxlan.peerlist import vtep_mac

ENDPOINT = "http://192.168.77.1:2379"
OURS, THEIRS = "/ours", "/theirs"
NETWORKS = {OURS: ("10.5.0.0/16", 100), THEIRS: ("10.6.0.0/16", 200)}
SECONDS = 3
MOST_SECONDS = 60


class Lab:
    """Nodes on a switch, and an etcd there with a network for either overlay."""

    def __init__(self, underlay: Underlay, directory: Path) -> None:
        self.hub = underlay.hub
        self.nodes = underlay.nodes
        self.directory = directory
        with self.hub.inside():
            self.etcd = Etcd(self.hub, directory, options=["--listen-client-urls", f"{ENDPOINT},http://127.0.0.1:2381"])
            for prefix, (network, vni) in NETWORKS.items():
                conf = {"Network": network, "SubnetLen": 26, "Backend": {"Type": "vxlan", "VNI": vni}}
                self.etcd.put(f"{prefix}/config", json.dumps(conf))

    def agent(self, node: Node) -> Agent:
        """Our agent for a node, not started."""
        path = self.directory / f"{node.name}.toml"
        table = f'[[overlay]]\nname = "ours"\nstore = "etcd"\nunderlay = "eth0"\nsubnetFile = "{_file(OURS)}"\n'
        path.write_text(f'{table}[overlay.etcd]\nendpoints = ["{ENDPOINT}"]\nprefix = "{OURS}"\n')
        return Agent(node, PLUGIN_DIR, "--config", str(path))

    def flanneld(self, node: Node) -> Flanneld:
        """Real flanneld on a node, ready."""
        log = self.directory / f"{node.name}.log"
        return Flanneld(node, ENDPOINT, "--ip-masq", log=log, subnet_file=_file(THEIRS), prefix=THEIRS)

    def lease(self, prefix: str, node: str, subnet: str) -> None:
        """Write the lease of a node, as any node does that joins."""
        vni = NETWORKS[prefix][1]
        data = {"VNI": vni, "VtepMAC": vtep_mac(parse_address(node), vni)}
        value = {"PublicIP": node, "PublicIPv6": None, "BackendType": "vxlan", "BackendData": data}
        self.etcd.put(f"{prefix}/subnets/{subnet.replace('/', '-')}", json.dumps(value))


def _file(prefix: str) -> str:
    return f"/run{prefix}.env"


@contextmanager
def lab(count: int) -> Iterator[Lab]:
    """A lab with so many nodes."""
    with tempfile.TemporaryDirectory() as directory, Underlay(count) as underlay:
        yield Lab(underlay, Path(directory))


def gateway(node: Node, prefix: str) -> str:
    """The first address of a node's subnet; it is put on a bridge, as containers' gateways are."""
    with node.inside():
        (line,) = [line for line in Path(_file(prefix)).read_text().splitlines() if line.startswith("FLANNEL_SUBNET=")]
    address = line.partition("=")[2]
    name = f"pods{NETWORKS[prefix][1]}"
    commands = f"ip link add {name} type bridge; ip address add {address} dev {name}; ip link set {name} up"
    node.run(["sh", "-ec", commands])
    return address.partition("/")[0]


def until(happens: Callable[[], bool]) -> float:
    """Seconds until something has happened."""
    begun = time.perf_counter()
    while not happens():
        if time.perf_counter() - begun > MOST_SECONDS:
            raise RuntimeError("it does not happen")
    return time.perf_counter() - begun


def traffic(rounds: int) -> None:
    """Throughput and latency between two nodes, over both overlays in turn."""
    with lab(2) as here:
        client, server = here.nodes
        for node in here.nodes:
            here.flanneld(node)
        with here.agent(client) as one, here.agent(server) as two:
            for agent in (one, two):
                agent.wait_for(f"{_file(OURS)} has")
            targets = {prefix: gateway(server, prefix) for prefix in NETWORKS}
            for prefix, target in targets.items():
                gateway(client, prefix)
                until(lambda target=target: client.run(["ping", "-c1", "-W1", target], check=False).returncode == 0)  # type: ignore[misc]
            listening = server.popen(["iperf3", "--server", "--forceflush"])
            assert listening.stdout
            next(line for line in listening.stdout if "listening" in line)
            speeds: dict[str, list[float]] = {prefix: [] for prefix in NETWORKS}
            delays: dict[str, list[float]] = {prefix: [] for prefix in NETWORKS}
            for _ in range(rounds):
                for prefix, target in targets.items():
                    speeds[prefix].append(_throughput(client, target))
                    delays[prefix].append(_latency(client, target))
    for what, unit, found in (("TCP throughput", "Gbit/s", speeds), ("round trip", "µs", delays)):
        mine, other = (statistics.median(found[prefix]) for prefix in (OURS, THEIRS))
        print(f"| {what} | {mine:.1f} {unit} | {other:.1f} {unit} | {mine / other:.3f} | 0.98 to 1.02 |", flush=True)


def _throughput(client: Node, target: str) -> float:
    done = client.run(["iperf3", "--client", target, "--time", str(SECONDS), "--json"])
    return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]) / 1e9


def _latency(client: Node, target: str) -> float:
    done = client.run(["ping", "-q", "-n", "-c", "500", "-i", "0.002", target])
    found = re.search(r"= [\d.]+/([\d.]+)/", done.stdout)
    assert found
    return float(found[1]) * 1000


def joining(rounds: int) -> None:
    """From the lease of a node that joins to the first answer of it, as another node sees it."""
    found: dict[str, list[float]] = {prefix: [] for prefix in NETWORKS}
    for number in range(rounds):
        for prefix in NETWORKS:
            found[prefix].append(_joining(prefix, number))
    mine, other = (statistics.median(found[prefix]) * 1000 for prefix in (OURS, THEIRS))
    print(f"| lease to first answer | {mine:.0f} ms | {other:.0f} ms | {mine / other:.3f} | 500 ms |", flush=True)


def _joining(prefix: str, number: int) -> float:
    """One node joins, whose own half is made by hand beforehand."""
    network, vni = NETWORKS[prefix]
    start = network.partition(".0.0")[0]
    subnet, address = f"{start}.{200 + number}.0/26", f"{start}.{200 + number}.0"
    with lab(2) as here, _daemon(here, prefix):
        first, second = here.nodes
        lines = [
            f"ip link add joining type vxlan id {vni} dstport 8472 local 192.168.77.12 dev eth0 nolearning",
            f"ip link set joining address {vtep_mac(parse_address('192.168.77.12'), vni)} up",
            f"ip address add {address}/32 dev joining",
        ]
        known = first.run(["sh", "-ec", f"cat {_file(prefix)}"]).stdout
        theirs = next(line.partition("=")[2].partition("/")[0] for line in known.splitlines() if line.startswith("FLANNEL_SUBNET="))
        vtep = str(parse_address(theirs).address).rpartition(".")[0] + "." + str(int(theirs.rpartition(".")[2]) - 1)
        device = "vxlan.100" if prefix == OURS else "flannel.200"
        mac = json.loads(first.run(["ip", "-json", "link", "show", device]).stdout)[0]["address"]
        lines += [
            f"ip neigh add {vtep} lladdr {mac} dev joining nud permanent",
            f"bridge fdb add {mac} dev joining dst 192.168.77.11",
            f"ip route add {vtep}/32 dev joining onlink via {vtep}",
        ]
        second.run(["sh", "-ec", "; ".join(lines)])
        pings = first.popen(["stdbuf", "-oL", "ping", "-n", "-D", "-i", "0.005", address])
        begun = time.time()
        with here.hub.inside():
            here.lease(prefix, "192.168.77.12", subnet)
        assert pings.stdout
        for line in pings.stdout:
            if f"bytes from {address}" in line:
                return float(line[1:].partition("]")[0]) - begun
    raise RuntimeError("the node is never reached")


@contextmanager
def _daemon(here: Lab, prefix: str) -> Iterator[None]:
    """Ours or theirs on the first node, ready."""
    if prefix == THEIRS:
        here.flanneld(here.nodes[0])
        yield
    else:
        with here.agent(here.nodes[0]) as agent:
            agent.wait_for(f"{_file(OURS)} has")
            yield


def crowd(count: int) -> None:
    """From a daemon's start to all entries of so many peers in the kernel."""
    took = {}
    for prefix in NETWORKS:
        with lab(1) as here:
            start = NETWORKS[prefix][0].partition(".0.0")[0]
            with here.hub.inside():
                for number in range(count):
                    subnet = f"{start}.{1 + number // 4}.{number % 4 * 64}/26"
                    here.lease(prefix, f"172.16.{number // 250}.{number % 250 + 1}", subnet)
            node, device = here.nodes[0], "vxlan.100" if prefix == OURS else "flannel.200"
            begun = time.perf_counter()
            with _daemon(here, prefix):
                until(lambda node=node, device=device: _programmed(node, device) >= count)  # type: ignore[misc]
                took[prefix] = time.perf_counter() - begun
    mine, other = took[OURS], took[THEIRS]
    print(f"| start to {count:,} peers | {mine:.2f} s | {other:.2f} s | {mine / other:.3f} | |", flush=True)


def _programmed(node: Node, device: str) -> int:
    """How many peers have all three of their entries."""
    counts = [
        node.run(["sh", "-c", f"{command} dev {device} 2>&- | grep -c {word} || true"]).stdout
        for command, word in (("ip route show", "via"), ("ip neigh show", "PERMANENT"), ("bridge fdb show", "permanent"))
    ]
    return min(int(text or 0) for text in counts)


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overlay", description=__doc__)
    parser.add_argument("-n", type=int, default=5, dest="rounds", help="rounds of each measurement (default 5)")
    parser.add_argument("--peers", type=int, default=1000, help="peers of the crowded overlay, at most 1000 (default 1000)")
    options = parser.parse_args()
    print("| | ours | flanneld | ratio | target |\n|---|---|---|---|---|", flush=True)
    traffic(options.rounds)
    joining(options.rounds)
    crowd(options.peers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
