"""`cnictl leases` tells who holds which address, and how many are left; leases of the reference plugins are judged fairly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance import ledger, namespaces
from tests.netns.cli.conftest import Cnictl, configure
from tests.netns.plugins.networks import LEASES, RECORDS, full_bridge, host_local, network
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node


def foreign(address: str, container_id: str, *, name: str = "net", ifname: str = "eth0") -> Path:
    """A lease as another plugin's ADD leaves it: nothing of ours speaks of it."""
    file = LEASES / name / address
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{container_id}\r\n{ifname}")
    return file


def states(cnictl: Cnictl, *arguments: str) -> dict[str, str]:
    """The state of each leased address."""
    return {one["address"]: one["state"] for one in cnictl("leases", *arguments, "--json").json["leases"]}


def test_addresses_their_holders_and_what_is_free(
    cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container, other: Container, node: Node
) -> None:
    for container in (pod, other):
        plugins.good("bridge", "ADD", conf, container=container)
    other.delete()
    before = node.ledger()
    printed = cnictl("leases")
    assert [line.split()[:4] for line in printed.lines[1:5]] == [
        ["net", "10.1.0.2", pod.id, "eth0"],
        ["net", "10.1.0.3", other.id, "eth0"],
        ["net", "fd00:1::2", pod.id, "eth0"],
        ["net", "fd00:1::3", other.id, "eth0"],
    ]
    assert [line.partition("  stale: ")[2] for line in printed.lines[1:5]] == ["", "netns gone", "", "netns gone"]
    assert printed.lines[5] == "net: 10.1.0.1-10.1.0.254: 251 of 253 free"
    assert printed.lines[6].startswith("net: fd00:1::1-fd00:1::ffff:ffff:ffff:ffff: ")
    assert "4 leases, 2 stale" in printed.remarks
    assert ledger.diff(before, node.ledger()) == []


def test_after_a_reboot_leases_are_stale(cnictl: Cnictl, plugins: InProcess, *, conf: dict[str, Any], pod: Container) -> None:
    plugins.good("bridge", "ADD", conf, container=pod)
    pod.delete()
    for record in RECORDS.iterdir():
        record.unlink()
    plugins.node.run(["nft", "flush", "ruleset"])
    assert states(cnictl) == {"10.1.0.2": "stale", "fd00:1::2": "stale"}


def test_a_lease_of_another_plugin_lives_while_a_container_has_the_address(cnictl: Cnictl, pod: Container) -> None:
    pod.run(["ip", "link", "add", "eth0", "type", "bridge"])
    pod.run(["ip", "address", "add", "10.1.0.7/24", "dev", "eth0"])
    foreign("10.1.0.7", "theirs")
    foreign("10.1.0.8", "theirs-too")
    assert states(cnictl) == {"10.1.0.7": "live", "10.1.0.8": "stale"}


def test_a_namespace_without_a_name_counts_while_a_process_is_in_it(cnictl: Cnictl, pod: Container) -> None:
    pod.run(["ip", "link", "add", "eth0", "type", "bridge"])
    pod.run(["ip", "address", "add", "10.1.0.7/24", "dev", "eth0"])
    foreign("10.1.0.7", "theirs")
    pod.popen(["sleep", "60"])
    namespaces.unmount(pod.path)
    assert states(cnictl) == {"10.1.0.7": "live"}


@pytest.mark.parametrize("cached", [{"netns": True}, {"sandbox": True}], ids=["netns", "sandbox"])
def test_a_lease_of_another_plugin_lives_while_the_runtime_knows_its_container(
    cnictl: Cnictl, pod: Container, cached: dict[str, bool]
) -> None:
    pod.run(["ip", "link", "add", "eth0", "type", "bridge"])
    foreign("10.1.0.7", pod.id)
    known = (
        {"netns": pod.path} if "netns" in cached else {"result": {"interfaces": [{"name": "veth1"}, {"name": "eth0", "sandbox": pod.path}]}}
    )
    results = Path("/var/lib/cni/results")
    results.mkdir()
    Path(results, f"net-{pod.id}-eth0").write_text(json.dumps({"kind": "cniCacheV1", **known}))
    assert states(cnictl) == {"10.1.0.7": "live"}
    pod.delete()
    assert states(cnictl) == {"10.1.0.7": "stale"}


def test_the_reference_plugins_leases_are_live_until_their_container_is_gone(
    cnictl: Cnictl, node: Node, reference_bin: Path, *, conf: dict[str, Any], pod: Container
) -> None:
    assert node.cni(
        reference_bin / "bridge", "ADD", conf | {"ipMasq": False, "macspoofchk": False}, container=pod, path=reference_bin
    ).result
    assert set(states(cnictl).values()) == {"live"}
    pod.delete()
    assert set(states(cnictl).values()) == {"stale"}


def test_one_network_can_be_chosen_and_one_that_does_not_exist_is_an_error(cnictl: Cnictl) -> None:
    configure(full_bridge(name="red", ipam=host_local("10.2.0.0/24")))
    foreign("10.2.0.9", "a", name="red")
    foreign("10.3.0.9", "b", name="blue")
    assert states(cnictl, "red") == {"10.2.0.9": "stale"}
    assert states(cnictl, "blue") == {"10.3.0.9": "stale"}
    printed = cnictl("leases", "grey")
    assert (printed.status, printed.lines) == (1, [])
    assert "'grey'" in printed.remarks


def test_other_directories_are_looked_into_when_named_or_configured(cnictl: Cnictl) -> None:
    for directory in ("/run/a", "/run/b"):
        Path(directory, "net").mkdir(parents=True)
        Path(directory, "net/10.1.0.9").write_text("x\r\neth0")
    assert states(cnictl) == {}
    configure(full_bridge(ipam=host_local("10.1.0.0/24", dataDir="/run/a")))
    assert cnictl("leases", "--json").json["leases"][0]["dataDir"] == "/run/a"
    found = cnictl("leases", "--data-dir", "/run/b", "--json").json["leases"]
    assert {one["dataDir"] for one in found} == {"/run/a", "/run/b"}


def test_a_broken_range_is_named_and_the_leases_are_listed(cnictl: Cnictl) -> None:
    configure(network(ipam=host_local("10.1.0.0/33")))
    foreign("10.1.0.9", "a")
    printed = cnictl("leases")
    assert "not counted: net: " in printed.remarks
    assert len(printed.lines) == 2
