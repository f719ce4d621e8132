"""Networks of the vxlan plugin whose peers stand in a file: the agent follows the file while the network has attachments."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.agent.following import Following
from cni_plugins.agent.passes import Passes
from cni_plugins.agent.warm import Warm
from tests.netns.overlay.keeping import RUN_DIR, SECONDS, Lines, Listed, Place, subnet
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.outcome import Outcome
from vxlan.device import Device
from vxlan.peers import Peers
from vxlan.repair import Report


class Network:
    """The plugin on the first node, on which the test is, with its peers in a file."""

    def __init__(self, place: Place, listed: Listed, directory: Path) -> None:
        self.place = place
        self.listed = listed
        self._plugins = InProcess(place.node, directory)

    def call(self, verb: str, pod: Container, **keys: Any) -> Outcome:
        """One call."""
        conf = {"cniVersion": "1.1.0", "name": "static", "type": "vxlan", "vni": 100, "underlay": "eth0", "network": "10.5.0.0/16"}
        conf |= {"subnet": subnet(1), "peersFile": str(self.listed.path), **keys}
        return self._plugins("vxlan", verb, conf, container=pod)

    def add(self, container: str = "pod", /, **keys: Any) -> Container:
        """A pod."""
        pod = self.place.node.container(container)
        assert self.call("ADD", pod, **keys).code == 0
        return pod

    def routes(self) -> set[str]:
        """The subnets that the node has a route of ours to."""
        return {route["dst"] for route in json.loads(self.place.sh("ip -json route show proto 110"))}


@pytest.fixture
def following(places: list[Place]) -> Iterator[None]:
    """An agent that follows, on the first node."""
    with places[0].node.inside():
        warm = Warm()
        following = Following(warm, run_dir=RUN_DIR, kept=["kept"], repaired=lambda name: None)
        following.start()
        yield
        following.stop()
        warm.close()


@pytest.fixture
def network(following: None, places: list[Place], listed: Listed, lines: Lines, *, tmp_path: Path) -> Network:
    """A network, followed."""
    return Network(places[0], listed, tmp_path)


def test_a_peer_that_is_written_to_the_file_is_reached_without_another_add(network: Network, places: list[Place], lines: Lines) -> None:
    network.add()
    places[2].start(network.listed.table())
    network.listed.write([(place.address, subnet(place.number)) for place in places])
    lines.wait_for_all("static: brought about: peer 192.168.77.13 with 10.5.3.0/24: .*3 entries put in", "net5: .*entries put in")
    assert places[0].reaches("10.5.3.0")


def test_what_is_knocked_over_is_put_back_for_the_pods(network: Network, lines: Lines) -> None:
    network.add()
    network.listed.write([("192.168.77.13", subnet(3))])
    lines.wait_for("static: brought about.*10.5.3.0/24")
    network.place.sh("ip link delete vxlan.100")
    lines.wait_for("static: repaired: VXLAN device vxlan.100 is gone.*made anew, 3 entries put in")
    assert network.routes() == {subnet(3)}


def test_the_last_del_takes_the_overlay_although_it_is_followed(network: Network, lines: Lines) -> None:
    pod = network.add()
    network.listed.write([("192.168.77.13", subnet(3))])
    lines.wait_for("static: brought about.*10.5.3.0/24")
    assert network.call("DEL", pod).code == 0
    network.listed.write([("192.168.77.12", subnet(2))])
    second = network.add("second")  # it is followed again: so whatever the first one's follower did is done
    network.listed.write([("192.168.77.13", subnet(3))])
    lines.wait_for("static: brought about.*10.5.3.0/24")
    assert network.call("DEL", second).code == 0
    assert network.place.ip("link", "show", "type", "vxlan") == []
    assert network.routes() == set()


@pytest.mark.parametrize("step", [(Passes, "make"), (Device, "verify"), (Peers, "__init__")], ids=["before", "device", "peers"])
def test_what_the_last_del_took_does_not_come_back(
    network: Network, lines: Lines, monkeypatch: pytest.MonkeyPatch, step: tuple[type[object], str]
) -> None:
    owner, name = step
    original, whole = getattr(owner, name), Passes.make
    pods: list[Container] = []
    codes: list[int] = []
    over = threading.Event()

    def meanwhile(*arguments: Any, **keys: Any) -> Any:
        if pods and threading.current_thread() is not threading.main_thread():
            codes.append(network.call("DEL", pods.pop()).code)
        return original(*arguments, **keys)

    def make(self: Passes, *arguments: Any, **keys: Any) -> Report:
        try:
            return (meanwhile if owner is Passes else whole)(self, *arguments, **keys)
        finally:
            if codes:
                over.set()

    monkeypatch.setattr(owner, name, meanwhile)
    monkeypatch.setattr(Passes, "make", make)
    pods.append(network.add())
    network.place.sh("ip route delete 10.5.2.0/24 || true")  # unless the pass that follows an ADD has had its DEL already
    assert over.wait(SECONDS)
    assert codes == [0]
    assert network.place.ip("link", "show", "type", "vxlan") == []
    assert network.routes() == set()


def test_a_file_with_a_mistake_leaves_the_peers_and_is_named_once(network: Network, lines: Lines) -> None:
    network.add()
    assert network.routes() == {subnet(2)}
    network.listed.path.write_text("[{")
    assert "this is not JSON" in lines.wait_for("static: peersFile") or "JSON" in lines.said[-1]
    assert network.routes() == {subnet(2)}


def test_an_overlay_that_the_agent_keeps_is_not_followed_as_well(network: Network, lines: Lines) -> None:
    network.add(name="kept")
    network.add("another", name="followed", network="10.6.0.0/16", subnet=subnet(1, 6), vni=101, bridge="other")
    network.listed.write([("192.168.77.13", subnet(3, 6))])
    lines.wait_for("followed: ")
    assert not [line for line in lines.said if line.startswith("kept: ")]
