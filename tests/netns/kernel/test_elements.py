"""Elements that are put in and taken out without libnftables are what it would have made of them; all or none."""

from __future__ import annotations

import errno
import os

import pytest

from cni_plugins.kernel import calls
from cni_plugins.kernel.elements import create, delete, packed, present, stands
from cni_plugins.kernel.nft import Nft, NftError
from cni_plugins.kernel.rtnl import Request
from tests.support.node import Node

TABLE = "inet cni"
SETUP = f"""table {TABLE} {{
    set owners {{ type ipv6_addr . ipv4_addr . inet_proto . inet_service; }}
    set names {{ type ifname; }}
    set v6 {{ type ipv6_addr; }}
    map nets {{ type ipv4_addr : verdict; }}
    map ports {{ type inet_proto . inet_service : ipv6_addr . inet_service; }}
    chain net1 {{ }}
}}"""
OWNERS = "ipv6_addr . ipv4_addr . inet_proto . inet_service"
PORTS = "inet_proto . inet_service"


@pytest.fixture
def nft(node: Node) -> Nft:
    """A table of sets and maps, in the namespace of a node of its own."""
    made = Nft()
    made.run(SETUP)
    return made


def test_what_is_put_in_is_what_commands_would_have_put_in(nft: Nft) -> None:
    elements = [
        ("owners", OWNERS, "fd00::1 . 10.0.0.1 . 6 . 8080", "", "", ""),
        ("names", "ifname", '"veth0123456789a"', "", "", "net/pod \u00fc, 'eth0"),
        ("v6", "ipv6_addr", "2001:db8::2", "", "", ""),
        ("nets", "ipv4_addr", "10.0.0.1", "goto net1", "", "x" * 127),
        ("nets", "ipv4_addr", "10.0.0.2", "jump net1", "", ""),
        ("ports", PORTS, "17 . 53", "fd00::9 . 5353", "ipv6_addr . inet_service", "dns"),
    ]
    nft.change(
        *[create(TABLE, name, packed(types, key), data=data, types=content, comment=c) for name, types, key, data, content, c in elements]
    )
    ours = nft.run(f"list table {TABLE}")
    nft.change(*[delete(TABLE, name, packed(types, key)) for name, types, key, *_ in elements])
    assert "elements" not in nft.run(f"list table {TABLE}")
    for name, _, key, data, _, comment in elements:
        said, holds = f' comment "{comment}"' if comment else "", f" : {data}" if data else ""
        nft.run(f"create element {TABLE} {name} {{ {key}{said}{holds} }}")
    assert nft.run(f"list table {TABLE}") == ours
    nft.close()


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (create(TABLE, "v6", packed("ipv6_addr", "fd00::1")), "exists"),
        (create(TABLE, "nets", packed("ipv4_addr", "10.0.0.1"), data="goto nowhere"), "missing"),
        (create(TABLE, "nothing", packed("ipv4_addr", "10.0.0.1")), "missing"),
        (create("inet nothing", "nets", packed("ipv4_addr", "10.0.0.1"), data="goto net1"), "missing"),
        (delete(TABLE, "v6", packed("ipv6_addr", "fd00::2")), "missing"),
    ],
    ids=["there already", "to no chain", "into no set", "into no table", "not there"],
)
@pytest.mark.parametrize("last", [True, False])
def test_a_transaction_that_is_refused_in_part_changes_nothing(nft: Nft, bad: Request, kind: str, *, last: bool) -> None:
    first = packed("ipv6_addr", "fd00::1")
    nft.change(create(TABLE, "v6", first))
    others = [create(TABLE, "v6", packed("ipv6_addr", "fd00::7")), delete(TABLE, "v6", first)]
    with pytest.raises(NftError) as refused:
        nft.change(*([*others[: 1 if kind == "exists" else 2], bad] if last else [bad, *others]))
    assert [getattr(refused.value, name) for name in ("missing", "exists", "busy")] == [
        name == kind for name in ("missing", "exists", "busy")
    ]
    assert [element.key for element in nft.elements("set", f"{TABLE} v6")] == [("fd00::1",)]
    nft.change(delete(TABLE, "v6", first))
    nft.close()


def test_more_elements_than_a_socket_takes_by_itself(nft: Nft) -> None:
    keys = [packed(PORTS, f"6 . {port}") for port in range(1, 5001)]
    into = [create(TABLE, "ports", key, data="fd00::9 . 80", types="ipv6_addr . inet_service") for key in keys]
    nft.change(*into)
    assert present(nft.netfilter, TABLE, "ports", keys=keys[-1:])
    with pytest.raises(NftError) as refused:
        nft.change(*into)
    assert refused.value.exists
    assert not refused.value.missing
    nft.change(*[delete(TABLE, "ports", key) for key in keys])
    assert nft.elements("map", f"{TABLE} ports") == []
    nft.close()


def test_what_stands_is_told_from_what_does_not(nft: Nft) -> None:
    assert stands(nft.netfilter, TABLE, "ports")
    assert not stands(nft.netfilter, TABLE, "nothing")
    assert not stands(nft.netfilter, "inet nothing", "ports")
    nft.close()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOBUFS])
@pytest.mark.parametrize("call", ["netlink_send", "netlink_receive"])
def test_an_answer_that_is_lost_is_an_error_and_the_next_change_works(
    nft: Nft, call: str, *, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    key = packed("ipv6_addr", "fd00::1")
    with monkeypatch.context() as failing:
        failing.setattr(calls, call, fail)
        with pytest.raises(NftError, match="cannot") as refused:
            nft.change(create(TABLE, "v6", key))
    assert not refused.value.reasons
    assert present(nft.netfilter, TABLE, "v6", keys=[key]) is (call == "netlink_receive")
    nft.change(create(TABLE, "v6", packed("ipv6_addr", "fd00::2")))
    nft.close()
