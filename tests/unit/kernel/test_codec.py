"""Netlink's messages must cost a cold plugin little, and must be what pyroute2, which knows them all, makes of them."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from cni_plugins.kernel.layouts import LAYOUTS
from cni_plugins.kernel.shaping import _EVERYTHING
from tests.support.paths import REPO

HEAVY = {
    *("argparse", "asyncio", "collections", "contextlib", "ctypes", "dataclasses", "enum", "functools", "hashlib", "inspect", "ipaddress"),
    *("json", "logging", "multiprocessing", "os", "pathlib", "platform", "pyroute2", "re", "shutil", "signal", "socket", "struct"),
    *("subprocess", "tempfile", "threading", "traceback", "types", "typing", "weakref"),
}
"""Modules whose import costs more than what we would use them for."""
GENUINE = {"ifinfmsg": ifinfmsg, "ifaddrmsg": ifaddrmsg, "rtmsg": rtmsg, "tcmsg": tcmsg}
HEADER = 16
Attributes = list[list[Any]]


def modules_after(code: str) -> set[str]:
    """The modules that a cold interpreter has loaded after `code`."""
    spec = find_spec("pyroute2")
    assert spec is not None
    assert spec.origin
    paths = [str(REPO), str(Path(spec.origin).parents[1])]
    program = f"import sys; sys.path[:0] = {paths}\n{code}\nmodules = list(sys.modules)\nimport json\nprint(json.dumps(modules))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "code",
    [
        "from cni_plugins.kernel import netlink",
        "from cni_plugins.kernel import netns, nft, files, process, sysctl",
        "from cni_plugins.kernel import shaping, tunables, vxlan",
    ],
)
def test_a_cold_call_loads_nothing_heavy(code: str) -> None:
    assert not modules_after(code) & HEAVY


def info(kind: str, *data: list[Any]) -> list[Any]:
    """What a link of some kind has of its own."""
    return ["IFLA_LINKINFO", {"attrs": [["IFLA_INFO_KIND", kind], *([["IFLA_INFO_DATA", {"attrs": list(data)}]] if data else [])]}]


PEER: Attributes = [["IFLA_IFNAME", "eth0"], ["IFLA_NET_NS_FD", 7], ["IFLA_ADDRESS", "02:00:00:00:00:02"], ["IFLA_MTU", 1400]]
MIRRED = {"attrs": [["TCA_MIRRED_PARMS", {"action": 4, "eaction": 1, "ifindex": 9}]]}
ACTION = {"attrs": [["TCA_ACT_KIND", "mirred"], ["TCA_ACT_OPTIONS", MIRRED]]}
VXLAN: Attributes = [
    ["IFLA_VXLAN_ID", 5],
    ["IFLA_VXLAN_LINK", 2],
    ["IFLA_VXLAN_PORT", 4789],
    ["IFLA_VXLAN_LEARNING", 1],
    ["IFLA_VXLAN_LOCAL", "10.0.0.1"],
    ["IFLA_VXLAN_LOCAL6", "fd00::1"],
]
LINK: Attributes = [
    ["IFLA_IFNAME", "veth0"],
    ["IFLA_ADDRESS", "02:00:00:00:00:01"],
    ["IFLA_MTU", 1400],
    ["IFLA_MASTER", 3],
    ["IFLA_TXQLEN", 500],
    ["IFLA_IFALIAS", "whose it is: \u00fcber"],
    ["IFLA_GROUP", 77],
    ["IFLA_NET_NS_FD", 5],
    ["IFLA_EXT_MASK", 2],
]
PORT = {"attrs": [["IFLA_BRPORT_MODE", 1], ["IFLA_BRPORT_ISOLATED", 1]]}
VLANS: Attributes = [
    ["IFLA_BRIDGE_FLAGS", 2],
    ["IFLA_BRIDGE_VLAN_INFO", {"flags": 6, "vid": 5}],
    ["IFLA_BRIDGE_VLAN_INFO", {"flags": 8, "vid": 9}],
]
ROUTE: Attributes = [
    ["RTA_TABLE", 1000],
    ["RTA_DST", "10.1.0.0"],
    ["RTA_GATEWAY", "10.0.0.1"],
    ["RTA_PREFSRC", "10.0.0.9"],
    ["RTA_OIF", 3],
    ["RTA_PRIORITY", 50],
    ["RTA_METRICS", {"attrs": [["RTAX_MTU", 1400], ["RTAX_ADVMSS", 1300]]}],
]
BUCKET = {"rate": 1_250_000, "buffer": 312_500, "limit": 51_250, "rate_cell_log": 3, "rate_cell_align": -1}
MESSAGES: dict[str, tuple[str, dict[str, int], Attributes]] = {
    "an IPv4 address": (
        "ifaddrmsg",
        {"family": 2, "prefixlen": 24, "scope": 253, "index": 5},
        [["IFA_LOCAL", "10.0.0.1"], ["IFA_ADDRESS", "10.0.0.2"], ["IFA_BROADCAST", "10.0.0.255"]],
    ),
    "an IPv6 address": (
        "ifaddrmsg",
        {"family": 10, "prefixlen": 64, "flags": 2},
        [["IFA_LOCAL", "fd00::1"], ["IFA_ADDRESS", "fd00::1"], ["IFA_FLAGS", 0x202]],
    ),
    "a link": ("ifinfmsg", {"index": 7, "flags": 0x101, "change": 0x101}, LINK),
    "a veth pair": ("ifinfmsg", {}, [info("veth", ["VETH_INFO_PEER", {"attrs": PEER}])]),
    "a bridge": ("ifinfmsg", {}, [info("bridge", ["IFLA_BR_VLAN_FILTERING", 1], ["IFLA_BR_VLAN_DEFAULT_PVID", 4094])]),
    "a port": ("ifinfmsg", {}, [["IFLA_LINKINFO", {"attrs": [["IFLA_INFO_SLAVE_KIND", "bridge"], ["IFLA_INFO_SLAVE_DATA", PORT]]}]]),
    "a vxlan device": ("ifinfmsg", {}, [info("vxlan", *VXLAN)]),
    "an ifb": ("ifinfmsg", {"flags": 1, "change": 1}, [info("ifb")]),
    "VLANs": ("ifinfmsg", {"family": 7, "index": 4}, [["IFLA_AF_SPEC", {"attrs": VLANS}]]),
    "how a link gets addresses": (
        "ifinfmsg",
        {"index": 4},
        [["IFLA_AF_SPEC", {"attrs": [["AF_INET6", {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", 1]]}]]}]],
    ),
    "a route": ("rtmsg", {"family": 2, "dst_len": 24, "table": 254, "proto": 3, "scope": 253, "type": 1, "flags": 4}, ROUTE),
    "an IPv6 route": ("rtmsg", {"family": 10, "dst_len": 64}, [["RTA_DST", "fd00::"], ["RTA_GATEWAY", "fe80::1"]]),
    "an ingress discipline": ("tcmsg", {"index": 7, "handle": 0xFFFF0000, "parent": 0xFFFFFFF1}, [["TCA_KIND", "ingress"]]),
    "a token bucket": (
        "tcmsg",
        {"index": 7, "handle": 1 << 16, "parent": 0xFFFFFFFF},
        [["TCA_KIND", "tbf"], ["TCA_OPTIONS", {"attrs": [["TCA_TBF_PARMS", BUCKET]]}]],
    ),
    "a filter": (
        "tcmsg",
        {"index": 7, "parent": 0xFFFF0000, "info": 1 << 16 | 0x0300},
        [
            ["TCA_KIND", "u32"],
            [
                "TCA_OPTIONS",
                {
                    "attrs": [
                        ["TCA_U32_CLASSID", 0x10001],
                        ["TCA_U32_SEL", {"keys": ["0x0/0x0+0"]}],
                        ["TCA_U32_ACT", {"attrs": [["TCA_ACT_PRIO_1", ACTION]]}],
                    ]
                },
            ],
        ],
    ),
}
OUR_NAMES = {"rate_cell_log": "cell_log", "rate_cell_align": "cell_align"}


def genuine(layout: str, fields: dict[str, int], attrs: Attributes) -> bytes:
    """A whole message as pyroute2 makes it."""
    message = GENUINE[layout]()
    message.update(fields)
    message["attrs"] = json.loads(json.dumps(attrs))
    message.encode()
    return bytes(message.data)


def in_our_words(value: Any) -> Any:
    """The same for our layouts, which have no words for a filter's selector."""
    match value:
        case ["TCA_U32_SEL", _]:
            return ["TCA_U32_SEL", _EVERYTHING]
        case list():
            return [in_our_words(one) for one in value]
        case dict():
            return {OUR_NAMES.get(key, key): in_our_words(one) for key, one in value.items()}
        case _:
            return value


def without_flags(body: bytes) -> bytes:
    """pyroute2 marks one attribute as nested, which the kernel does not look at."""
    return body.replace(b"\2\x80", b"\2\0") if b"mirred" in body else body


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_are_the_bytes_that_pyroute2_makes(name: str) -> None:
    layout, fields, attrs = MESSAGES[name]
    ours = LAYOUTS[layout].pack({**fields, "attrs": in_our_words(attrs)})
    assert ours == without_flags(genuine(layout, fields, attrs)[HEADER:])


def check(message: Any, fields: dict[str, Any], attrs: Attributes) -> None:
    """A message reads as it was written."""
    assert {name: message[name] for name in fields} == fields
    for name in dict.fromkeys(name for name, _ in attrs):
        wanted = [value for other, value in attrs if other == name]
        for value, found in zip(wanted, message.get_attrs(name), strict=True):
            if isinstance(value, dict):
                check(found, {key: one for key, one in value.items() if key != "attrs"}, value.get("attrs", []))
            else:
                assert found == value, name


@pytest.mark.parametrize("name", MESSAGES)
def test_what_pyroute2_wrote_is_read(name: str) -> None:
    layout, fields, attrs = MESSAGES[name]
    check(LAYOUTS[layout].read(genuine(layout, fields, attrs), HEADER), fields, in_our_words(attrs))


def test_what_is_not_there_or_has_no_name_here_is_passed_over() -> None:
    message = LAYOUTS["ifinfmsg"].read(genuine("ifinfmsg", {}, [["IFLA_NUM_VF", 3], ["IFLA_MTU", 1400]]), HEADER)
    assert (message.get_attr("IFLA_MTU"), message.get_attr("IFLA_IFNAME"), message.get_attrs("IFLA_IFNAME")) == (1400, None, [])


def test_the_hops_of_a_route_are_read_one_by_one() -> None:
    hops = [{"oif": 3, "attrs": [["RTA_GATEWAY", "10.0.0.1"]]}, {"oif": 4}]
    data = genuine("rtmsg", {"family": 2}, [["RTA_MULTIPATH", hops]])
    read = LAYOUTS["rtmsg"].read(data, HEADER).get_attr("RTA_MULTIPATH")
    assert [(hop["oif"], hop.get_attr("RTA_GATEWAY")) for hop in read] == [(3, "10.0.0.1"), (4, None)]


@pytest.mark.parametrize("kind", ["fq_codel", "htb", "bpf", "matchall", "unheard-of"])
def test_a_discipline_or_filter_of_somebody_else_s_is_read_without_its_layout(kind: str) -> None:
    data = bytearray(genuine("tcmsg", {"index": 7, "handle": 1 << 16, "parent": 0xFFFFFFFF}, [["TCA_KIND", kind], ["TCA_STAB", "01:02"]]))
    data[HEADER + 20 + 4 + (len(kind) + 1 + 3 & ~3) + 2] = 2  # TCA_STAB becomes TCA_OPTIONS
    read = LAYOUTS["tcmsg"].read(bytes(data), HEADER)
    assert read.get_attr("TCA_KIND") == kind
    assert read.get_attr("TCA_OPTIONS").get_attr("TCA_U32_SEL") is None
