"""Netlink's messages must cost a cold plugin little, and must be what pyroute2 makes of them."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from cni_plugins.kernel import codec
from tests.support.paths import REPO

HEAVY = {
    *("argparse", "asyncio", "collections", "contextlib", "ctypes", "dataclasses", "enum", "functools", "hashlib", "inspect", "ipaddress"),
    *("json", "logging", "multiprocessing", "os", "pathlib", "platform", "pyroute2", "re", "shutil", "signal", "socket", "struct"),
    *("subprocess", "tempfile", "threading", "traceback", "types", "typing", "weakref"),
}
"""Modules whose import costs more than what we would use them for."""


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
        "from cni_plugins.kernel import codec\nfor name in ('ifinfmsg', 'ifaddrmsg', 'rtmsg'): codec.message(name)().encode()",
    ],
)
def test_a_cold_call_loads_nothing_heavy(code: str) -> None:
    assert not modules_after(code) & HEAVY


def test_a_link_is_encoded_without_the_layout_of_routes() -> None:
    checked = "from cni_plugins.kernel import codec\ncodec.message('ifinfmsg')\nassert 'pyroute2.netlink.rtnl.rtmsg' not in codec._modules"
    modules_after(checked)


MESSAGES = [
    ("ifaddrmsg", ifaddrmsg, {"family": 10, "prefixlen": 64}, [["IFA_LOCAL", "fd00::1"], ["IFA_ADDRESS", "fd00::1"], ["IFA_FLAGS", 2]]),
    (
        "ifinfmsg",
        ifinfmsg,
        {"index": 7, "flags": 1, "change": 1},
        [
            ["IFLA_IFNAME", "veth0"],
            ["IFLA_ADDRESS", "02:00:00:00:00:01"],
            ["IFLA_LINKINFO", {"attrs": [["IFLA_INFO_KIND", "vlan"], ["IFLA_INFO_DATA", {"attrs": [["IFLA_VLAN_ID", 5]]}]]}],
        ],
    ),
    (
        "rtmsg",
        rtmsg,
        {"family": 2, "dst_len": 24, "table": 254, "type": 1},
        [["RTA_DST", "10.1.0.0"], ["RTA_GATEWAY", "10.0.0.1"], ["RTA_METRICS", {"attrs": [["RTAX_MTU", 1400]]}]],
    ),
    ("tcmsg", tcmsg, {"index": 7, "handle": 1 << 16, "parent": 0xFFFFFFFF}, [["TCA_KIND", "ingress"]]),
]


@pytest.mark.parametrize(("name", "genuine", "fields", "attrs"), MESSAGES, ids=[message[0] for message in MESSAGES])
def test_messages_are_the_bytes_that_pyroute2_makes(name: str, genuine: type, fields: dict[str, int], attrs: list[list[object]]) -> None:
    made = []
    for layout in (codec.message(name), genuine):
        message = layout()
        message.update(fields)
        message["attrs"] = json.loads(json.dumps(attrs))
        message.encode()
        made.append(bytes(message.data))
    ours, theirs = made
    assert ours == theirs
    decoded = codec.message(name)(theirs)
    decoded.decode()
    assert decoded.get_attr(attrs[0][0]) == attrs[0][1]


@pytest.mark.parametrize("kind", ["fq_codel", "htb", "bpf", "matchall", "unheard-of"])
def test_a_discipline_or_filter_of_somebody_else_s_is_read_without_its_layout(kind: str) -> None:
    made = tcmsg()
    made.update({"index": 7, "handle": 1 << 16, "parent": 0xFFFFFFFF})
    made["attrs"] = [["TCA_KIND", kind], ["TCA_STAB", "01:02"]]
    made.encode()
    data = bytearray(made.data)
    data[20 + 16 + 4 + (len(kind) + 1 + 3 & ~3) + 2] = 2  # TCA_STAB becomes TCA_OPTIONS
    read = codec.message("tcmsg")(bytes(data))
    read.decode()
    assert (read.get_attr("TCA_KIND"), read.get_attr("TCA_OPTIONS")) == (kind, "30:31:3a:30:32")
    assert not [name for name in codec._modules if name.endswith((f"sched_{kind}", f"cls_{kind}"))]


def test_a_program_with_pyroute2_keeps_its_own() -> None:
    assert codec.message("ifinfmsg") is not ifinfmsg
    assert sys.modules["pyroute2.netlink.rtnl.ifinfmsg"].ifinfmsg is ifinfmsg


def test_a_missing_pyroute2_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(codec._CLASSES, "nothing", "pyroute2.netlink.rtnl.nothing")
    with pytest.raises(ImportError, match=r"pyroute2\.netlink\.rtnl\.nothing"):
        codec.message("nothing")


def test_every_module_that_is_loaded_is_listed_for_the_bundle() -> None:
    for name in codec._CLASSES:
        codec.message(name)
    loaded = {name for name, module in codec._modules.items() if name.startswith("pyroute2.") and isinstance(module, type(sys))}
    assert {name for name in loaded if ".plugins." not in name} <= set(codec.MODULES)
