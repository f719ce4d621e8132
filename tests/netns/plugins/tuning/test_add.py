"""ADD sets what was asked for, on the pod's interface and in its namespace, or leaves everything as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance import ledger
from tests.netns.plugins.networks import records
from tests.netns.plugins.tuning.tuned import (
    ALL,
    ALLOWLIST,
    HOMES,
    LINK,
    MAC,
    STATE,
    SYSCTLS,
    conf,
    interface,
    previous,
    seen,
    state,
    sysctl,
)
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node

OTHER = "c2:11:22:33:44:66"


def test_everything_is_set_and_the_result_tells_the_new_address_and_size(plugins: InProcess, pod: Container) -> None:
    interface(pod)
    before = previous(pod)
    result = plugins.good("tuning", "ADD", conf(pod, **ALL), container=pod)
    assert seen(pod) == LINK
    assert sysctl(pod, "net/ipv4/conf/eth0/arp_filter") == "1"
    assert sysctl(pod, "net/ipv4/ip_local_port_range").split() == ["20000", "30000"]
    before["interfaces"][1] |= {"mac": MAC, "mtu": 1400}
    assert result == before


def test_without_keys_the_result_before_is_passed_on_and_nothing_remembered(plugins: InProcess, pod: Container, node: Node) -> None:
    interface(pod)
    before = node.ledger()
    assert plugins.good("tuning", "ADD", conf(pod), container=pod) == previous(pod)
    assert ledger.diff(before, node.ledger(), ignore=HOMES) == []
    assert not records()


@pytest.mark.parametrize(
    ("keys", "args", "wanted"),
    [
        ({"mac": OTHER}, f"MAC={MAC}", MAC),
        ({"mac": OTHER, "runtimeConfig": {"mac": MAC}}, f"MAC={OTHER}", MAC),
        ({"mac": OTHER, "runtimeConfig": {"mac": OTHER}, "args": {"cni": {"mac": MAC}}}, f"MAC={OTHER}", MAC),
        ({"mac": "C2-11-22-33-44-55"}, "", MAC),
    ],
    ids=["CNI_ARGS", "runtimeConfig", "args.cni", "notation"],
)
def test_of_several_addresses_that_counts_which_the_reference_takes(
    plugins: InProcess, pod: Container, *, keys: dict[str, Any], args: str, wanted: str
) -> None:
    interface(pod)
    result = plugins.good("tuning", "ADD", conf(pod, **keys), container=pod, args=args)
    assert seen(pod)["mac"] == result["interfaces"][1]["mac"] == wanted


def test_args_go_before_the_configuration(plugins: InProcess, pod: Container) -> None:
    interface(pod)
    args = {
        "mtu": 1300,
        "txQLen": 0,
        "promisc": False,
        "allmulti": False,
        "sysctl": {"net.ipv4.conf.eth0.arp_filter": "0", "net/ipv4/conf/IFNAME/log_martians": "1"},
    }
    keys = {**ALL, "sysctl": {"net.ipv4.conf.eth0.arp_filter": "1"}, "args": {"cni": args}}
    plugins.good("tuning", "ADD", conf(pod, **keys), container=pod)
    assert seen(pod) == {"mac": MAC, "mtu": 1300, "txQLen": 0, "promisc": False, "allmulti": False}
    assert [sysctl(pod, f"net/ipv4/conf/eth0/{name}") for name in ("arp_filter", "log_martians")] == ["0", "1"]


def test_modes_can_be_switched_off(plugins: InProcess, pod: Container) -> None:
    interface(pod)
    pod.run(["ip", "link", "set", "eth0", "promisc", "on", "allmulticast", "on"])
    plugins.good("tuning", "ADD", conf(pod, promisc=False, allmulti=False), container=pod)
    assert not seen(pod)["promisc"]
    assert not seen(pod)["allmulti"]
    plugins.good("tuning", "DEL", conf(promisc=False), container=pod)
    assert seen(pod)["promisc"]
    assert seen(pod)["allmulti"]


def test_interface_with_dots_in_its_name(plugins: InProcess, pod: Container) -> None:
    interface(pod, "eth0.100")
    keys = conf(pod, ifname="eth0.100", sysctl={"net.ipv4.conf.IFNAME.arp_filter": "1"})
    plugins.good("tuning", "ADD", keys, container=pod, ifname="eth0.100")
    assert sysctl(pod, "net/ipv4/conf/eth0.100/arp_filter") == "1"


def test_parameters_that_can_only_be_written(plugins: InProcess, pod: Container) -> None:
    interface(pod)
    keys = {"sysctl": {"net.ipv4.route.flush": "1", "net.ipv6.conf.IFNAME.stable_secret": "fd00::1"}}
    result = plugins.good("tuning", "ADD", conf(pod, **keys), container=pod)
    assert sysctl(pod, "net/ipv6/conf/eth0/stable_secret").endswith("0001")
    plugins.good("tuning", "CHECK", conf(**keys, prevResult=result), container=pod)
    plugins.good("tuning", "DEL", conf(**keys), container=pod)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "not of the network": ({"sysctl": {"kernel.shmmax": "1"}}, "kernel.shmmax"),
    "all of the network": ({"sysctl": {"net": "1"}}, "'net'"),
    "out of proc": ({"sysctl": {"../../etc/passwd": "1"}}, "etc/passwd"),
    "by a way round": ({"sysctl": {"net/../kernel/shmmax": "1"}}, "net/../kernel/shmmax"),
    "unknown": ({"sysctl": {"net.ipv4.nothing_of_this_name": "1"}}, "nothing_of_this_name"),
    "two spellings": ({"sysctl": {"net.ipv4.ip_forward": "1", "net/ipv4/ip_forward": "0"}}, "duplicated"),
    "no text": ({"sysctl": {"net.ipv4.ip_forward": 1}}, "sysctl.net.ipv4.ip_forward"),
    "mtu": ({"mtu": 10}, "mtu"),
    "mac": ({"mac": "01:00:00:00:00:01"}, "multicast"),
    "txQLen": ({"txQLen": -1}, "txQLen"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refused_configuration_names_what_is_wrong_and_changes_nothing(
    plugins: InProcess, pod: Container, *, node: Node, reason: str
) -> None:
    keys, named = REFUSED[reason]
    interface(pod)
    before = node.ledger()
    error = plugins("tuning", "ADD", conf(pod, **{**LINK, **keys}), container=pod).error
    assert named in error["msg"]
    assert error["code"] in (7, 100)
    assert ledger.diff(before, node.ledger(), ignore=HOMES) == []


def test_key_given_twice_is_refused(plugins: InProcess, pod: Container) -> None:
    interface(pod)
    once = '"net.ipv4.ip_forward": "1"'
    text = json.dumps(conf(pod, sysctl={"net.ipv4.ip_forward": "1"})).replace(once, f'{once}, "net.ipv4.ip_forward": "0"')
    error = plugins("tuning", "ADD", text, container=pod).error
    assert "net.ipv4.ip_forward" in error["msg"]
    assert "duplicated" in error["msg"]


def test_failed_add_leaves_the_pod_as_it_was(plugins: InProcess, pod: Container, node: Node) -> None:
    interface(pod)
    before = node.ledger()
    sysctls = {**SYSCTLS, "net.ipv4.conf.IFNAME.arp_ignore": "nonsense"}
    assert "arp_ignore" in plugins("tuning", "ADD", conf(pod, **LINK, sysctl=sysctls), container=pod).error["msg"]
    assert ledger.diff(before, node.ledger(), ignore=HOMES) == []


def test_interface_that_takes_some_settings_but_not_all_is_left_as_it_was(plugins: InProcess, pod: Container, node: Node) -> None:
    pod.run(["ip", "tuntap", "add", "dev", "eth0", "mode", "tun"])
    before = node.ledger()
    prev = {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": pod.path}]}
    error = plugins("tuning", "ADD", conf(**ALL, prevResult=prev), container=pod).error
    assert MAC in error["msg"]
    assert "not supported" in error["msg"]
    assert ledger.diff(before, node.ledger(), ignore=HOMES) == []


def test_pod_without_the_interface_is_told_so(plugins: InProcess, pod: Container) -> None:
    interface(pod)
    error = plugins("tuning", "ADD", conf(pod, **LINK), container=pod, ifname="eth7").error
    assert "eth7" in error["msg"]


def test_tuning_without_a_plugin_before_it_is_refused(plugins: InProcess, pod: Container) -> None:
    assert "prevResult" in plugins("tuning", "ADD", conf(**LINK), container=interface(pod)).error["msg"]


class TestAllowlist:
    """What the node allows."""

    @pytest.mark.parametrize(
        "pattern",
        [r"^net\.ipv4\.conf\.IFNAME\.[a-z_]*$", "arp_filter", r"^net\.ipv4\.[[:alpha:].]+_filter\z", "  arp_filter  \n\n#other"],
    )
    def test_a_parameter_that_is_listed_is_set(self, plugins: InProcess, pod: Container, pattern: str) -> None:
        allow(pattern)
        plugins.good("tuning", "ADD", conf(interface(pod), sysctl={"net.ipv4.conf.IFNAME.arp_filter": "1"}), container=pod)
        assert sysctl(pod, "net/ipv4/conf/eth0/arp_filter") == "1"

    @pytest.mark.parametrize("pattern", [r"^net\.ipv4\.conf\.other\.[a-z_]*$", "", "^net/ipv4"])
    def test_one_that_is_not_is_refused_by_add_and_status(self, plugins: InProcess, pod: Container, pattern: str) -> None:
        allow(pattern)
        keys = {"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}
        error = plugins("tuning", "ADD", conf(interface(pod), **keys), container=pod).error
        assert "net.ipv4.conf.IFNAME.arp_filter" in error["msg"]
        assert error["code"] == 7
        assert sysctl(pod, "net/ipv4/conf/eth0/arp_filter") == "0"
        assert plugins("tuning", "STATUS", conf(**keys)).error["code"] == 50

    def test_what_is_no_longer_allowed_is_still_taken_back(self, plugins: InProcess, pod: Container) -> None:
        keys = {"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}
        plugins.good("tuning", "ADD", conf(interface(pod), **keys), container=pod)
        allow("nothing")
        plugins.good("tuning", "DEL", conf(**keys), container=pod)
        assert sysctl(pod, "net/ipv4/conf/eth0/arp_filter") == "0"

    def test_a_line_that_is_no_expression_is_named(self, plugins: InProcess, pod: Container) -> None:
        allow("net[")
        error = plugins("tuning", "ADD", conf(interface(pod), sysctl={"net.ipv4.ip_forward": "1"}), container=pod).error
        assert "'net['" in error["msg"]
        assert str(ALLOWLIST) in error["msg"]


def test_status_says_when_the_state_could_not_be_written(plugins: InProcess, node: Node) -> None:
    assert plugins("tuning", "STATUS", conf(**ALL)).result is None
    Path("/run/file").touch()
    assert "/run/file" in plugins("tuning", "STATUS", conf(**ALL, dataDir="/run/file")).error["msg"]


def test_state_is_kept_in_the_directory_that_was_chosen(plugins: InProcess, pod: Container) -> None:
    plugins.good("tuning", "ADD", conf(interface(pod), **LINK, dataDir="/run/elsewhere/tuning"), container=pod)
    assert state(pod, directory=Path("/run/elsewhere/tuning")).exists()
    assert not STATE.exists()


def allow(text: str) -> None:
    """Write the node's list."""
    ALLOWLIST.parent.mkdir(parents=True)
    ALLOWLIST.write_text(text + "\n")
