"""Rules of single values: what is let through, in which form, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_plugins.model import rules
from cni_plugins.model.base import Broken


@pytest.mark.parametrize("text", ["02:00:5E:10:00:01", "02-00-5e-10-00-01", "0200.5e10.0001"])
def test_a_mac_address_is_understood_in_every_usual_notation(text: str) -> None:
    assert rules.mac(text) == "02:00:5e:10:00:01"


def test_no_mac_address_is_no_error() -> None:
    assert rules.mac("") == ""


@pytest.mark.parametrize(
    "text",
    [
        "02:00:5e:10:00",
        "02:00:5e:10:00:01:02",
        "02:00:5e:10:00:01:02:03",  # 64 bits: no Ethernet interface has them
        "2:0:5e:10:0:1",
        "02:00-5e:10:00:01",
        "02005e100001",
        "0x:00:5e:10:00:01",
        "+2:00:5e:10:00:01",
        "02:00:5e:10:00:0\uff11",
        "01:00:5e:00:00:01",  # multicast: the kernel refuses it
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
    ],
)
def test_a_mac_address_that_no_interface_can_have_never_reaches_the_kernel(text: str) -> None:
    with pytest.raises(ValueError, match=f"^'{text}'".replace("+", r"\+").replace(".", r"\.")):
        rules.mac(text)


@given(st.integers(1, 2**48 - 1).filter(lambda value: not value >> 40 & 1))
def test_every_unicast_mac_address_comes_back_as_it_was(value: int) -> None:
    text = value.to_bytes(6, "big").hex(":")
    assert rules.mac(text) == rules.mac(text.upper()) == rules.mac(text.replace(":", "-")) == text


@pytest.mark.parametrize("name", ["cni0", "a", "x" * 15, "br-1.2", "vethé", "a\\b", "%d"])
def test_names_that_linux_accepts_are_accepted(name: str) -> None:
    assert rules.ifname(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "x" * 16, "é" * 8, "a\0", "\u2003"])
def test_names_that_linux_refuses_are_refused_before_the_kernel_sees_them(name: str) -> None:
    with pytest.raises(ValueError, match="is not an interface name"):
        rules.ifname(name)


@pytest.mark.parametrize("value", [0, 68, 1500, 9000, 65535])
def test_an_mtu_that_an_interface_can_have_is_accepted(value: int) -> None:
    assert rules.mtu(value) == value


@pytest.mark.parametrize("value", [-5, -1, 1, 67, 65536, 2**31])
def test_an_mtu_that_no_interface_can_have_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="is not an MTU: 68 to 65535, or 0"):
        rules.mtu(value)


def test_an_empty_address_counts_as_absent() -> None:
    assert rules.address("") is None


@pytest.mark.parametrize("text", ["10.1.0", "10.1.0.01", "10.1.0.1/24", "fe80::1%eth0", " 10.1.0.1", "10.1.0.1\0", "::g", "1"])
def test_text_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an IP address"):
        rules.address(text)


def test_a_network_cannot_be_ipv4_in_ipv6_notation() -> None:
    with pytest.raises(ValueError, match="write it as IPv4"):
        rules.address_with_prefix("::ffff:10.1.0.0/24")


@pytest.mark.parametrize("kind", ["a/b", "..", ".", "/bin/sh", "a\0"])
def test_a_delegate_cannot_be_a_program_outside_of_cni_path(kind: str) -> None:
    with pytest.raises(Broken) as caught:
        rules.ipam({"TYPE": kind})
    assert caught.value.problems == (("type", f"{kind!r} is not the name of a plugin"),)


@pytest.mark.parametrize("value", [{}, {"type": ""}, {"type": None}, {"type": "dhcp", "x": object()}])
def test_a_delegates_object_is_handed_on_untouched(value: dict[str, object]) -> None:
    before = dict(value)
    assert rules.ipam(value) is value
    assert value == before
