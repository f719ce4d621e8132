"""What a container gets: an interface in the node's subnet, by the delegate that flannel's own plugin would call, with the same keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance import ledger
from tests.netns.plugins.flannel.scene import REST, SHARED, STATE, SUBNET_FILE, V4, V6, Scene, states


def test_pod_gets_an_address_of_each_family_in_the_nodes_subnet_and_routes_to_the_overlay(scene: Scene) -> None:
    result = scene.good("ADD")
    assert [ip["address"] for ip in result["ips"]] == ["10.5.52.2/24", "fd05:0:0:34::2/64"]
    assert [ip["gateway"] for ip in result["ips"]] == ["10.5.52.1", "fd05:0:0:34::1"]
    assert result["routes"] == [{"dst": "10.5.0.0/16"}, {"dst": "fd05::/48"}]
    assert [interface["name"] for interface in result["interfaces"]][::2] == ["cni0", "eth0"]
    routes = json.loads(scene.pod.run(["ip", "-j", "route"]).stdout)
    assert {"dst": "10.5.0.0/16", "gateway": "10.5.52.1", "dev": "eth0", "flags": []} in routes
    (link,) = json.loads(scene.pod.run(["ip", "-j", "link", "show", "eth0"]).stdout)
    assert link["mtu"] == 1450


def test_pods_of_the_node_reach_each_other_and_the_gateway(scene: Scene) -> None:
    scene.good("ADD")
    address = scene.good("ADD", scene.other)["ips"][0]["address"].partition("/")[0]
    for target in (address, "10.5.52.1", "fd05:0:0:34::1"):
        scene.pod.run(["ping", "-n", "-c1", "-w30", target])


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_result_is_in_the_configurations_version(scene: Scene, version: str) -> None:
    assert scene.good("ADD", cniVersion=version)["cniVersion"] == version
    scene.good("DEL", cniVersion=version)


def test_delegate_gets_what_flannels_own_plugin_would_give_it(scene: Scene) -> None:
    assert scene.rendered() == {
        "cniVersion": "1.1.0",
        "name": "net",
        "type": "bridge",
        "ipMasq": False,
        "mtu": 1450,
        "isGateway": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": "10.5.52.0/24"}], [{"subnet": "fd05:0:0:34::/64"}]],
            "routes": [{"dst": "10.5.0.0/16"}, {"dst": "fd05::/48"}],
        },
    }


def test_pods_are_masqueraded_where_the_daemon_does_not_do_it(scene: Scene) -> None:
    scene.assign(FLANNEL_IPMASQ="false")
    assert scene.rendered()["ipMasq"] is True


def test_own_keys_win_over_the_defaults(scene: Scene) -> None:
    scene.assign(FLANNEL_IPMASQ="false")
    own = {"ipMasq": False, "mtu": 1400, "isGateway": False, "bridge": "cbr7", "hairpinMode": True}
    state = scene.rendered(delegate=own)
    assert {key: state[key] for key in own} == own


def test_ipam_is_completed_and_its_other_keys_are_kept(scene: Scene) -> None:
    routes = [{"dst": "192.0.2.0/24"}, {"dst": "198.51.100.0/24", "gw": "10.5.52.1"}]
    ipam = scene.rendered(ipam={"dataDir": "/run/leases", "routes": routes, "ranges": [[{"subnet": "203.0.113.0/24"}]]})["ipam"]
    assert ipam == {
        "type": "host-local",
        "dataDir": "/run/leases",
        "ranges": [[{"subnet": "10.5.52.0/24"}], [{"subnet": "fd05:0:0:34::/64"}]],
        "routes": [*routes, {"dst": "10.5.0.0/16"}, {"dst": "fd05::/48"}],
    }


def test_runtime_config_is_passed_on(scene: Scene) -> None:
    result = scene.good("ADD", runtimeConfig={"mac": "02:00:5e:10:00:07", "ips": ["10.5.52.77", "fd05:0:0:34::77"]})
    assert [ip["address"] for ip in result["ips"]] == ["10.5.52.77/24", "fd05:0:0:34::77/64"]
    assert result["interfaces"][2]["mac"] == "02:00:5e:10:00:07"


def test_cni_args_are_passed_on(scene: Scene) -> None:
    outcome = scene.plugins(
        "flannel", "ADD", scene.conf(), container=scene.pod, args="IgnoreUnknown=1;MAC=02:00:5e:10:00:08;K8S_POD_NAME=a"
    )
    assert outcome.result["interfaces"][2]["mac"] == "02:00:5e:10:00:08"


@pytest.mark.parametrize(
    ("values", "ips", "routes"),
    [
        (V4 | REST, ["10.5.52.2/24"], ["10.5.0.0/16"]),
        (V6 | REST, ["fd05:0:0:34::2/64"], ["fd05::/48"]),
        (V4 | REST | {"FLANNEL_NETWORK": "10.5.0.0/16,10.6.0.0/16"}, ["10.5.52.2/24"], ["10.5.0.0/16", "10.6.0.0/16"]),
    ],
    ids=["IPv4", "IPv6", "two networks"],
)
def test_node_has_what_its_subnet_file_says(scene: Scene, values: dict[str, str], ips: list[str], routes: list[str]) -> None:
    scene.assign(values)
    result = scene.good("ADD")
    assert [ip["address"] for ip in result["ips"]] == ips
    assert [route["dst"] for route in result["routes"]] == routes


def test_other_files_and_other_plugins_can_be_named(scene: Scene) -> None:
    SUBNET_FILE.rename("/run/flannel/second.env")
    conf: dict[str, Any] = {"subnetFile": "/run/flannel/second.env", "dataDir": "/run/flannel/states", "delegate": {"type": "ptp"}}
    result = scene.good("ADD", **conf)
    assert len(result["interfaces"]) == 2
    state = json.loads(Path(f"/run/flannel/states/{scene.pod.id}:eth0").read_text())
    assert "isGateway" not in state, "that is a key of the bridge alone"
    assert not states()
    scene.good("DEL", **conf)


def test_state_is_for_roots_eyes_and_appears_under_both_names(scene: Scene) -> None:
    directory = Path("/run/flannel/new/states")
    scene.good("ADD", dataDir=str(directory))
    files = list(directory.iterdir())
    assert {path.name for path in files} == {scene.pod.id, f"{scene.pod.id}:eth0"}
    assert len({path.read_bytes() for path in files}) == 1
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert directory.stat().st_mode & 0o777 == 0o700
    assert directory.parent.stat().st_mode & 0o777 == 0o755


def test_two_interfaces_of_a_container_have_a_state_each(scene: Scene) -> None:
    first = scene.good("ADD")
    second = scene.good("ADD", ifname="net1", delegate={"mtu": 1400})
    assert first["ips"] != second["ips"]
    assert states() == {scene.pod.id, f"{scene.pod.id}:eth0", f"{scene.pod.id}:net1"}
    scene.good("DEL", ifname="eth0")
    assert states() == {f"{scene.pod.id}:net1"}
    scene.good("DEL", ifname="net1")
    assert not states()


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (None, 11, ["/run/flannel/subnet.env", "not there"]),
        ("", 11, ["FLANNEL_NETWORK or FLANNEL_IPV6_NETWORK", "FLANNEL_SUBNET or", "FLANNEL_MTU", "FLANNEL_IPMASQ"]),
        ("FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.52.1/24\nFLANNEL_IPMASQ=true\n", 11, ["no FLANNEL_MTU"]),
        (
            "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.52.1\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
            6,
            ["FLANNEL_SUBNET", "'10.5.52.1'"],
        ),
        ("FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.52.1/24\nFLANNEL_MTU=-5\nFLANNEL_IPMASQ=true\n", 6, ["FLANNEL_MTU", "'-5'"]),
    ],
    ids=["missing", "empty", "incomplete", "no prefix", "bad MTU"],
)
def test_subnet_file_that_cannot_be_used_is_named_and_nothing_is_changed(
    scene: Scene, *, text: str | None, code: int, words: list[str]
) -> None:
    SUBNET_FILE.unlink() if text is None else SUBNET_FILE.write_text(text)
    before = scene.node.ledger()
    error = scene.call("ADD").error
    assert error["code"] == code, error
    assert not [word for word in words if word not in error["msg"]], error
    assert ledger.diff(before, scene.node.ledger(), ignore=(r"node file /run/cni-plugins(/lock)?",)) == []


def test_missing_subnet_file_says_which_daemon_to_start(scene: Scene) -> None:
    SUBNET_FILE.unlink()
    error = scene.call("ADD").error
    assert "flanneld" in error["details"]
    assert "cni-agent" in error["details"]


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"delegate": {"name": "mine"}}, "delegate.name"),
        ({"delegate": {"Name": "mine"}}, "delegate.Name"),
        ({"delegate": {"ipam": {"type": "static"}}}, "delegate.ipam"),
        ({"delegate": {"type": 7}}, "delegate.type"),
        ({"delegate": {"type": "../bridge"}}, "delegate.type"),
        ({"delegate": {"type": "flannel"}}, "delegate.type"),
        ({"delegate": {"type": "calico"}}, "delegate.type"),
        ({"delegate": "bridge"}, "delegate"),
        ({"delegate": {"mtu": -5}}, "bridge: mtu"),
        ({"ipam": {"type": 5}}, "ipam.type"),
        ({"ipam": {"routes": "10.0.0.0/8"}}, "ipam.routes"),
        ({"ipam": {"routes": [{"dst": "everywhere"}]}}, "ipam.routes[0].dst"),
        ({"subnetFile": 5}, "subnetFile"),
        ({"dataDir": []}, "dataDir"),
        ({"dataDir": ""}, "dataDir"),
        ({"runtimeConfig": 1}, "runtimeConfig"),
    ],
    ids=str,
)
def test_wrong_key_is_named_and_nothing_is_changed(scene: Scene, keys: dict[str, Any], field: str) -> None:
    before = scene.node.ledger()
    error = scene.call("ADD", **keys).error
    assert error["code"] == 7, error
    assert field in error["msg"], error
    assert ledger.diff(before, scene.node.ledger(), ignore=(r"node file /run/cni-plugins(/lock)?",)) == []


def test_second_add_of_a_live_attachment_is_an_error_and_touches_nothing(scene: Scene) -> None:
    scene.good("ADD")
    before = scene.node.ledger()
    assert scene.call("ADD").error["code"] == 102
    assert ledger.diff(before, scene.node.ledger()) == []


@pytest.mark.parametrize("failure", ["result not taken", "interface is there"])
def test_failed_add_leaves_the_node_as_it_was(scene: Scene, failure: str) -> None:
    scene.good("ADD", scene.other)
    if failure == "interface is there":
        scene.pod.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth9"])
    before = scene.node.ledger()
    deliver = _refuse if failure == "result not taken" else None
    assert scene.plugins("flannel", "ADD", scene.conf(), container=scene.pod, deliver=deliver).code == 1
    assert ledger.diff(before, scene.node.ledger(), ignore=(r"node file .*/last_reserved_ip\.\d",)) == []


def _refuse(answer: bytes) -> None:
    raise BrokenPipeError


def test_add_and_del_leave_nothing_but_what_the_network_shares(scene: Scene) -> None:
    before = scene.node.ledger()
    scene.assign(FLANNEL_IPMASQ="false")
    text = SUBNET_FILE.read_text()
    scene.good("ADD")
    scene.good("DEL")
    SUBNET_FILE.write_text(text)
    changes = ledger.diff(before, scene.node.ledger(), ignore=(*SHARED, "node file /run/flannel/subnet.env"))
    assert changes == []


def test_container_whose_namespace_is_the_nodes_own_is_refused(scene: Scene) -> None:
    outcome = scene.plugins("flannel", "ADD", scene.conf(), container=scene.pod, env={"CNI_NETNS": "/proc/self/ns/net"})
    assert "own network namespace" in outcome.error["msg"]


def test_pod_of_another_network_with_the_same_data_directory_keeps_its_state(scene: Scene) -> None:
    STATE.mkdir(parents=True)
    theirs = STATE / scene.pod.id
    theirs.write_text('{"name":"elsewhere","type":"bridge"}')
    scene.good("ADD")
    scene.good("DEL")
    assert theirs.read_text() == '{"name":"elsewhere","type":"bridge"}'
    assert states() == {scene.pod.id}
