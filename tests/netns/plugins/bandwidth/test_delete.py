"""DEL and GC take every limit away, whatever has happened to the pod, the configuration or the records; and STATUS."""

from __future__ import annotations

import shutil
from _socket import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.kernel import calls, shaping
from cni_plugins.kernel.rtnl import RTM_DELLINK
from conformance import ledger
from tests.netns.plugins.bandwidth.shaped import BOTH, IFB, RECEIVE, SEND, conf, ifbs, pair, qdiscs, redirected
from tests.netns.plugins.networks import RECORDS, records
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.shared import SHARED


def _lose(path: Path) -> None:
    shutil.rmtree(path)


def _damage(path: Path) -> None:
    for record in path.iterdir():
        record.write_bytes(b"")


def _keep(path: Path) -> None:
    pass


@pytest.mark.parametrize("limits", [BOTH, RECEIVE, SEND], ids=["both", "receive", "send"])
def test_del_leaves_the_interface_as_it_was_and_may_be_repeated(
    plugins: InProcess, pod: Container, *, node: Node, limits: dict[str, Any]
) -> None:
    host = pair(pod)
    before = node.ledger()
    plugins.good("bandwidth", "ADD", conf(pod, **limits), container=pod)
    assert ledger.diff(before, node.ledger(), ignore=SHARED)
    for _ in range(2):
        plugins.good("bandwidth", "DEL", conf(pod, **limits), container=pod)
        assert ledger.diff(before, node.ledger(), ignore=SHARED) == []
    assert qdiscs(node, host) == []
    pod.run(["ping", "-n", "-c1", "-w30", "10.9.0.1"])


@pytest.mark.parametrize(
    "change",
    [
        {"prevResult": None},
        {"prevResult": {"cniVersion": "1.1.0", "ips": "nonsense"}},
        dict.fromkeys(BOTH, 0),
        {"ingressRate": -1, "egressBurst": "many", "qdisc": 7, "runtimeConfig": []},
        {"cniVersion": "0.4.0"},
    ],
    ids=str,
)
@pytest.mark.parametrize("harm", [_keep, _lose, _damage])
def test_del_needs_neither_prev_result_nor_the_same_configuration_nor_its_record(
    plugins: InProcess, pod: Container, *, node: Node, change: dict[str, Any], harm: Callable[[Path], None]
) -> None:
    pair(pod)
    before = node.ledger()
    plugins.good("bandwidth", "ADD", conf(pod, **BOTH), container=pod)
    harm(RECORDS)
    plugins.good("bandwidth", "DEL", conf(pod, **BOTH) | change, container=pod)
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


@pytest.mark.parametrize("harm", [_keep, _lose])
@pytest.mark.parametrize("netns", ["vanished", ""])
def test_del_removes_the_ifb_when_the_netns_is_gone(
    plugins: InProcess, pod: Container, *, node: Node, netns: str, harm: Callable[[Path], None]
) -> None:
    pair(pod)
    plugins.good("bandwidth", "ADD", conf(pod, **BOTH), container=pod)
    harm(RECORDS)
    environ = {"CNI_NETNS": netns and pod.path, "CNI_CONTAINERID": pod.id, "CNI_IFNAME": "eth0"}
    if netns:
        pod.delete()
    plugins.good("bandwidth", "DEL", conf(pod, **BOTH) | {"prevResult": None}, env=environ)
    assert ifbs(node) == []


def test_del_leaves_what_somebody_else_put_in_the_place_of_a_limit(plugins: InProcess, pod: Container, node: Node) -> None:
    host = pair(pod)
    plugins.good("bandwidth", "ADD", conf(pod, **BOTH), container=pod)
    node.run(["ip", "link", "add", "other", "type", "ifb"])
    node.run(["tc", "qdisc", "replace", "dev", host, "root", "handle", "1:", "htb"])
    node.run(["tc", "qdisc", "delete", "dev", host, "ingress"])
    node.run(["tc", "qdisc", "add", "dev", host, "ingress"])
    redirect = "protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev other"
    node.run(["tc", "filter", "add", "dev", host, "ingress", *redirect.split()])
    plugins.good("bandwidth", "DEL", conf(pod, **BOTH), container=pod)
    assert [one["kind"] for one in qdiscs(node, host)] == ["htb", "ingress"]
    assert redirected(node, host) == ["other"]
    assert ifbs(node) == ["other"]


def test_del_leaves_a_link_alone_that_only_has_the_ifb_s_name(plugins: InProcess, pod: Container, node: Node) -> None:
    pair(pod)
    plugins.good("bandwidth", "ADD", conf(pod, **BOTH), container=pod)
    node.run(["ip", "link", "delete", IFB])
    node.run(["ip", "link", "add", IFB, "type", "bridge"])
    plugins.good("bandwidth", "DEL", conf(pod, **BOTH), container=pod)
    node.run(["ip", "link", "show", "dev", IFB])


@pytest.mark.parametrize("harm", [_keep, _lose, _damage])
@pytest.mark.parametrize("vanished", [False, True])
def test_gc_removes_the_stale_and_keeps_the_listed(
    plugins: InProcess, pod: Container, other: Container, *, node: Node, harm: Callable[[Path], None], vanished: bool
) -> None:
    for number, container in enumerate((pod, other), 9):
        pair(container, number=number)
    plugins.good("bandwidth", "ADD", conf(other, **BOTH), container=other)
    kept = ifbs(node)
    plugins.good("bandwidth", "ADD", conf(pod, **BOTH), container=pod)
    harm(RECORDS)
    if vanished:
        pod.delete()
    listed = {"cni.dev/valid-attachments": [{"containerID": other.id, "ifname": "eth0"}]}
    plugins.good("bandwidth", "GC", {"cniVersion": "1.1.0", "name": "net", "type": "bandwidth"} | listed)
    assert ifbs(node) == kept
    plugins.good("bandwidth", "CHECK", conf(other, **BOTH), container=other)


def test_gc_leaves_other_networks_and_everything_without_a_list(plugins: InProcess, pod: Container, node: Node) -> None:
    pair(pod)
    plugins.good("bandwidth", "ADD", conf(pod, **BOTH), container=pod)
    before = node.ledger()
    gc = {"cniVersion": "1.1.0", "type": "bandwidth"}
    plugins.good("bandwidth", "GC", gc | {"name": "net"})
    plugins.good("bandwidth", "GC", gc | {"name": "net2", "cni.dev/valid-attachments": []})
    assert ledger.diff(before, node.ledger()) == []
    assert records()


def test_many_ifbs_are_deleted_in_one_request(plugins: InProcess, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        pod = node.container(f"pod{number}")
        pair(pod, number=number)
        plugins.good("bandwidth", "ADD", conf(pod, **SEND), container=pod)
        pod.delete()
    shutil.rmtree(RECORDS)
    deleting: list[bytes] = []
    send = calls.netlink_send

    def sent(channel: socket, data: bytes) -> None:
        if data[4] == RTM_DELLINK:
            deleting.append(data)
        send(channel, data)

    monkeypatch.setattr(calls, "netlink_send", sent)
    plugins.good("bandwidth", "GC", {"cniVersion": "1.1.0", "name": "net", "type": "bandwidth", "cni.dev/valid-attachments": []})
    assert ifbs(node) == []
    assert len(deleting) == 1


STATUS: dict[str, Any] = {"cniVersion": "1.1.0", "name": "net", "type": "bandwidth"}


@pytest.mark.parametrize("keys", [{}, BOTH, BOTH | {"qdisc": "fq_codel"}], ids=["none", "both", "fq_codel"])
def test_status_of_a_kernel_that_has_all_it_takes_and_of_one_that_does_not_tell(
    plugins: InProcess, node: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, keys: dict[str, Any]
) -> None:
    monkeypatch.setattr(shaping, "_MODULES", str(tmp_path))
    plugins.good("bandwidth", "STATUS", STATUS | keys)
    _modules(tmp_path, "ifb.ko.xz", "sch_tbf.ko", "sch_ingress.ko", "cls_u32.ko", "act_mirred.ko.zst", "sch_fq_codel.ko")
    before = node.ledger()
    plugins.good("bandwidth", "STATUS", STATUS | keys)
    assert ledger.diff(before, node.ledger()) == []


@pytest.mark.parametrize(("keys", "missing"), [(BOTH, "ifb"), (RECEIVE | {"qdisc": "fq_codel"}, "sch_fq_codel")], ids=["ifb", "fq_codel"])
def test_status_names_what_the_kernel_lacks(
    plugins: InProcess, node: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, keys: dict[str, Any], missing: str
) -> None:
    monkeypatch.setattr(shaping, "_MODULES", str(tmp_path))
    _modules(tmp_path, "sch_tbf.ko", "sch_ingress.ko", "cls_u32.ko", "act_mirred.ko")
    error = plugins("bandwidth", "STATUS", STATUS | keys).error
    assert error["code"] == 50
    assert missing in error["msg"]


def _modules(directory: Path, *names: str) -> None:
    home = directory / Path("/proc/sys/kernel/osrelease").read_text().strip()
    home.mkdir(exist_ok=True)
    home.joinpath("modules.builtin").write_text(f"kernel/net/{names[0]}\n")
    home.joinpath("modules.dep").write_text("".join(f"kernel/net/{name}: kernel/net/x.ko\n" for name in names[1:]))


def test_fq_codel_that_the_kernel_lacks_leaves_nothing(plugins: InProcess, pod: Container, node: Node) -> None:
    pair(pod)
    node.run(["ip", "link", "add", "probe", "type", "ifb"])
    has = node.run(["tc", "qdisc", "add", "dev", "probe", "root", "fq_codel"], check=False).returncode == 0
    before = node.ledger()
    outcome = plugins("bandwidth", "ADD", conf(pod, **BOTH, qdisc="fq_codel"), container=pod)
    if has:
        assert outcome.result
        assert [one["kind"] for one in qdiscs(node, "pod-eth0")] == ["tbf", "fq_codel", "ingress"]
        plugins.good("bandwidth", "DEL", conf(pod), container=pod)
    else:
        assert (outcome.error["code"], "fq_codel" in outcome.error["msg"]) == (100, True)
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []
