"""The network that asks for the default route gets it; the others lose theirs of that family, and of no other."""

from __future__ import annotations

import pytest

from conformance import ledger
from tests.netns.multus_lite.api_server import ApiServer
from tests.netns.multus_lite.scene import SHARED, Scene, bridge, defaults, links

V4, V6 = ("net1", "10.2.0.1"), ("net1", "fd00:2::1")
OWN4, OWN6 = ("eth0", "10.1.0.1"), ("eth0", "fd00:1::1")


@pytest.fixture
def dual(scene: Scene, api: ApiServer) -> Scene:
    """A dual-stack default network with default routes, and the definition `two` of another, which has none of its own."""
    scene.delegates = [bridge(1, six=True, isDefaultGateway=True)]
    api.define("two", bridge(2, six=True, isGateway=True))
    return scene


@pytest.mark.parametrize(
    ("asked", "four", "six"),
    [
        (["10.2.0.1"], V4, OWN6),
        (["fd00:2::1"], OWN4, V6),
        (["10.2.0.1", "fd00:2::1"], V4, V6),
        ([], OWN4, OWN6),
    ],
    ids=["IPv4", "IPv6", "both", "none of its own"],
)
def test_default_route_moves_family_by_family(
    dual: Scene, api: ApiServer, *, asked: list[str], four: tuple[str, str], six: tuple[str, str]
) -> None:
    api.annotate([{"name": "two", "default-route": asked}])
    before = dual.node.ledger()
    result = dual.good("ADD")
    assert (defaults(dual.pod, 4), defaults(dual.pod, 6)) == ([four], [six])
    kept = [(ifname, gateway) for ifname, gateway in (four, six) if ifname == "eth0"]
    assert [route["gw"] for route in result.get("routes", ())] == [gateway for _, gateway in kept]
    first, second = api.status()
    assert [*first.get("gateway", ()), *second.get("gateway", ())] == [*(gateway for _, gateway in kept), *asked]
    dual.good("DEL")
    assert ledger.diff(before, dual.node.ledger(), ignore=SHARED) == []


def test_empty_list_leaves_a_network_its_own_gateway(dual: Scene, api: ApiServer) -> None:
    api.define("two", bridge(2, isDefaultGateway=True))
    api.annotate([{"name": "two", "default-route": []}])
    dual.good("ADD")
    assert (defaults(dual.pod, 4), defaults(dual.pod, 6)) == ([V4], [OWN6])


def test_no_default_route_is_touched_unless_it_is_asked_for(dual: Scene, api: ApiServer) -> None:
    api.annotate("two")
    dual.good("ADD")
    assert (defaults(dual.pod, 4), defaults(dual.pod, 6)) == ([OWN4], [OWN6])


@pytest.mark.parametrize(
    "asked",
    [
        [{"name": "two", "default-route": ["10.2.0.1", "10.2.0.7"]}],
        [{"name": "two", "default-route": ["10.2.0.1"]}, {"name": "two", "interface": "x", "default-route": ["10.2.0.1"]}],
        [{"name": "two", "default-route": []}, {"name": "two", "interface": "x", "default-route": ["fd00:2::1"]}],
    ],
)
def test_pod_has_one_default_route_of_each_family(dual: Scene, api: ApiServer, asked: list[dict[str, object]]) -> None:
    api.annotate(asked)
    assert "one default route of each address family" in dual.call("ADD").error["msg"]
    assert links(dual.pod) == {}


def test_gateway_that_cannot_be_reached_undoes_everything(dual: Scene, api: ApiServer) -> None:
    api.annotate([{"name": "two", "default-route": ["192.0.2.1"]}])
    before = dual.node.ledger()
    error = dual.call("ADD").error
    assert "default-route: 192.0.2.1 through net1" in error["msg"]
    assert "must be in the interface's network" in error["details"]
    assert ledger.diff(before, dual.node.ledger(), ignore=SHARED) == []
    assert [event["reason"] for event in api.events] == ["FailedNetwork"]


def test_check_sees_a_default_route_that_moved_back(dual: Scene, api: ApiServer) -> None:
    api.annotate([{"name": "two", "default-route": ["10.2.0.1"]}])
    result = dual.good("ADD")
    dual.good("CHECK", prevResult=result)
    dual.pod.run(["ip", "route", "replace", "default", "via", "10.1.0.1"])
    error = dual.call("CHECK", prevResult=result).error
    assert "default-route: IPv4: expected one through 10.2.0.1 on net1, found 1: default via 10.1.0.1" in error["msg"]
