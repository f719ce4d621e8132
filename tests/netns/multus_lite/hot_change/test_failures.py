"""A change that cannot be made leaves the pod as it was, and says why; the next one finds nothing in its way."""

from __future__ import annotations

from typing import Any

import pytest

from cni_plugins.protocol.errors import CniError
from conformance import ledger
from tests.netns.multus_lite.hot_change.changing import Changing
from tests.netns.multus_lite.scene import SHARED, bridge, leases, links

HINTS = r"node file /var/lib/cni/networks/[^/]+/(last_reserved_ip.*|lock|\.by-id)"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("missing", "there is no NetworkAttachmentDefinition default/missing"),
        ("two@eth0", "both want the interface eth0"),
        ("two@a/b", "is not a name"),
        ([{"name": "two", "ips": ["10.2.0.9/24"]}], "the pod asks for ips, but no plugin of the network declares the capability"),
        ("unknown", "no plugin 'unknown'"),
        ("three, foreign", "network default/foreign (net3): foreign: told to fail"),
    ],
)
def test_network_that_cannot_come_leaves_the_pod_as_it_was(changing: Changing, asked: str | list[Any], said: str) -> None:
    changing.api.define("unknown", {"cniVersion": "1.0.0", "name": "unknown", "type": "unknown"})
    changing.foreign.answers("ADD")
    changing.add("two@data0")
    status = changing.status
    before = changing.scene.node.ledger()
    assert changing.told
    wished = f"two@data0, {asked}" if isinstance(asked, str) else [{"name": "two", "interface": "data0"}, *asked]
    with pytest.raises(CniError) as caught:
        changing.to(wished)
    assert said in caught.value.msg
    assert ledger.diff(before, changing.scene.node.ledger(), ignore=SHARED) == []
    assert changing.status == status
    failed = [message for reason, message in changing.told if reason == "FailedNetwork"]
    assert failed == [caught.value.msg]
    changing.foreign.answers()
    assert changing.to("two@data0, foreign, three")
    assert set(changing.status) == {"eth0", "data0", "net2", "net3"}


def test_network_that_had_gone_is_back_when_the_other_cannot_come(changing: Changing) -> None:
    changing.foreign.answers("ADD")
    changing.add("two@data0, three")
    with pytest.raises(CniError, match="told to fail"):
        changing.to("foreign@data0, three")
    assert set(links(changing.scene.pod)) == {"eth0", "data0", "net2"}
    assert changing.status["data0"][0] == "default/two"
    assert leases() == {"net1/10.1.0.2", *(f"net2/{address}" for address in changing.status["data0"][1]), "net3/10.3.0.2"}
    assert not changing.to("two@data0, three")


def test_annotation_with_a_mistake_takes_nothing_away(changing: Changing) -> None:
    changing.add("two, three")
    before = changing.scene.node.ledger()
    with pytest.raises(CniError, match="missing"):
        changing.to("missing")
    assert ledger.diff(before, changing.scene.node.ledger()) == []


def test_network_that_does_not_go_is_tried_again(changing: Changing) -> None:
    before = changing.scene.node.ledger()
    changing.add("foreign, two")
    changing.foreign.answers("DEL")
    with pytest.raises(CniError) as caught:
        changing.to("three")
    assert "network default/foreign: foreign: told to fail" in caught.value.msg
    changing.foreign.answers()
    assert changing.change()
    assert set(links(changing.scene.pod)) == {"eth0", "net1"}
    assert changing.status["net1"][0] == "default/three"
    changing.scene.good("DEL")
    assert ledger.diff(before, changing.scene.node.ledger(), ignore=SHARED) == []


@pytest.mark.parametrize("after", ["two", "three", "two, three"])
def test_status_that_cannot_be_written_undoes_the_change(changing: Changing, after: str) -> None:
    changing.add("two")
    changing.api.unwell = [("PATCH", 403)]
    if after == "two":
        assert not changing.to(after)
        return
    with pytest.raises(CniError, match="PATCH"):
        changing.to(after)
    assert set(links(changing.scene.pod)) == {"eth0", "net1"}
    assert changing.status["net1"][0] == "default/two"
    assert changing.to(after)


def test_delete_after_a_failure_that_could_not_be_undone_leaves_nothing(changing: Changing) -> None:
    before = changing.scene.node.ledger()
    changing.add("foreign@data0")
    changing.foreign.answers("ADD")
    changing.api.define("two", {**bridge(2), "type": "foreign"})
    with pytest.raises(CniError) as caught:
        changing.to("two@data0")
    assert "undoing it failed" in caught.value.details
    changing.scene.good("DEL")
    assert ledger.diff(before, changing.scene.node.ledger(), ignore=SHARED) == []
