"""The default route of a pod that runs goes to the network that asks for it, and back when that goes."""

from __future__ import annotations

from typing import Any

import pytest

from cni_plugins.protocol.errors import CniError
from conformance import ledger
from tests.netns.multus_lite.hot_change.changing import Changing
from tests.netns.multus_lite.scene import SHARED, bridge, defaults

OWN = {4: [("eth0", "10.1.0.1")], 6: [("eth0", "fd00:1::1")]}
ANSWER = r"node file /var/lib/cni/multus/results/net1-.*"
"""It has its routes in another order."""
TWO = {4: [("net1", "10.2.0.1")], 6: [("net1", "fd00:2::1")]}


@pytest.fixture
def changing(changing: Changing) -> Changing:
    """All networks have both families, the default network default routes."""
    changing.scene.delegates = [bridge(1, six=True, isDefaultGateway=True)]
    changing.api.define("two", bridge(2, six=True, isGateway=True))
    changing.api.define("three", bridge(3, six=True, isDefaultGateway=True))
    return changing


def routes(changing: Changing) -> dict[int, list[tuple[str, str]]]:
    """The pod's default routes by address family."""
    return {family: defaults(changing.scene.pod, family) for family in (4, 6)}


def gateways(changing: Changing) -> dict[str, list[str]]:
    """What the pod is told of them, by interface."""
    return {one["interface"]: sorted(one["gateway"]) for one in changing.api.status() if "gateway" in one}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["10.2.0.1"], {**OWN, 4: TWO[4]}),
        (["fd00:2::1"], {**OWN, 6: TWO[6]}),
        (["10.2.0.1", "fd00:2::1"], TWO),
    ],
    ids=["IPv4", "IPv6", "both"],
)
def test_default_route_moves_and_comes_back(changing: Changing, asked: list[str], expected: dict[int, list[tuple[str, str]]]) -> None:
    before = changing.scene.node.ledger()
    result = changing.add("")
    told = gateways(changing)
    plain = changing.scene.node.ledger()
    assert changing.to([{"name": "two", "default-route": asked}])
    assert routes(changing) == expected
    assert {gateway for some in gateways(changing).values() for gateway in some} == {route[1] for (route,) in expected.values()}
    changing.scene.good("CHECK", prevResult=result)
    assert changing.to("")
    assert routes(changing) == OWN
    assert gateways(changing) == told
    changing.scene.good("CHECK", prevResult=result)
    assert ledger.diff(plain, changing.scene.node.ledger(), ignore=(*SHARED, ANSWER)) == []
    changing.scene.good("DEL")
    assert ledger.diff(before, changing.scene.node.ledger(), ignore=SHARED) == []


def test_network_that_had_it_from_the_start_gives_it_back(changing: Changing) -> None:
    result = changing.add([{"name": "two", "default-route": ["10.2.0.1"]}])
    assert routes(changing) == {**OWN, 4: TWO[4]}
    assert changing.to("")
    assert routes(changing) == OWN
    changing.scene.good("CHECK", prevResult=result)


def test_it_stays_where_it_is_while_other_networks_come_and_go(changing: Changing) -> None:
    two: dict[str, Any] = {"name": "two", "default-route": ["10.2.0.1", "fd00:2::1"]}
    changing.add([two])
    assert changing.to([two, {"name": "three"}])
    assert routes(changing) == TWO
    assert changing.to([two])
    assert routes(changing) == TWO
    assert changing.to("")
    assert routes(changing) == OWN


def test_it_goes_from_one_network_to_another(changing: Changing) -> None:
    changing.add([{"name": "two", "default-route": ["10.2.0.1"]}, {"name": "three", "interface": "data0"}])
    assert changing.to([{"name": "two"}, {"name": "three", "interface": "data0", "default-route": ["10.3.0.1"]}])
    assert defaults(changing.scene.pod) == [("data0", "10.3.0.1")]
    assert changing.to([{"name": "two"}])
    assert defaults(changing.scene.pod) == OWN[4]


def test_gateway_that_cannot_be_reached_leaves_the_pod_as_it_was(changing: Changing) -> None:
    two: dict[str, Any] = {"name": "two", "default-route": ["10.2.0.1"]}
    changing.add([two])
    told = gateways(changing)
    before = changing.scene.node.ledger()
    with pytest.raises(CniError) as caught:
        changing.to([two, {"name": "three", "default-route": ["fd00:2::99"]}])
    assert "default-route: fd00:2::99 through net2" in caught.value.msg
    assert ledger.diff(before, changing.scene.node.ledger(), ignore=SHARED) == []
    assert gateways(changing) == told
