"""Lists of plugins in which ours and the reference's stand side by side, or take over from each other while pods live."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cnitool import Cnitool, CnitoolError
from tests.e2e.fixtures import NothingLeft
from tests.e2e.networks import PATIENCE, addresses, bridge, forward_ipv6, ping
from tests.support.netns import Container, Netns
from tests.support.node import Node

MAC = "c2:11:22:33:44:55"
CHAINED: dict[str, dict[str, Any]] = {
    "portmap": {"type": "portmap", "capabilities": {"portMappings": True}},
    "firewall": {"type": "firewall"},
    "bandwidth": {"type": "bandwidth", "ingressRate": 10**9, "ingressBurst": 10**8, "egressRate": 10**9, "egressBurst": 10**8},
    "tuning": {"type": "tuning", "capabilities": {"mac": True}, "mtu": 1400, "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}},
}
ASKED = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}], "mac": MAC}
ORDERS = {"forwards": list(CHAINED), "backwards": list(reversed(CHAINED))}
OURS, THEIRS = "ours", "theirs"


class Sides:
    """Both directories of executables; `whose` makes one in which each plugin is of the side that is named for it."""

    def __init__(self, ours: Path, theirs: Path, scratch: Path) -> None:
        self.directories = {OURS: ours, THEIRS: theirs}
        self._scratch = scratch

    def __getitem__(self, side: str) -> Path:
        return self.directories[side]

    def whose(self, side: str, **others: str) -> Path:
        """A directory with all plugins of one side, but for those whose side is given by name."""
        mixture = self._scratch / f"{side}-{'-'.join(others) or 'alone'}"
        mixture.mkdir()
        for plugin in ("bridge", "host-local", *CHAINED):
            (mixture / plugin).symlink_to(self[others.get(plugin, side)] / plugin)
        return mixture


@pytest.fixture
def sides(plugins: Path, reference_bin: Path, tmp_path: Path) -> Sides:
    """The plugins under test, and the reference's."""
    return Sides(plugins, reference_bin, tmp_path)


def answers(client: Netns | Node, server: Container, address: str) -> None:
    """Expect that a client reaches the pod's port 80 by port 8080 of `address`."""
    with server.inside():
        listener = socket.create_server(("0.0.0.0", 80))
    with listener, client.inside(), socket.create_connection((address, 8080), timeout=PATIENCE):
        pass


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("single", CHAINED)
@pytest.mark.parametrize("most", [OURS, THEIRS])
def test_one_of_the_other_side_s_plugins_stands_in_the_list(
    sides: Sides, node: Node, *, most: str, single: str, order: str, nothing_left: NothingLeft
) -> None:
    forward_ipv6(node)
    directory = sides.whose(most, **{single: THEIRS if most == OURS else OURS})
    net = Cnitool(node, [directory], name="pods", plugins=[bridge(ipMasq=True), *(CHAINED[name] for name in ORDERS[order])])
    pod, outside = node.container(), node.outside()
    net.add(pod, capabilities=ASKED)
    net.delete(pod, capabilities=ASKED)
    with nothing_left(node):
        result = net.add(pod, capabilities=ASKED)
        assert next(one["mac"] for one in result["interfaces"] if one.get("sandbox")) == MAC
        answers(outside, pod, outside.node_addresses[0])
        ping(pod, outside.addresses[0])
        net.status(pod)
        net.check(pod, capabilities=ASKED)
        net.delete(pod, capabilities=ASKED)


@pytest.mark.parametrize("chain", [*([name] for name in CHAINED), list(CHAINED)], ids="+".join)
@pytest.mark.parametrize(("first", "second"), [(OURS, THEIRS), (THEIRS, OURS)])
@pytest.mark.parametrize("lost", ["nothing", "netns"])
def test_list_is_swapped_while_a_pod_lives(
    sides: Sides, node: Node, *, first: str, second: str, chain: list[str], lost: str, nothing_left: NothingLeft
) -> None:
    listed = [bridge(ipMasq=True), *(CHAINED[name] for name in chain)]
    adding, deleting = nets(node, listed, sides[first], sides[second])
    with nothing_left(node):
        pod = node.container()
        result = adding.add(pod, capabilities=ASKED)
        if lost == "netns":
            pod.delete()
        else:
            ping(node, addresses(result)[0])
            if second == OURS or not {"portmap", "firewall"} & {*chain}:  # the reference asks for its own rules, and would not see ours
                deleting.check(pod, capabilities=ASKED)
        deleting.delete(pod, capabilities=ASKED)
        if first == OURS:
            collect(node, sides[OURS], listed)
        if lost == "nothing":
            pod.delete()


@pytest.mark.parametrize("plugin", CHAINED)
def test_what_the_reference_added_is_deleted_without_its_result(
    sides: Sides, node: Node, *, plugin: str, nothing_left: NothingLeft
) -> None:
    nets(node, [bridge(), CHAINED[plugin]], sides[THEIRS], sides[OURS])
    with nothing_left(node):
        pod = node.container()
        calls = Calls(node, sides, pod)
        result = calls.good(THEIRS, "ADD", bridge())
        calls.good(THEIRS, "ADD", CHAINED[plugin], prevResult=result)
        for _ in range(2):
            calls.good(OURS, "DEL", CHAINED[plugin])
        calls.good(OURS, "DEL", bridge())
        pod.delete()


@pytest.mark.parametrize("plugin", CHAINED)
def test_nothing_stays_of_a_pod_whose_interface_the_reference_took_away(
    sides: Sides, node: Node, *, plugin: str, nothing_left: NothingLeft
) -> None:
    nets(node, [bridge(), CHAINED[plugin]], sides[THEIRS], sides[OURS])
    with nothing_left(node):
        pod = node.container()
        calls = Calls(node, sides, pod)
        result = calls.good(THEIRS, "ADD", bridge())
        calls.good(OURS, "ADD", CHAINED[plugin], prevResult=result)
        calls.good(THEIRS, "DEL", bridge())
        calls.good(OURS, "DEL", CHAINED[plugin])
        pod.delete()


def test_port_that_the_reference_freed_serves_our_next_pod(sides: Sides, node: Node, nothing_left: NothingLeft) -> None:
    listed = [bridge(ipMasq=True), *CHAINED.values()]
    ours, theirs = nets(node, listed, sides[OURS], sides[THEIRS])
    outside = node.outside()
    with nothing_left(node):
        old, new = node.container("old"), node.container("new")
        ours.add(old, capabilities=ASKED)
        theirs.delete(old, capabilities=ASKED)
        ours.add(new, capabilities=ASKED)
        answers(outside, new, outside.node_addresses[0])
        ours.check(new, capabilities=ASKED)
        ours.delete(new, capabilities=ASKED)
        collect(node, sides[OURS], listed)
        old.delete()
        new.delete()


DRIFT = {
    "portmap": "nft delete table inet cni_plugins",
    "firewall": "nft delete table inet cni_plugins",
    "bandwidth": "for link in $(ip -o link show master cbr0 | cut -d' ' -f2 | cut -d@ -f1); do tc qdisc delete dev $link root; done",
    "tuning": "ip -n pod link set eth0 mtu 1300",
}


@pytest.mark.parametrize("plugin", DRIFT)
def test_check_of_a_list_tells_that_a_plugin_s_work_was_undone(sides: Sides, node: Node, plugin: str) -> None:
    net = Cnitool(node, [sides[OURS]], name="pods", plugins=[bridge(), CHAINED[plugin]])
    pod = node.container("pod")
    net.add(pod, capabilities=ASKED)
    net.check(pod, capabilities=ASKED)
    node.run(["sh", "-ec", DRIFT[plugin]])
    with pytest.raises(CnitoolError):
        net.check(pod, capabilities=ASKED)
    net.delete(pod, capabilities=ASKED)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("cached", [True, False], ids=["known to the runtime", "forgotten"])
def test_gc_of_a_list_removes_what_vanished_pods_left(
    sides: Sides, node: Node, *, order: str, cached: bool, nothing_left: NothingLeft
) -> None:
    listed = [bridge(ipMasq=True), *(CHAINED[name] for name in ORDERS[order])]
    (net,) = nets(node, listed, sides[OURS])
    outside = node.outside()
    with nothing_left(node):
        kept, stale = node.container("kept"), node.container("stale")
        for pod in (kept, stale):
            net.add(pod, capabilities=ASKED if pod is kept else {})
        stale.delete()
        if cached:
            net.collect_garbage(kept)  # it knows of no valid attachment
        else:
            Path("/var/lib/cni/results", f"pods-{cnitool_id(stale)}-eth0").unlink()
            collect(node, sides[OURS], listed, kept)
            net.check(kept, capabilities=ASKED)
            answers(outside, kept, outside.node_addresses[0])
            net.delete(kept, capabilities=ASKED)
        kept.delete()


class Calls:
    """Calls of single plugins for one container."""

    def __init__(self, node: Node, sides: Sides, pod: Container) -> None:
        self.node = node
        self.sides = sides
        self.pod = pod

    def good(self, side: str, verb: str, plugin: dict[str, Any], **keys: Any) -> Any:
        """One call that must succeed; its result."""
        conf = {"cniVersion": "1.0.0", "name": "pods", **plugin, "runtimeConfig": ASKED, **keys}
        return self.node.cni(self.sides[side] / plugin["type"], verb, conf, container=self.pod, path=self.sides[side]).result


def nets(node: Node, listed: list[dict[str, Any]], *directories: Path) -> list[Cnitool]:
    """The same network, run from each of the directories; each has added and deleted a pod before."""
    forward_ipv6(node)
    found = [Cnitool(node, [directory], name="pods", plugins=listed) for directory in directories]
    primer = node.container("primer")
    for net in found:
        net.add(primer, capabilities=ASKED)
        net.delete(primer, capabilities=ASKED)
    primer.delete()
    return found


def cnitool_id(container: Container) -> str:
    """The container ID that cnitool gives a network namespace."""
    return "cnitool-" + hashlib.sha512(container.path.encode()).hexdigest()[:20]


def collect(node: Node, directory: Path, listed: list[dict[str, Any]], *kept: Container) -> None:
    """GC by each plugin of a list, as a runtime has it; `kept` are the valid containers, which cnitool added."""
    valid = [{"containerID": cnitool_id(one), "ifname": "eth0"} for one in kept]
    for plugin in listed:
        conf = {"cniVersion": "1.1.0", "name": "pods", **plugin, "cni.dev/valid-attachments": valid}
        outcome = node.cni(directory / plugin["type"], "GC", conf, path=directory)
        assert outcome.code == 0, outcome
