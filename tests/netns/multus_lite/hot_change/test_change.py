"""The networks of a pod that runs follow its annotation, and nothing else of it changes."""

from __future__ import annotations

import shutil

import pytest

from cni_plugins.protocol.errors import CniError, Conflict, TryAgain, UnknownContainer
from conformance import ledger
from tests.netns.multus_lite.hot_change.changing import Changing
from tests.netns.multus_lite.scene import SHARED, STATE, bridge, leases, links, states
from tests.netns.plugins.networks import RECORDS

ETH0, TWO, THREE = ["10.1.0.2/24"], ["10.2.0.2/24"], ["10.3.0.2/24"]


def test_pod_gains_a_network(changing: Changing) -> None:
    before = changing.scene.node.ledger()
    changing.add("")
    assert changing.to("two")
    assert links(changing.scene.pod) == {"eth0": ETH0, "net1": TWO}
    assert changing.status == {"eth0": ("net1", ["10.1.0.2"]), "net1": ("default/two", ["10.2.0.2"])}
    assert changing.told[1:] == [("AddedInterface", "Add net1 [10.2.0.2/24] from default/two")]
    changing.scene.good("DEL")
    assert ledger.diff(before, changing.scene.node.ledger(), ignore=SHARED) == []


def test_pod_loses_a_network_and_the_others_keep_name_and_address(changing: Changing) -> None:
    before = changing.scene.node.ledger()
    changing.add("two, three")
    assert changing.to("three")
    assert links(changing.scene.pod) == {"eth0": ETH0, "net2": THREE}
    assert set(changing.status) == {"eth0", "net2"}
    assert changing.told[1:] == [("RemovedInterface", "Remove net1 from default/two")]
    assert leases() == {"net1/10.1.0.2", "net3/10.3.0.2"}
    changing.scene.good("DEL")
    assert ledger.diff(before, changing.scene.node.ledger(), ignore=SHARED) == []


def test_pod_that_asks_for_nothing_any_more_keeps_the_default_network(changing: Changing) -> None:
    before = changing.scene.node.ledger()
    changing.add("two, three")
    del changing.api.pods["default", "web"]["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"]
    assert changing.change()
    assert links(changing.scene.pod) == {"eth0": ETH0}
    changing.scene.good("DEL")
    assert ledger.diff(before, changing.scene.node.ledger(), ignore=SHARED) == []


def test_one_network_comes_as_another_goes(changing: Changing) -> None:
    changing.add("two")
    assert changing.to("three")
    assert links(changing.scene.pod) == {"eth0": ETH0, "net1": THREE}
    assert [reason for reason, _ in changing.told] == ["AddedInterface", "RemovedInterface", "AddedInterface"]


def test_network_that_is_wanted_otherwise_is_replaced_under_its_name(changing: Changing) -> None:
    changing.api.define("two", bridge(2, capabilities={"mac": True}))
    changing.add("two, three")
    assert changing.to([{"name": "two", "mac": "02:00:00:00:00:09"}, {"name": "three"}])
    assert set(links(changing.scene.pod)) == {"eth0", "net1", "net2"}
    assert next(one["mac"] for one in changing.api.status() if one["interface"] == "net1") == "02:00:00:00:00:09"


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        ("two", "three, two", {"net1": TWO, "net2": THREE}),
        ("two, three", "three", {"net2": THREE}),
        ("two@data0, three", "three, two@net5", {"net2": THREE, "net5": ["10.2.0.3/24"]}),
        ("two@data0", "three, two", {"data0": TWO, "net1": THREE}),
        ("two, two", "two", {"net1": TWO}),
        ("two, two", "two@net2", {"net2": ["10.2.0.3/24"]}),
        ("two, two", "two, two@net1, three", {"net1": TWO, "net2": ["10.2.0.3/24"], "net3": THREE}),
        ("two", "three@net3, two, two", {"net1": TWO, "net3": THREE, "net4": ["10.2.0.3/24"]}),
    ],
)
def test_an_interface_keeps_its_name_and_a_new_one_gets_a_free_one(
    changing: Changing, before: str, after: str, names: dict[str, list[str]]
) -> None:
    changing.add(before)
    assert changing.to(after)
    assert links(changing.scene.pod) == {"eth0": ETH0, **names}


def test_the_same_networks_in_other_words_change_nothing(changing: Changing) -> None:
    changing.add("two, three@data0")
    state = changing.scene.node.ledger()
    changing.api.asked.clear()
    assert not changing.to([{"name": "three", "interface": "data0"}, {"namespace": "default", "name": "two", "interface": "net1"}])
    assert ledger.diff(state, changing.scene.node.ledger()) == []
    assert changing.api.asked == ["GET /api/v1/namespaces/default/pods/web"]


def test_definitions_of_networks_that_stay_are_not_asked_for(changing: Changing) -> None:
    changing.add("two")
    del changing.api.definitions["default", "two"]
    assert changing.to("two, three")
    assert set(links(changing.scene.pod)) == {"eth0", "net1", "net2"}


def test_networks_of_every_pod_stay_whatever_the_configuration_says_by_now(changing: Changing) -> None:
    changing.scene.delegates = [bridge(1), bridge(4)]
    changing.add("two")
    assert links(changing.scene.pod) == {"eth0": ETH0, "net1": ["10.4.0.2/24"], "net2": TWO}
    changing.scene.delegates = [bridge(5)]
    assert changing.to("two, three")
    assert links(changing.scene.pod) == {"eth0": ETH0, "net1": ["10.4.0.2/24"], "net2": TWO, "net3": THREE}


def test_another_default_network_is_for_another_pod(changing: Changing) -> None:
    changing.add("two")
    changing.api.define("special", bridge(7), namespace="kube-system")
    changing.api.annotate("special", key="v1.multus-cni.io/default-network")
    assert not changing.change()
    assert changing.to("")
    assert links(changing.scene.pod) == {"eth0": ETH0}


@pytest.mark.parametrize("lost", ["nothing", "records"])
def test_changed_pod_is_checked_collected_and_deleted_like_any_other(changing: Changing, lost: str) -> None:
    scene = changing.scene
    before = scene.node.ledger()
    result = changing.add("two")
    assert changing.to("foreign, three")
    scene.good("CHECK", prevResult=result)
    scene.gc((scene.pod, "eth0"))
    assert set(links(scene.pod)) == {"eth0", "net2"}
    assert scene.state_file().read_bytes() == (STATE / scene.pod.id).read_bytes()
    if lost == "records":
        shutil.rmtree(RECORDS)
    scene.good("DEL")
    assert states() == set()
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


def test_devices_of_networks_that_stay_are_not_given_out_again(changing: Changing, monkeypatch: pytest.MonkeyPatch) -> None:
    import json
    from pathlib import Path

    from multus_lite import devices

    checkpoint = Path("/run/checkpoint")
    entry = {"PodUID": "uid-1", "ContainerName": "c", "ResourceName": "example.com/nic", "DeviceIDs": {"0": ["a", "b"]}}
    checkpoint.write_text(json.dumps({"Data": {"PodDeviceEntries": [entry]}, "Checksum": 1}))
    monkeypatch.setattr(devices, "CHECKPOINT", str(checkpoint))
    for name in ("nic", "card"):
        changing.api.define(name, {"cniVersion": "1.0.0", "name": name, "type": "foreign"}, resource="example.com/nic")
    changing.add("nic")
    assert changing.to("card, nic")
    assert [got["deviceID"] for got in changing.foreign.stdin] == ["a", "b"]


# What is left alone


def test_pod_that_is_not_attached_is_left_alone(changing: Changing) -> None:
    before = changing.scene.node.ledger()
    assert not changing.to("two")
    changing.add("")
    changing.scene.good("DEL")
    assert not changing.to("two")
    assert ledger.diff(before, changing.scene.node.ledger(), ignore=SHARED) == []


def test_pod_whose_container_is_gone_is_left_alone(changing: Changing) -> None:
    changing.add("")
    pod = changing.scene.pod
    pod.delete()
    with pytest.raises(UnknownContainer):
        changing.to("two")
    assert leases() == {"net1/10.1.0.2"}


def test_pod_that_was_replaced_by_another_of_its_name_is_left_alone(changing: Changing) -> None:
    changing.add("two")
    changing.api.pod(uid="uid-2")
    with pytest.raises(TryAgain, match="replaced by another one"):
        changing.to("three")
    assert set(links(changing.scene.pod)) == {"eth0", "net1"}


@pytest.mark.parametrize("what", ["state", "answer of the default network", "other container"])
def test_pod_of_which_it_is_not_known_what_it_has_is_left_alone(changing: Changing, what: str) -> None:
    changing.add("two")
    scene = changing.scene
    if what == "state":
        scene.state_file().unlink()
    elif what.startswith("answer"):
        (STATE / f"results/net1-{scene.pod.id}-eth0").unlink()
    else:
        scene.pod.run(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:77"])  # as another one's eth0 has another address
    with pytest.raises(Conflict, match="stay as they are"):
        changing.to("three")
    assert links(scene.pod) == {"eth0": ETH0, "net1": TWO}


def test_api_that_cannot_be_asked_changes_nothing(changing: Changing) -> None:
    changing.add("two")
    changing.api.stop()
    with pytest.raises(TryAgain, match="did not answer"):
        changing.to("three", apiTimeout=1)
    with pytest.raises(CniError, match="no Kubernetes API"):
        changing.change(kubeconfig="")
    assert links(changing.scene.pod) == {"eth0": ETH0, "net1": TWO}
    changing.api.start()
