"""Networks that the configuration lists: without Kubernetes, with plugins of ours and of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance import ledger
from tests.netns.multus_lite.foreign import FAILURE, Foreign
from tests.netns.multus_lite.scene import SHARED, STATE, Scene, bridge, chain, leases, links, states

ANOTHER = {"cniVersion": "1.1.0", "name": "net9", "type": "foreign"}


@pytest.fixture
def foreign(tmp_path: Path) -> Foreign:
    """Somebody else's plugin."""
    return Foreign(tmp_path)


@pytest.mark.parametrize("plugin", ["multus", "multus-lite"])
def test_container_gets_all_networks_and_the_result_is_the_default_ones(scene: Scene, plugin: str) -> None:
    before = scene.node.ledger()
    result = scene.good("ADD", plugin=plugin)
    assert links(scene.pod) == {"eth0": ["10.1.0.2/24"], "net1": ["10.2.0.2/24"], "net2": ["10.3.0.2/24"]}
    assert [ip["address"] for ip in result["ips"]] == ["10.1.0.2/24"]
    assert result["interfaces"][2]["name"] == "eth0"
    assert scene.pod.run(["sysctl", "-n", "net.ipv4.conf.net1.log_martians"]).stdout.strip() == "1"
    scene.good("CHECK", plugin=plugin, prevResult=result)
    scene.good("DEL", plugin=plugin)
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


def test_two_interfaces_of_a_container_on_the_same_configuration_are_kept_apart(scene: Scene) -> None:
    scene.delegates = scene.delegates[:1]
    before = scene.node.ledger()
    scene.good("ADD")
    scene.good("ADD", ifname="eth1")
    scene.good("DEL")
    assert links(scene.pod) == {"eth1": ["10.1.0.3/24"]}
    scene.good("DEL", ifname="eth1")
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


def test_masterplugin_marks_the_default_network_wherever_it_stands(scene: Scene) -> None:
    scene.delegates = [bridge(1), bridge(2, masterplugin=True)]
    result = scene.good("ADD")
    assert links(scene.pod) == {"net0": ["10.1.0.2/24"], "eth0": ["10.2.0.2/24"]}
    assert result["ips"][0]["address"] == "10.2.0.2/24"
    assert "masterplugin" not in json.dumps(scene.delegated())
    scene.good("DEL")
    assert not leases()


def test_each_plugin_of_a_list_gets_the_result_of_the_one_before(scene: Scene, foreign: Foreign) -> None:
    scene.delegates = [chain(2, {"type": "foreign", "capabilities": {"portMappings": True}, "x": 1})]
    foreign.answers("ADD", 'echo \'{"cniVersion":"1.0.0","ips":[{"address":"192.0.2.7/24"}]}\'')
    result = scene.good("ADD", path=[foreign.directory], runtimeConfig={"portMappings": [{"hostPort": 80}], "ips": ["10.2.0.9"]})
    (got,) = foreign.stdin
    assert {key: got[key] for key in ("name", "cniVersion", "x")} == {"name": "net2", "cniVersion": "1.0.0", "x": 1}
    assert got["runtimeConfig"] == {"portMappings": [{"hostPort": 80}]}
    assert got["prevResult"]["ips"][0]["address"] == "10.2.0.2/24"
    assert result["ips"][0]["address"] == "192.0.2.7/24"
    scene.good("DEL", path=[foreign.directory])
    assert {**got, "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.7/24"}]}} == foreign.stdin[1]


def test_what_the_runtime_says_of_the_default_network_does_not_reach_others(scene: Scene, foreign: Foreign) -> None:
    capable = {"capabilities": {"ips": True, "mac": True}}
    scene.delegates = [{**ANOTHER, **capable}, {**ANOTHER, "name": "net8", **capable}]
    scene.good("ADD", path=[foreign.directory], args="IP=10.1.0.9;MAC=02:00:00:00:00:09;K=1", runtimeConfig={"ips": ["10.1.0.9"]})
    first, second = foreign.stdin
    assert first["runtimeConfig"] == {"ips": ["10.1.0.9"]}
    assert "runtimeConfig" not in second
    assert foreign.args == ["IgnoreUnknown=true;IP=10.1.0.9;MAC=02:00:00:00:00:09;K=1", "IgnoreUnknown=true;K=1"]
    scene.good("DEL", path=[foreign.directory])


def test_plugins_of_others_and_of_ours_are_deleted_in_reverse_with_the_bytes_that_they_got(scene: Scene, foreign: Foreign) -> None:
    scene.delegates = [ANOTHER | {"name": "net7"}, bridge(1), ANOTHER | {"odd": {"z": 1.5, "a": [None]}}]
    before = scene.node.ledger()
    result = scene.good("ADD", path=[foreign.directory])
    added = foreign.stdin
    scene.good("CHECK", path=[foreign.directory], prevResult=result)
    assert foreign.calls == ["ADD eth0", "ADD net2", "CHECK eth0", "CHECK net2"]
    assert foreign.stdin[3] == {**added[1], "prevResult": foreign.stdin[3]["prevResult"]}
    foreign.forget()
    scene.delegates = [bridge(5)]
    scene.good("DEL", path=[foreign.directory])
    assert foreign.calls == ["DEL net2", "DEL eth0"]
    for got, sent in zip(foreign.stdin, reversed(added), strict=True):
        assert got == {**sent, "prevResult": got["prevResult"]}
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


@pytest.mark.parametrize("place", [0, 1, 2])
def test_failure_of_one_network_undoes_those_before_it(scene: Scene, foreign: Foreign, place: int) -> None:
    scene.delegates.insert(place, ANOTHER)
    foreign.answers("ADD")
    before = scene.node.ledger()
    error = scene.call("ADD", path=[foreign.directory]).error
    assert (error["code"], error["msg"]) == (77, f"network net9 ({'eth0' if not place else f'net{place}'}): foreign: told to fail")
    assert foreign.calls[-1].startswith("DEL")  # whatever a failed ADD left
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


def test_plugin_of_a_list_that_is_undone_gets_the_result_that_its_add_got(scene: Scene, foreign: Foreign) -> None:
    scene.delegates = [chain(2, {"type": "foreign"}), ANOTHER]
    foreign.answers("ADD", f'[ $CNI_IFNAME = eth0 ] || {{ {FAILURE}; }}; echo \'{{"cniVersion":"1.0.0"}}\'')
    assert scene.call("ADD", path=[foreign.directory]).error["code"] == 77
    assert foreign.calls == ["ADD eth0", "ADD net1", "DEL net1", "DEL eth0"]
    assert foreign.stdin[3] == foreign.stdin[0]
    assert foreign.stdin[3]["prevResult"]["ips"][0]["address"] == "10.2.0.2/24"


def test_what_can_be_refused_is_refused_before_anything_is_made(scene: Scene, foreign: Foreign) -> None:
    scene.delegates = [ANOTHER, bridge(2, mtu=-5)]
    assert "net2" in scene.call("ADD", path=[foreign.directory]).error["msg"]
    assert foreign.calls == []
    scene.delegates = [ANOTHER, {"name": "net2", "type": "not-installed"}]
    assert "not-installed" in scene.call("ADD", path=[foreign.directory]).error["msg"]
    assert foreign.calls == []


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"delegates": []}, "delegates: at least one network is needed"),
        ({"delegates": "bridge"}, "delegates: 'bridge' is not a list"),
        ({"delegates": [{"type": "multus"}]}, "delegates[0].type: multus cannot delegate to itself"),
        ({"delegates": [{"plugins": [{"type": "bridge"}, {"type": "multus-lite"}]}]}, "delegates[0].plugins[1].type"),
        ({"delegates": [{"name": "x", "plugins": []}]}, "delegates[0].plugins: is empty"),
        ({"delegates": [{"name": "x"}]}, "delegates[0].type: is missing"),
        ({"delegates": [{"type": "bridge"}]}, "delegates[0]: name: missing network name"),
        ({"delegates": [bridge(1, masterplugin=True), bridge(2, masterplugin=True)]}, "more than one has masterplugin"),
        ({"cniDir": ""}, "cniDir: is empty"),
        ({"clusterNetwork": "nowhere"}, "clusterNetwork: 'nowhere': there is no network of this name in /etc/cni/multus/net.d"),
        ({"clusterNetwork": "/nowhere.conf"}, "clusterNetwork: /nowhere.conf: No such file or directory"),
        ({"defaultNetworks": ["no-such"]}, "defaultNetworks[0]: 'no-such'"),
    ],
)
def test_configuration_that_cannot_work_is_refused_by_name_and_value(scene: Scene, keys: dict[str, Any], said: str) -> None:
    before = scene.node.ledger()
    assert said in scene.call("ADD", **keys).error["msg"]
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


@pytest.mark.parametrize("by", ["name", "directory", "file", "list"])
def test_default_network_can_be_named(scene: Scene, by: str) -> None:
    directory = Path("/etc/cni/multus/net.d")
    directory.mkdir(parents=True)
    (directory / "00-ourselves.conf").write_text(json.dumps({"name": "m", "type": "multus", "delegates": [bridge(1)]}))
    (directory / "05-broken.conf").write_text("{")
    (directory / "10-one.conf").write_text(json.dumps(bridge(1)))
    (directory / "20-two.conflist").write_text(json.dumps(chain(2)))
    chosen = {"name": "net1", "directory": str(directory), "file": f"{directory}/10-one.conf", "list": f"{directory}/20-two.conflist"}[by]
    before = scene.node.ledger()
    scene.good("ADD", delegates=[], clusterNetwork=chosen, defaultNetworks=["net2"] if by != "list" else [])
    assert links(scene.pod) == ({"eth0": ["10.2.0.2/24"]} if by == "list" else {"eth0": ["10.1.0.2/24"], "net1": ["10.2.0.2/24"]})
    scene.good("DEL", delegates=[], clusterNetwork="/nowhere.conf")
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


def test_pod_of_a_system_namespace_gets_no_further_networks(scene: Scene) -> None:
    directory = Path("/etc/cni/multus/net.d")
    directory.mkdir(parents=True)
    (directory / "two.conflist").write_text(json.dumps(chain(2)))
    keys: dict[str, Any] = {"delegates": [bridge(1)], "defaultNetworks": ["net2"]}
    scene.good("ADD", **keys, args="K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=x")
    assert set(links(scene.pod)) == {"eth0"}
    scene.good("ADD", scene.other, **keys, args="K8S_POD_NAMESPACE=default;K8S_POD_NAME=x")
    assert set(links(scene.other)) == {"eth0", "net1"}


def test_bindir_comes_before_cni_path(scene: Scene, foreign: Foreign) -> None:
    scene.delegates = [ANOTHER]
    scene.good("ADD", binDir=str(foreign.directory))
    assert foreign.calls == ["ADD eth0"]
    scene.good("DEL", binDir=str(foreign.directory))


def test_attachment_that_is_alive_is_not_touched_by_a_second_add(scene: Scene) -> None:
    scene.good("ADD")
    before = scene.node.ledger()
    assert scene.call("ADD").error["code"] == 102
    assert ledger.diff(before, scene.node.ledger()) == []


def test_check_names_the_network_that_drifted(scene: Scene) -> None:
    result = scene.good("ADD")
    scene.pod.run(["ip", "link", "set", "net1", "down"])
    scene.pod.run(["ip", "address", "flush", "dev", "eth0"])
    error = scene.call("CHECK", prevResult=result).error
    assert error["code"] == 103
    assert "network net1 (eth0)" in error["msg"]
    assert "network net2 (net1)" in error["msg"]


def test_check_asks_each_plugin_in_its_own_version(scene: Scene, foreign: Foreign) -> None:
    scene.delegates = [ANOTHER, ANOTHER | {"name": "old", "cniVersion": "0.3.1"}, ANOTHER | {"name": "v4", "cniVersion": "0.4.0"}]
    scene.delegates.append({"name": "never", "cniVersion": "1.0.0", "disableCheck": True, "plugins": [{"type": "foreign"}]})
    result = scene.good("ADD", path=[foreign.directory])
    foreign.forget()
    scene.good("CHECK", path=[foreign.directory], prevResult=result)
    assert foreign.calls == ["CHECK eth0", "CHECK net2"]
    assert [(got["cniVersion"], got["prevResult"]["cniVersion"]) for got in foreign.stdin] == [("1.1.0", "1.1.0"), ("0.4.0", "0.4.0")]
    scene.good("DEL", path=[foreign.directory])


def test_status_asks_the_plugins_of_all_networks_in_their_version(scene: Scene, foreign: Foreign) -> None:
    scene.delegates = [ANOTHER, ANOTHER | {"name": "old", "cniVersion": "1.0.0"}, chain(2, {"type": "foreign"}) | {"cniVersion": "1.1.0"}]
    scene.good("STATUS", path=[foreign.directory])
    assert [call.strip() for call in foreign.calls] == ["STATUS", "STATUS"]
    foreign.answers("STATUS", """echo '{"code":50,"msg":"not yet"}'; exit 1""")
    assert scene.call("STATUS", path=[foreign.directory]).error["code"] == 50
    foreign.answers()
    indicator = Path("/run/ready")
    assert "/run/ready" in scene.call("STATUS", path=[foreign.directory], readinessindicatorfile=str(indicator)).error["msg"]
    indicator.touch()
    scene.good("STATUS", path=[foreign.directory], readinessindicatorfile=str(indicator))


def test_add_waits_for_the_default_network_to_be_ready(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from cni_plugins.kernel import calls

    indicator, waited = Path("/run/ready"), []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            indicator.touch()

    monkeypatch.setattr(calls, "sleep", sleep)
    scene.good("ADD", readinessindicatorfile=str(indicator))
    assert len(waited) == 3
    scene.good("DEL", readinessindicatorfile="/run/never")
    monkeypatch.setattr(calls, "sleep", waited.append)
    error = scene.call("ADD", readinessindicatorfile="/run/never").error
    assert (error["code"], sum(waited) > 45) == (11, True)
    assert not leases()
    assert not states()


def test_log_file_is_put_aside_when_it_is_large(scene: Scene) -> None:
    log = Path("/run/multus.log")
    log.write_bytes(b"x" * (1 << 20))
    for old in range(3):
        Path(f"/run/multus.log-2020-01-0{old}T00-00-00.gz").touch()
    scene.good("ADD", logFile=str(log), logOptions={"maxSize": 1, "maxBackups": 2})
    assert log.stat().st_size < 1000
    kept = sorted(path.name for path in Path("/run").glob("multus.log-*"))
    assert len(kept) == 2
    assert kept[0] == "multus.log-2020-01-02T00-00-00.gz"
    assert kept[1].endswith(".gz")
    assert STATE.is_dir()
