"""What a tuning configuration asks for: names of parameters as the reference reads them, and which of several values counts."""

from __future__ import annotations

from typing import Any

import pytest

from cni_plugins.model.frozen import validate
from cni_plugins.plan.kinds.sysctls import name_of
from cni_plugins.plugins.tuning import TuningConf
from cni_plugins.protocol.errors import InvalidConfig


def conf(**keys: Any) -> TuningConf:
    """A configuration as it was validated."""
    return validate(TuningConf, {"cniVersion": "1.1.0", "name": "net", "type": "tuning", **keys})


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("net.core.somaxconn", "net/core/somaxconn"),
        ("net/ipv4/conf/IFNAME/arp_filter", "net/ipv4/conf/IFNAME/arp_filter"),
        ("net/ipv4.conf.eth0/arp_filter", "net/ipv4/conf/eth0/arp_filter"),
        ("/net//ipv4/./ip_forward/", "net/ipv4/ip_forward"),
        ("net..ipv4..ip_forward", "net/ipv4/ip_forward"),
        ("../net/core/x/../../kernel", "net/core/x/kernel"),  # dots are never a way up
    ],
)
def test_dots_and_slashes_are_the_same_wherever_they_are(key: str, name: str) -> None:
    assert name_of(key) == name


@pytest.mark.parametrize("key", ["", ".", "net", "net.", "/net/", "kernel.shmmax", "../kernel/net", "netx.a", "net.a\0b", "Net.a"])
def test_only_what_is_below_net_has_a_name(key: str) -> None:
    with pytest.raises(ValueError, match="net"):
        name_of(key)


def test_settings_are_what_was_asked_for_and_nothing_else() -> None:
    assert conf().settings("") == {}
    assert conf(mtu=0, mac="", promisc=None, txQLen=None).settings("") == {}
    assert conf(promisc=False, allmulti=False, txQLen=0).settings("") == {"promisc": False, "allmulti": False, "txQLen": 0}
    assert conf(mtu=1400).settings("c2:11:22:33:44:55") == {"mtu": 1400, "mac": "c2:11:22:33:44:55"}


def test_empty_address_in_args_means_none_as_the_reference_has_it() -> None:
    assert conf(mac="c2:11:22:33:44:55", args={"cni": {"mac": ""}}).settings("c2:11:22:33:44:66") == {}
    assert conf(mtu=1400, args={"cni": {"mtu": 0}}).settings("") == {}


def test_of_a_parameter_given_twice_that_in_args_counts_however_it_is_spelled() -> None:
    given = conf(sysctl={"net.ipv4.a": "1", "net.ipv4.b": "2"}, args={"cni": {"sysctl": {"net/ipv4/a": "3"}}})
    assert given.sysctls() == {"net/ipv4/a": "3", "net.ipv4.b": "2"}


@pytest.mark.parametrize("key", ["sysctl", "args.cni.sysctl"])
def test_refusal_names_the_place_and_the_parameter(key: str) -> None:
    wrong = {"kernel.x": "1"}
    keys: dict[str, Any] = {"sysctl": wrong} if key == "sysctl" else {"args": {"cni": {"sysctl": wrong}}}
    with pytest.raises(InvalidConfig, match=rf"^{key}: 'kernel.x'"):
        conf(**keys)


def test_empty_directory_is_the_usual_one() -> None:
    assert conf(dataDir="").data_dir == conf().data_dir == "/run/cni/tuning"
