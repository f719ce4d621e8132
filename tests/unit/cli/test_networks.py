"""Network configurations as libcni finds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.networks import Networks


def write(directory: Path, name: str, data: Any) -> None:
    (directory / name).write_text(data if isinstance(data, str) else json.dumps(data))


def test_lists_and_single_plugins_are_found_and_each_plugin_gets_the_common_keys(tmp_path: Path) -> None:
    write(tmp_path, "10-a.conflist", {"cniVersion": "1.0.0", "name": "a", "plugins": [{"type": "bridge", "mtu": 9}, {"type": "portmap"}]})
    write(tmp_path, "20-b.conf", {"cniVersion": "0.4.0", "name": "b", "type": "ptp"})
    write(tmp_path, "30-c.json", {"name": "c", "type": "ptp"})
    write(tmp_path, "notes.txt", "nothing")
    networks = Networks(str(tmp_path))
    assert sorted(networks.by_name) == ["a", "b", "c"]
    assert networks.broken == []
    a, c = networks.by_name["a"], networks.by_name["c"]
    assert [one["type"] for one in a.plugins] == ["bridge", "portmap"]
    assert a.of_plugin("bridge") == {"type": "bridge", "mtu": 9, "cniVersion": "1.0.0", "name": "a"}
    assert a.of_plugin("firewall") is None
    assert c.plugins[0]["cniVersion"] == "0.1.0"


def test_of_files_for_one_network_the_first_in_order_counts(tmp_path: Path) -> None:
    write(tmp_path, "20-second.conf", {"name": "a", "type": "ptp"})
    write(tmp_path, "10-first.conf", {"name": "a", "type": "bridge"})
    assert Networks(str(tmp_path)).by_name["a"].plugins[0]["type"] == "bridge"


@pytest.mark.parametrize(
    "data",
    [
        "{", "[]", "{}", '{"name": 5}', '{"name": "a", "plugins": [5]}', '{"name": "a", "plugins": [{}]}', '{"name": "a", "plugins": {}}',
        '{"name": "../a", "type": "ptp"}', '{"name": "\\ud800", "type": "ptp"}', "[" * 100_000,
        " " * (5 << 20) + '{"name": "a", "type": "ptp"}',
    ],
    ids=lambda data: data.strip()[:40],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named_and_the_others_are_read(tmp_path: Path, data: str) -> None:
    write(tmp_path, "10-bad.conflist", data)
    write(tmp_path, "20-good.conf", {"name": "good", "type": "ptp"})
    networks = Networks(str(tmp_path))
    assert list(networks.by_name) == ["good"]
    assert [problem.partition(":")[0] for problem in networks.broken] == [str(tmp_path / "10-bad.conflist")]


def test_no_directory_is_no_network(tmp_path: Path) -> None:
    assert Networks(str(tmp_path / "none")).by_name == {}


def test_data_directories_are_found_however_their_key_is_written(tmp_path: Path) -> None:
    ipams = [{"type": "host-local", "dataDir": "/a"}, {"type": "host-local", "DATADIR": "/b"}, {"type": "static", "dataDir": "/c"}]
    plugins = [{"type": "ptp", ("ipam" if number else "IPAM"): ipam} for number, ipam in enumerate(ipams)]
    write(tmp_path, "10-a.conflist", {"name": "a", "plugins": [*plugins, {"type": "bridge"}, {"type": "bridge", "ipam": {}}]})
    assert Networks(str(tmp_path)).data_dirs() == {"/a", "/b"}
