"""What a pod's annotations ask for, answered by an API server that the test plays; see api_server.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance import ledger
from multus_lite import devices
from tests.netns.multus_lite.api_server import ApiServer
from tests.netns.multus_lite.foreign import Foreign
from tests.netns.multus_lite.scene import SHARED, Scene, bridge, chain, leases, links

POD = "/api/v1/namespaces/default/pods/web"
CAPABLE = dict.fromkeys(("ips", "mac", "portMappings", "bandwidth", "deviceID", "infinibandGUID"), True)


@pytest.fixture
def foreign(scene: Scene, tmp_path: Path) -> Foreign:
    """Somebody else's plugin, in binDir."""
    foreign = Foreign(tmp_path)
    scene.keys = {**scene.keys, "binDir": str(foreign.directory)}
    return foreign


@pytest.mark.parametrize("form", ["short", "json"])
def test_pod_gets_the_networks_that_it_asks_for(api: ApiServer, scene: Scene, form: str) -> None:
    api.define("two", chain(2))
    api.define("three", {"type": "bridge", "bridge": "br3", "ipam": bridge(3)["ipam"]}, namespace="other")
    elements = [{"name": "two"}, {"name": "three", "namespace": "other", "interface": "data0"}]
    api.annotate("two , other/three@data0" if form == "short" else elements)
    before = scene.node.ledger()
    result = scene.good("ADD")
    assert links(scene.pod) == {"eth0": ["10.1.0.2/24"], "net1": ["10.2.0.2/24"], "data0": ["10.3.0.2/24"]}
    assert scene.delegated()[-1]["name"] == "three"  # a definition without a name gets its own
    scene.good("CHECK", prevResult=result)
    api.stop()
    scene.good("DEL")
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []
    api.start()


def test_api_is_asked_once_for_each_thing_over_one_connection(api: ApiServer, scene: Scene) -> None:
    api.define("two", chain(2))
    api.annotate("two")
    scene.good("ADD")
    definition = "/apis/k8s.cni.cncf.io/v1/namespaces/default/network-attachment-definitions/two"
    events = "/api/v1/namespaces/default/events"
    assert api.asked == [f"GET {POD}", f"GET {definition}", f"PATCH {POD}/status", f"POST {events}"]
    api.asked.clear()
    scene.good("DEL")
    assert api.asked == []


def test_pod_is_told_what_it_got(api: ApiServer, scene: Scene) -> None:
    api.define("two", chain(2))
    api.annotate("two")
    result = scene.good("ADD")
    (eth0,) = [one for one in result["interfaces"] if one.get("sandbox")]
    first, second = api.status()
    assert first == {
        "name": "net1", "interface": "eth0", "ips": ["10.1.0.2"], "mac": eth0["mac"], "default": True, "dns": {}, "gateway": ["10.1.0.1"],
    }  # fmt: skip
    assert second == {"name": "default/two", "interface": "net1", "ips": ["10.2.0.2"], "mac": second["mac"], "dns": {}}
    assert api.patches[0]["metadata"]["uid"] == "uid-1"
    (event,) = api.events
    assert (event["type"], event["reason"]) == ("Normal", "AddedInterface")
    assert event["message"] == "Add eth0 [10.1.0.2/24] from net1, net1 [10.2.0.2/24] from default/two"
    assert event["involvedObject"]["uid"] == "uid-1"


def test_status_and_events_can_be_switched_off(api: ApiServer, scene: Scene) -> None:
    scene.good("ADD", networkStatus=False, events=False)
    assert api.asked == [f"GET {POD}"]


def test_requests_reach_the_plugin_that_declares_the_capability_and_no_other(api: ApiServer, scene: Scene, foreign: Foreign) -> None:
    plain, able = {"type": "foreign"}, {"type": "foreign", "capabilities": CAPABLE, "args": {"x": 1, "cni": {"a": 1, "b": 2}}}
    api.define("two", {"cniVersion": "1.0.0", "name": "two", "plugins": [able, {**plain, "capabilities": {"mac": True}}]})
    asked = {
        "ips": ["10.2.0.9/24"],
        "mac": "02:00:00:00:00:09",
        "portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}],
        "bandwidth": {"ingressRate": 1000, "ingressBurst": 2000},
        "deviceID": "0000:00:01.0",
        "infiniband-guid": "c2:11:22:33:44:55:66:77",
        "cni-args": {"b": 3, "c": [1]},
        "ipam-claim-reference": "x",
    }
    foreign.answers("ADD", """echo '{"cniVersion":"1.0.0"}'""")
    api.annotate([{"name": "two", **asked}])
    scene.good("ADD")
    first, second = foreign.stdin
    wanted = {key: asked[key] for key in ("ips", "mac", "portMappings", "bandwidth", "deviceID")}
    assert first["runtimeConfig"] == {**wanted, "infinibandGUID": asked["infiniband-guid"]}
    assert first["args"] == {"x": 1, "cni": {"a": 1, "b": 3, "c": [1]}}
    assert second["runtimeConfig"] == {"mac": asked["mac"]}
    assert second["args"] == {"cni": {"b": 3, "c": [1]}}
    api.stop()
    scene.good("DEL")
    assert {key: value for key, value in foreign.stdin[3].items() if key != "prevResult"} == first
    api.start()


def test_request_that_nobody_can_serve_fails_and_says_so(api: ApiServer, scene: Scene) -> None:
    api.define("two", chain(2))
    api.annotate([{"name": "two", "ips": ["10.2.0.9/24"], "mac": "02:00:00:00:00:09"}])
    before = scene.node.ledger()
    error = scene.call("ADD").error
    assert error["msg"] == "network net2: the pod asks for ips, mac, but no plugin of the network declares the capability"
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []
    (event,) = api.events
    assert (event["type"], event["message"]) == ("Warning", error["msg"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("two,", "'' in '' is not a name"),
        ("/two", "no namespace before its slash"),
        ("Two", "'Two' in 'Two' is not a name"),
        ("../../x", "is not a name"),
        ("two@a/b", "is not a name"),
        ("two@sixteencharacters", "is not an interface name"),
        ("[", "not JSON"),
        ('{"name": "two"}', "is not a list"),
        ('["two"]', "[0]: 'two' is not an object"),
        ('[{"name": 5}]', "[0]: name: 5 is not a string"),
        ('[{"name": "two"}, {"name": "two", "ips": "10.2.0.9"}]', "[1]: ips: '10.2.0.9' is not a list of strings"),
        ('[{"name": "two", "ips": ["10.2.0"]}]', "'10.2.0' is not an IP address"),
        ('[{"name": "two", "mac": "02"}]', "'02' is not a MAC address"),
        ('[{"name": "two", "infiniband-guid": "02"}]', "'02' is not a GUID"),
        ('[{"name": "two", "portMappings": [{"hostPort": "80"}]}]', "portMappings[0].hostPort: '80' is not a whole number"),
        ('[{"name": "two", "bandwidth": {"rate": 5}}]', "bandwidth.rate: is not known"),
        ('[{"name": "two", "cni-args": []}]', "cni-args: [] is not an object"),
        ('[{"name": "two", "default-route": ["x"]}]', "'x' is not an IP address"),
        ("two@eth0", "networks net1 and default/two: both want the interface eth0"),
        ("missing", "there is no NetworkAttachmentDefinition default/missing"),
        ("wrong", "NetworkAttachmentDefinition default/wrong: spec.config: the input is not JSON"),
        ("empty", "spec.config is empty, and there is no network 'empty'"),
        ("itself", "multus cannot delegate to itself"),
    ],
)
def test_annotation_that_cannot_be_served_gives_the_pod_no_network_at_all(api: ApiServer, scene: Scene, text: str, said: str) -> None:
    api.define("two", chain(2))
    for name, config in (("wrong", "{"), ("empty", ""), ("itself", {"type": "multus"})):
        api.define(name, config)
    api.annotate(text)
    before = scene.node.ledger()
    error = scene.call("ADD").error
    assert said in error["msg"]
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []
    assert [event["reason"] for event in api.events] == ["FailedNetwork"]


def test_definition_without_configuration_means_the_file_of_its_name(api: ApiServer, scene: Scene) -> None:
    directory = Path("/run/networks")
    directory.mkdir()
    (directory / "1.conf").write_text(json.dumps({**bridge(3), "name": "net2"}))
    (directory / "2.conflist").write_text(json.dumps(chain(2)))
    api.define("net2", "")
    api.annotate("net2")
    scene.good("ADD", confDir=str(directory))
    assert links(scene.pod)["net1"] == ["10.2.0.2/24"]


def test_pod_may_use_its_own_and_shared_definitions_only_when_namespaces_are_isolated(api: ApiServer, scene: Scene) -> None:
    keys: dict[str, Any] = {"namespaceIsolation": True, "globalNamespaces": "shared, common"}
    for number, namespace in enumerate(("default", "common", "private"), 2):
        api.define("more", chain(number), namespace=namespace)
    api.annotate("private/more")
    assert "may not use networks of private" in scene.call("ADD", **keys).error["msg"]
    api.annotate("more, common/more")
    scene.good("ADD", **keys)
    assert set(links(scene.pod)) == {"eth0", "net1", "net2"}


def test_pod_can_have_another_default_network(api: ApiServer, scene: Scene) -> None:
    api.define("special", chain(2), namespace="kube-system")
    api.annotate("special", key="v1.multus-cni.io/default-network")
    result = scene.good("ADD")
    assert links(scene.pod) == {"eth0": ["10.2.0.2/24"]}
    assert result["ips"][0]["address"] == "10.2.0.2/24"
    assert api.status()[0]["name"] == "kube-system/special"
    scene.good("DEL")
    api.annotate("special,special", key="v1.multus-cni.io/default-network")
    assert "a pod has one default network" in scene.call("ADD").error["msg"]


def test_default_and_further_networks_can_be_definitions(api: ApiServer, scene: Scene) -> None:
    api.define("one", bridge(1), namespace="net-system")
    api.define("two", chain(2), namespace="net-system")
    keys: dict[str, Any] = {"delegates": [], "clusterNetwork": "one", "defaultNetworks": ["two"], "multusNamespace": "net-system"}
    scene.good("STATUS", **keys)
    scene.good("ADD", **keys)
    assert set(links(scene.pod)) == {"eth0", "net1"}
    assert [one["name"] for one in api.status()] == ["net-system/one", "net-system/two"]
    scene.good("GC", **{**keys, "cni.dev/valid-attachments": []})
    assert leases() == set()


def test_devices_that_the_kubelet_allotted_are_handed_out_in_order(
    api: ApiServer, scene: Scene, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Path("/run/checkpoint")
    entry = {"PodUID": "uid-1", "ContainerName": "c", "ResourceName": "example.com/nic"}
    other = {**entry, "PodUID": "uid-2", "DeviceIDs": {"0": ["z"]}}
    data = {"PodDeviceEntries": [other, {**entry, "DeviceIDs": {"1": ["b"], "0": ["a"]}}, {**entry, "DeviceIDs": ["c"]}]}
    checkpoint.write_text(json.dumps({"Data": data, "Checksum": 1}))
    monkeypatch.setattr(devices, "CHECKPOINT", str(checkpoint))
    able = {"name": "nic", "type": "foreign", "capabilities": {"deviceID": True}}
    api.define("nic", able, resource="example.com/nic")
    api.annotate("nic,nic")
    scene.good("ADD")
    assert [(got["deviceID"], got["pciBusID"], got["runtimeConfig"]) for got in foreign.stdin] == [
        ("a", "a", {"deviceID": "a"}),
        ("b", "b", {"deviceID": "b"}),
    ]


def test_failed_network_is_told_on_the_pod(api: ApiServer, scene: Scene, foreign: Foreign) -> None:
    foreign.answers("ADD")
    api.define("bad", {"name": "bad", "type": "foreign"})
    api.annotate("bad")
    before = scene.node.ledger()
    assert scene.call("ADD").error["code"] == 77
    assert [event["message"] for event in api.events] == ["network default/bad (net1): foreign: told to fail"]
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []
