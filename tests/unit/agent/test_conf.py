"""The agent's configuration: whatever is wrong is named with its table and key, and the example of the documentation is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cni_plugins.agent.conf import OverlayConf, read
from cni_plugins.protocol.errors import InvalidConfig
from tests.support.paths import REPO

STATIC = """
[[overlay]]
name = "pods"
store = "static"
underlay = "eth0"
network = "10.5.0.0/16"
peersFile = "/etc/peers.json"
"""
ETCD = """
[[overlay]]
name = "pods"
store = "etcd"
underlay = "eth0"
[overlay.etcd]
endpoints = ["http://192.168.77.1:2379"]
"""
KUBERNETES = """
[[overlay]]
name = "pods"
store = "kubernetes"
underlay = "eth0"
network = "10.5.0.0/16"
"""


def overlays(directory: Path, text: str) -> list[OverlayConf]:
    """What a file with this text configures."""
    path = directory / "agent.toml"
    path.write_text(text)
    return read(path).overlay


@pytest.mark.parametrize("text", [STATIC, ETCD, KUBERNETES])
def test_the_least_that_each_store_needs_is_enough(tmp_path: Path, text: str) -> None:
    (overlay,) = overlays(tmp_path, text)
    assert (overlay.name, overlay.vni, overlay.port, overlay.ipMasq) == ("pods", 1, 8472, True)
    assert overlay.subnetFile == "/run/flannel/subnet.env"


def test_the_documentations_examples_are_valid(tmp_path: Path) -> None:
    examples = re.findall(r"```toml\n(.*?)```", (REPO / "docs" / "overlay.md").read_text(), re.DOTALL)
    assert [len(overlays(tmp_path, example)) for example in examples] == [1, 2]


def test_an_empty_file_configures_nothing(tmp_path: Path) -> None:
    assert overlays(tmp_path, "") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (STATIC + "vni = 99999999", "overlay pods: vni: .* (got 99999999)"),
        (STATIC + 'port = "8472"', "overlay pods: port: .* (got '8472')"),
        (STATIC + "speed = 3", "overlay pods: speed: there is no such key"),
        (STATIC + 'backend = "udp"', "overlay pods: backend: .*'vxlan' or 'host-gw' (got 'udp')"),
        (STATIC + 'node = "fd77::1"', "overlay pods: node: is not of IPv4 (got 'fd77::1')"),
        (STATIC + 'node = "x"', "overlay pods: node: 'x' is not an IP address"),
        (STATIC + 'ipv6Network = "10.6.0.0/16"', "overlay pods: ipv6Network: is not of IPv6"),
        (STATIC + 'subnetFile = "subnet.env"', "overlay pods: subnetFile: is not an absolute path"),
        (STATIC.replace('peersFile = "/etc/peers.json"', ""), "overlay pods: peersFile: is missing: the store static is a file"),
        (STATIC.replace('network = "10.5.0.0/16"', ""), "overlay pods: network: is missing"),
        (STATIC.replace('name = "pods"', ""), "overlay number 1: name: is missing"),
        (STATIC.replace("pods", "a/b"), "overlay a/b: name: "),
        (STATIC + '[overlay.etcd]\nendpoints = ["http://1.2.3.4"]', "overlay pods: etcd: does not go with the store static"),
        (STATIC + '[overlay.kubernetes]\nnode = "n"', "overlay pods: kubernetes: does not go with the store static"),
        (
            ETCD.replace("[overlay.etcd]", "vni = 7\n[overlay.etcd]"),
            "overlay pods: vni: goes with another store than etcd; with etcd it stands",
        ),
        (ETCD.partition("[overlay.etcd]")[0], "overlay pods: etcd: is missing"),
        (ETCD.replace("http://192.168.77.1:2379", "192.168.77.1"), "overlay pods: etcd: endpoints: '192.168.77.1' is not a URL"),
        (ETCD.replace('["http://192.168.77.1:2379"]', "[]"), "overlay pods: etcd.endpoints: "),
        (ETCD + 'certFile = "/a"', "overlay pods: etcd: certFile and keyFile go together"),
        (ETCD + 'username = "root"', "overlay pods: etcd: username and passwordFile go together"),
        (ETCD + 'prefix = "x"', "overlay pods: etcd: prefix: 'x' does not begin with a slash"),
        (KUBERNETES + '[overlay.kubernetes]\nnetConf = "/a"', "overlay pods: network: stands in netConf already"),
        ("[[overlay]", "this is not TOML"),
        ("overlays = 1", "overlays: there is no such key"),
    ],
)
def test_a_mistake_is_named_with_its_table_and_key(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InvalidConfig) as raised:
        overlays(tmp_path, text)
    pattern = re.escape(expected).replace(r"\.\*", ".*")
    assert re.match(re.escape(f"{tmp_path}/agent.toml: ") + pattern, raised.value.msg), raised.value.msg


OTHER = STATIC.replace("pods", "storage").replace("10.5.", "10.6.") + 'subnetFile = "/run/other.env"\nvni = 2\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (STATIC + OTHER.replace("storage", "pods"), "overlay pods: name: pods is taken by the overlay pods"),
        (STATIC + OTHER.replace("/run/other.env", "/run/flannel/subnet.env"), "overlay storage: subnetFile: /run/flannel/subnet.env is"),
        (STATIC + OTHER.replace("vni = 2", "vni = 1"), "overlay storage: vni: 1 is taken by the overlay pods"),
        (
            ETCD + ETCD.replace("pods", "storage").replace("[overlay.etcd]", 'subnetFile = "/run/other.env"\n[overlay.etcd]'),
            "overlay storage: etcd.prefix: /coreos.com/network is taken by the overlay pods",
        ),
    ],
)
def test_what_two_overlays_may_not_share_is_named(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InvalidConfig) as raised:
        overlays(tmp_path, text)
    assert expected in raised.value.msg


def test_two_overlays_that_share_nothing_are_fine(tmp_path: Path) -> None:
    assert [one.name for one in overlays(tmp_path, STATIC + OTHER)] == ["pods", "storage"]
