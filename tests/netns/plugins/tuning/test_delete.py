"""DEL puts back what ADD changed and nothing else, whatever has happened to the pod or to the records in between."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from conformance import ledger
from tests.netns.plugins.networks import RECORDS, records
from tests.netns.plugins.tuning.tuned import ALL, HOMES, LINK, MAC, conf, interface, seen, state, sysctl
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node

NO_NETNS = {"CNI_NETNS": ""}


@pytest.mark.parametrize("env", [{}, NO_NETNS], ids=["netns", "no-netns"])
def test_everything_is_as_it_was_before_add(plugins: InProcess, pod: Container, *, node: Node, env: dict[str, str]) -> None:
    interface(pod)
    before = node.ledger()
    plugins.good("tuning", "ADD", conf(pod, **ALL), container=pod)
    plugins.good("tuning", "DEL", conf(), container=pod, env=env)
    assert ledger.diff(before, node.ledger(), ignore=HOMES) == []
    plugins.good("tuning", "DEL", conf(), container=pod, env=env)
    assert ledger.diff(before, node.ledger(), ignore=HOMES) == []


def test_what_add_found_as_it_was_wanted_is_not_touched(plugins: InProcess, pod: Container) -> None:
    interface(pod)
    plugins.good("tuning", "ADD", conf(pod, mtu=1500, promisc=True, sysctl={"net.ipv4.conf.IFNAME.arp_filter": "0"}), container=pod)
    pod.run(["ip", "link", "set", "eth0", "mtu", "1300", "allmulticast", "on"])
    sysctl(pod, "net/ipv4/conf/eth0/arp_filter", "1")
    plugins.good("tuning", "DEL", conf(), container=pod)
    assert seen(pod)["mtu"] == 1300
    assert seen(pod)["allmulti"]
    assert not seen(pod)["promisc"]
    assert sysctl(pod, "net/ipv4/conf/eth0/arp_filter") == "1"


def test_interface_that_was_renamed_is_found(plugins: InProcess, pod: Container) -> None:
    interface(pod)
    before = seen(pod)
    plugins.good("tuning", "ADD", conf(pod, **LINK), container=pod)
    pod.run(["sh", "-ec", "ip link set eth0 down; ip link set eth0 name net0; ip link set net0 up"])
    plugins.good("tuning", "DEL", conf(), container=pod)
    assert seen(pod, "net0") == before


def test_another_interface_of_the_same_name_is_left_alone(plugins: InProcess, pod: Container) -> None:
    interface(pod)
    plugins.good("tuning", "ADD", conf(pod, **LINK), container=pod)
    pod.run(["ip", "link", "delete", "eth0"])
    interface(pod)
    pod.run(["ip", "link", "set", "eth0", "mtu", "1400"])
    before = seen(pod)
    plugins.good("tuning", "DEL", conf(), container=pod)
    assert seen(pod) == before
    assert not state(pod).exists()


def test_another_namespace_of_the_same_path_is_left_alone(plugins: InProcess, pod: Container, node: Node) -> None:
    keys = {**LINK, "sysctl": {"net.ipv4.ip_local_port_range": "20000 30000"}}
    plugins.good("tuning", "ADD", conf(interface(pod), **keys), container=pod)
    pod.delete()
    pod = interface(node.container("pod"))
    sysctl(pod, "net/ipv4/ip_local_port_range", "40000 50000")
    pod.run(["ip", "link", "set", "eth0", "mtu", "1400"])
    before = seen(pod)
    plugins.good("tuning", "DEL", conf(), container=pod)
    assert seen(pod) == before
    assert sysctl(pod, "net/ipv4/ip_local_port_range").split() == ["40000", "50000"]
    assert not records()
    assert not state(pod).exists()


@pytest.mark.parametrize("left", ["nothing", "its file", "no records"])
def test_vanished_namespace_leaves_no_state(plugins: InProcess, pod: Container, left: str) -> None:
    plugins.good("tuning", "ADD", conf(interface(pod), **ALL, dataDir="/var/lib/cni/tuning"), container=pod)
    pod.delete()
    if left == "its file":
        Path(pod.path).touch()
    elif left == "no records":  # as after a reboot
        shutil.rmtree(RECORDS)
    plugins.good("tuning", "DEL", conf(dataDir="/var/lib/cni/tuning"), container=pod)
    assert not state(pod, directory=Path("/var/lib/cni/tuning")).exists()
    assert not records()


@pytest.mark.parametrize("lost", ["record", "state", "half a state"])
def test_what_is_left_of_the_notes_is_enough(plugins: InProcess, pod: Container, node: Node, lost: str) -> None:
    interface(pod)
    before = node.ledger()
    plugins.good("tuning", "ADD", conf(pod, **LINK), container=pod)
    if lost == "record":
        shutil.rmtree(RECORDS)
    elif lost == "state":
        state(pod).unlink()
    else:
        state(pod).write_bytes(state(pod).read_bytes()[:20])
    plugins.good("tuning", "DEL", conf(), container=pod)
    assert ledger.diff(before, node.ledger(), ignore=HOMES) == []


@pytest.mark.parametrize("chosen", ["/run/elsewhere", "/run/elsewhere/tuning/"])
def test_directory_that_was_changed_in_the_configuration_meanwhile(plugins: InProcess, pod: Container, chosen: str) -> None:
    interface(pod)
    before = seen(pod)
    plugins.good("tuning", "ADD", conf(pod, **LINK, dataDir=chosen), container=pod)
    plugins.good("tuning", "DEL", conf(), container=pod)
    assert seen(pod) == before
    assert not list(state(pod).parent.glob("*"))


def test_network_that_was_renamed_meanwhile(plugins: InProcess, pod: Container) -> None:
    interface(pod)
    before = seen(pod)
    plugins.good("tuning", "ADD", conf(pod, **LINK), container=pod)
    plugins.good("tuning", "DEL", conf(name="renamed"), container=pod)
    assert seen(pod) == before
    assert not state(pod).exists()


def test_state_of_another_container_whose_names_look_the_same_is_left_alone(plugins: InProcess, pod: Container) -> None:
    interface(pod, "a_b")
    plugins.good("tuning", "ADD", conf(pod, ifname="a_b", **LINK), container=pod, ifname="a_b")
    plugins.good("tuning", "DEL", conf(), container=pod, ifname="b", env={"CNI_CONTAINERID": f"{pod.id}_a"})
    assert state(pod, "a_b").exists()


def test_values_that_the_kernel_takes_no_more_keep_no_pod_from_going(plugins: InProcess, pod: Container) -> None:
    interface(pod)
    before = seen(pod)
    keys = {**LINK, "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}
    plugins.good("tuning", "ADD", conf(pod, **keys), container=pod)
    (name,) = records()
    record: dict[str, Any] = json.loads((RECORDS / name).read_text())
    for item in record["items"]:
        item["before"] |= {"mtu": 10} if item["kind"] == "link_settings" else {"net/ipv4/ip_local_port_range": "9 1"}
    (RECORDS / name).write_text(json.dumps(record))
    plugins.good("tuning", "DEL", conf(), container=pod)
    assert seen(pod) == {**before, "mtu": 1400}
    assert sysctl(pod, "net/ipv4/conf/eth0/arp_filter") == "0"
    assert not records()


def test_list_of_ports_that_was_empty_is_empty_again(plugins: InProcess, pod: Container) -> None:
    keys = {"sysctl": {"net.ipv4.ip_local_reserved_ports": "8080"}}
    plugins.good("tuning", "ADD", conf(interface(pod), **keys), container=pod)
    assert sysctl(pod, "net/ipv4/ip_local_reserved_ports") == "8080"
    plugins.good("tuning", "DEL", conf(**keys), container=pod)
    assert sysctl(pod, "net/ipv4/ip_local_reserved_ports") == ""


def test_parameters_that_change_each_other_are_as_they_were(plugins: InProcess, pod: Container) -> None:
    names = ["net/ipv4/conf/all/forwarding", "net/ipv4/conf/IFNAME/forwarding", "net/ipv4/conf/all/accept_redirects"]
    found = ["0", "1", "0"]
    interface(pod)
    for name, value in zip(names, found, strict=True):
        sysctl(pod, name.replace("IFNAME", "eth0"), value)
    plugins.good("tuning", "ADD", conf(pod, sysctl=dict(zip(reversed(names), ["1", "0", "1"], strict=True))), container=pod)
    plugins.good("tuning", "DEL", conf(), container=pod)
    assert [sysctl(pod, name.replace("IFNAME", "eth0")) for name in names] == found


def test_two_tunings_in_one_list_are_both_taken_back(plugins: InProcess, pod: Container, node: Node) -> None:
    interface(pod)
    before = node.ledger()
    first = plugins.good("tuning", "ADD", conf(pod, **ALL), container=pod)
    sysctls = {"net.ipv4.conf.IFNAME.arp_filter": "2", "net.ipv4.conf.IFNAME.log_martians": "1"}
    second = {"mtu": 1300, "allmulti": False, "sysctl": sysctls}
    result = plugins.good("tuning", "ADD", conf(**second) | {"prevResult": first}, container=pod)
    assert [result["interfaces"][1][key] for key in ("mac", "mtu")] == [MAC, 1300]
    assert seen(pod) == {**LINK, "mtu": 1300, "allmulti": False}
    plugins.good("tuning", "DEL", conf(**second), container=pod)
    plugins.good("tuning", "DEL", conf(**ALL), container=pod)
    assert ledger.diff(before, node.ledger(), ignore=HOMES) == []


def test_mode_that_only_a_capture_holds_is_not_taken_for_a_setting(plugins: InProcess, pod: Container) -> None:
    interface(pod)
    with pod.popen(["tcpdump", "-i", "eth0", "-w", "/dev/null"]) as capture:
        assert capture.stderr
        capture.stderr.readline()
        plugins.good("tuning", "ADD", conf(pod, promisc=True), container=pod)
        plugins.good("tuning", "DEL", conf(), container=pod)
        capture.terminate()
        capture.communicate()
    assert not seen(pod)["promisc"]
