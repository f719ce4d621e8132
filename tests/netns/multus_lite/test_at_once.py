"""Networks that share nothing are set up and deleted at once, and it makes no difference to what comes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance import ledger
from tests.netns.faults.injection import termination
from tests.netns.multus_lite.api_server import ApiServer
from tests.netns.multus_lite.partners import Partners
from tests.netns.multus_lite.scene import SHARED, Scene, bridge, links
from tests.support.inprocess import THROUGH_AGENT

DEFAULT = bridge(1, isDefaultGateway=True)
CHAIN = {"cniVersion": "1.1.0", "name": "chain", "plugins": [{"type": "left"}, {"type": "after"}]}


@pytest.fixture
def partners(tmp_path: Path, scene: Scene) -> Partners:
    """Two plugins that wait for each other, called for a pod whose default network is a bridge."""
    partners = Partners(tmp_path)
    scene.env = {"CNI_PATH": scene.plugins.cni_path([partners.directory])}
    left = partners.set("left", ADD="meet right", DEL="meet right")
    right = partners.set("right", ADD="meet left", DEL="meet left")
    scene.delegates = [DEFAULT, left, right]
    return partners


def test_networks_that_share_nothing_are_set_up_and_deleted_at_once(scene: Scene, partners: Partners) -> None:
    before = scene.node.ledger()
    result = scene.good("ADD")
    assert set(links(scene.pod)) == {"eth0", "net1", "net2"}
    scene.good("CHECK", prevResult=result)
    scene.good("DEL")
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


def test_own_plugins_work_while_others_run(scene: Scene, partners: Partners) -> None:
    inside = f"await ip -n {scene.pod.name} link show"
    scene.delegates = [DEFAULT, partners.set("left", ADD=f"{inside} net2"), bridge(2), partners.set("right")]
    scene.good("ADD")
    assert links(scene.pod)["net2"] == ["10.2.0.2/24"]
    scene.good("DEL")


def test_results_are_told_in_the_order_of_the_annotation_whoever_ends_first(api: ApiServer, scene: Scene, tmp_path: Path) -> None:
    partners = Partners(tmp_path)
    scene.env = {"CNI_PATH": scene.plugins.cni_path([partners.directory])}
    for name, commands in (("left", "await grep -q 'ADD right ended' log"), ("right", ":")):
        api.define(name, partners.set(name, ADD=commands))
    api.annotate("left, right")
    scene.good("ADD")
    assert partners.log.index("ADD right ended") < partners.log.index("ADD left ended")
    assert [(one["name"], one.get("interface")) for one in api.status()][1:] == [("default/left", "net1"), ("default/right", "net2")]
    state = json.loads(scene.state_file().read_text())
    assert [one["ifnameRequest"] for one in state] == ["eth0", "net1", "net2"]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"bridge": "br7"}, {"master": "br7"}),
        ({"name": "same"}, {"name": "same"}),
        ({"ipam": {"type": "anything"}}, {"ipam": {"type": "anything"}}),
        ({"ipam": {"routes": [{"dst": "0.0.0.0/0"}]}}, {"isDefaultGateway": True}),
    ],
    ids=["link", "name", "plugin", "route"],
)
def test_networks_that_share_something_are_set_up_and_deleted_in_turn(
    scene: Scene, partners: Partners, left: dict[str, Any], right: dict[str, Any]
) -> None:
    scene.delegates = [
        DEFAULT,
        partners.set("left", ADD="look right", DEL="look right") | left,
        partners.set("right", ADD="look left", DEL="look left") | right,
    ]
    scene.good("ADD")
    scene.good("DEL")
    assert partners.log == [f"ADD {one}" for one in ("left", "left ended", "right", "right ended")] + [
        f"DEL {one}" for one in ("right", "right ended", "left", "left ended")
    ]


@pytest.mark.parametrize("alone", ["the default network", "as wished"])
def test_default_network_is_alone_and_all_are_where_the_configuration_says_so(scene: Scene, partners: Partners, alone: str) -> None:
    left = partners.set("left", ADD="look right", DEL="look right")
    right = partners.set("right", ADD="look left", DEL="look left")
    scene.delegates = [left, right] if alone == "the default network" else [DEFAULT, left, right]
    scene.keys = {"inTurn": alone == "as wished"}
    scene.good("ADD")
    scene.good("DEL")
    assert not [line for line in partners.log if "met" in line]


@pytest.mark.parametrize("failing", [("left",), ("right",), ("left", "right")], ids=" and ".join)
def test_when_one_fails_the_others_are_waited_for_and_all_are_undone(scene: Scene, partners: Partners, failing: tuple[str, ...]) -> None:
    for name, other in (("left", "right"), ("right", "left")):
        partners.set(name, ADD=f"meet {other}" + (f"; fail {name}-cannot" if name in failing else ""))
    before = scene.node.ledger()
    error = scene.call("ADD").error
    numbers = {"left": 1, "right": 2}
    said = [f"network of-{name} (net{numbers[name]}): {name}: {name}-cannot" for name in failing]
    assert error["msg"] == "; ".join(said)
    assert error["code"] == 100 + len(f"ADD-{failing[0]}")
    ended = [line for line in partners.log if line.startswith("ADD") and line.endswith(("ended", "failed"))]
    assert len(ended) == 2
    assert partners.log.index("DEL left") > max(map(partners.log.index, ended))
    assert {"DEL left ended", "DEL right ended"} < set(partners.log)
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


def test_once_one_has_failed_nothing_more_is_begun(scene: Scene, partners: Partners) -> None:
    partners.set("left", ADD="meet right; await sh -c '! kill -0 $(cat pid)'")
    partners.set("right", ADD="echo $$ >pid; meet left; fail no")
    partners.set("after")
    scene.delegates[1] = CHAIN
    before = scene.node.ledger()
    assert "no" in scene.call("ADD").error["msg"]
    assert "ADD left ended" in partners.log
    assert "ADD after" not in partners.log
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


def test_plugins_of_one_network_are_deleted_in_reverse_beside_another(scene: Scene, partners: Partners) -> None:
    partners.set("after")
    scene.delegates[1] = CHAIN
    scene.good("ADD")
    partners.forget()
    scene.good("DEL")
    assert partners.log.index("DEL after ended") < partners.log.index("DEL left")


def test_all_that_fail_to_be_deleted_are_named_and_asked_again(scene: Scene, partners: Partners) -> None:
    before = scene.node.ledger()
    scene.good("ADD")
    for name, other in (("left", "right"), ("right", "left")):
        partners.set(name, DEL=f"meet {other}; fail {name}-cannot")
    error = scene.call("DEL").error
    assert "left-cannot" in error["msg"]
    assert "right-cannot" in error["msg"]
    assert "eth0" not in links(scene.pod)
    partners.set("left")
    partners.set("right")
    partners.forget()
    scene.good("DEL")
    assert {"DEL left", "DEL right"} < set(partners.log)
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


@pytest.mark.skipif(THROUGH_AGENT, reason="an agent gets no signals; what it hears of its caller's is tested end to end")
def test_signal_ends_all_that_run_and_everything_is_undone(scene: Scene, partners: Partners) -> None:
    """The runtime gave up: nothing may go on changing the node behind its back."""
    hang = "while :; do sleep 0.01; done"
    partners.set("left", ADD=f"meet right; trap 'fail told' TERM; touch trapped; {hang}")
    partners.set("right", ADD=f"meet left; await test -e trapped; trap 'fail told' TERM; kill -TERM $PPID; {hang}")
    before = scene.node.ledger()
    with termination():
        error = scene.call("ADD").error
    assert (error["code"], error["msg"]) == (11, "ended by signal 15")
    log = partners.log
    assert max(log.index("ADD left failed"), log.index("ADD right failed")) < min(log.index("DEL left"), log.index("DEL right"))
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []
