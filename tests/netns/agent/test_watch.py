"""The watch over a node's rules: whoever takes what pods need, and however that comes to be noticed, it is put back, once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cni_plugins import RUN_DIR
from cni_plugins.agent import rules
from cni_plugins.agent.restoring import Restorer
from cni_plugins.agent.rules import RulesWatch
from cni_plugins.agent.warm import Warm
from cni_plugins.kernel.dbus import text
from cni_plugins.plan.kinds import filter_table
from tests.netns.plugins.firewall.conftest import Pods, drop_forwarded, passes, programs
from tests.support.firewalld import Firewalld, unpacked
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node

SECONDS = 60
SOURCES = ("10.1.0.2/32", "fd00:1::2/128")
Watch = Callable[[], AbstractContextManager["Watched"]]


class Watched:
    """What a watch does: the kinds that it `tried` to put back, try by try, and of how many attachments it `restored` some then."""

    def __init__(self) -> None:
        self.tried: queue.Queue[AbstractSet[str]] = queue.Queue()
        self.restored: queue.Queue[int] = queue.Queue()
        self.noticed = threading.Event()

    def wait(self) -> AbstractSet[str]:
        """The kinds of the next try."""
        return self.tried.get(timeout=SECONDS)

    def wait_until_restored(self, kind: str) -> None:
        """Wait until things of this kind are put back."""
        while kind not in self.wait():
            pass
        self.restored.get(timeout=SECONDS)


@pytest.fixture(scope="session")
def firewalld_root() -> Path:
    """Where firewalld is unpacked; fetched before any test is on a node, which reaches no network."""
    return unpacked()


@pytest.fixture
def pods(node: Node, tmp_path: Path) -> Pods:
    """Networks on the node."""
    return Pods(node, InProcess(node, tmp_path))


@pytest.fixture
def other(node: Node) -> Container:
    """Another container."""
    return node.container("other")


@pytest.fixture
def watch(node: Node, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Watches the node for the length of a context, with looks that come often."""
    monkeypatch.setattr(rules, "_LOOK", 0.02)
    put_back = Restorer.put_back

    @contextmanager
    def watching() -> Iterator[Watched]:
        watched, warm = Watched(), Warm()

        def trying(restorer: Restorer, kinds: AbstractSet[str], **how: Any) -> tuple[int, AbstractSet[str]]:
            done = put_back(restorer, kinds, **how)
            watched.tried.put(kinds)
            return done

        monkeypatch.setattr(Restorer, "put_back", trying)
        watch = RulesWatch(warm, run_dir=RUN_DIR, restored=watched.restored.put, noticed=watched.noticed.set)
        watch.start()
        try:
            watched.wait()
            yield watched
        finally:
            watch.stop()
            warm.close()

    return watching


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_flushed_rules_of_iptables_let_pods_through_again(
    node: Node, pods: Pods, watch: Watch, *, pod: Container, other: Container, variant: str
) -> None:
    drop_forwarded(node, variant)
    pods.add(pod)
    theirs = pods.add(other, 2)
    with watch() as watched:
        for program in programs(variant):
            node.run([program, "-F", "FORWARD"])
            watched.wait_until_restored("firewall")
            assert all(passes(pod, other, address) for address in theirs if ("6" in program) == (":" in address))
        assert not pods.drift(pod)


def test_rules_that_a_reload_of_iptables_replaced_are_put_back(node: Node, pods: Pods, watch: Watch, pod: Container) -> None:
    drop_forwarded(node, "legacy")
    saved = node.run(["iptables-legacy-save"]).stdout
    pods.add(pod)
    with watch() as watched:
        node.run(["iptables-legacy-restore"], input=saved)
        watched.wait_until_restored("firewall")
        assert watched.noticed.is_set(), "overlays, which have no attachments here, do not hear of it"
        assert not pods.drift(pod)


def test_what_cannot_be_put_back_is_tried_once_and_again_when_it_was_there(
    node: Node, pods: Pods, watch: Watch, *, pod: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_forwarded(node, "legacy")
    pods.add(pod)
    looks: queue.Queue[bool] = queue.Queue()
    flushed, ensure = filter_table.flushed_unheard, filter_table.ensure

    def looking(family: str) -> bool:
        found = flushed(family)
        looks.put(found)
        return found

    monkeypatch.setattr(filter_table, "flushed_unheard", looking)
    monkeypatch.setattr(filter_table, "ensure", lambda *_: None)
    with watch() as watched:
        assert "overlay" in watched.wait(), "what it has put back itself is heard"
        node.run(["iptables-legacy", "-F", "FORWARD"])
        assert watched.wait() == {"firewall"}
        for _ in range(5):
            looks.get(timeout=SECONDS)
        assert watched.tried.empty()
        monkeypatch.setattr(filter_table, "ensure", ensure)
        pods.call("ADD", pod)
        while looks.get(timeout=SECONDS):
            pass
        node.run(["iptables-legacy", "-F", "FORWARD"])
        watched.wait_until_restored("firewall")
    assert not pods.drift(pod)


def test_a_filter_table_of_a_family_that_no_pod_has_is_nothing_lost(node: Node, pods: Pods, watch: Watch, pod: Container) -> None:
    for variant in ("nft", "legacy"):
        drop_forwarded(node, variant)
    pods.attach(pod, ipam={"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]]})
    pods.add(pod)
    assert "CNI-FORWARD" not in node.run(["ip6tables-nft-save"]).stdout
    with watch() as watched:
        node.run(["nft", "add table ip theirs; delete table ip theirs"])
        assert "firewall" not in watched.wait()


def test_what_nobody_has_is_looked_for_once(
    node: Node, pods: Pods, watch: Watch, *, pod: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods.attach(pod)
    heard: queue.Queue[None] = queue.Queue()
    ask = Restorer.lost

    def asking(restorer: Restorer) -> AbstractSet[str]:
        lost = ask(restorer)
        heard.put(None)
        return lost

    monkeypatch.setattr(Restorer, "lost", asking)
    with watch() as watched:
        node.run(["nft", "add table ip theirs; delete table ip theirs"])
        assert "masquerade" in watched.wait(), "there never was any"
        for _ in range(4):  # asked again after the first try, and once for each of these
            heard.get(timeout=SECONDS)
            node.run(["nft", "add table ip theirs; delete table ip theirs"])
        assert watched.tried.empty()
        pods.add(pod)
        node.run(["nft", "delete chain inet cni_plugins accept_begin"])
        watched.wait_until_restored("firewall")


def zones(firewalld: Firewalld) -> list[str]:
    """The zones that the first pod's addresses are in."""
    return [text(firewalld.ask("getZoneOfSource", [source])) for source in SOURCES]


def test_sources_that_firewalld_has_forgotten_are_put_back(
    firewalld_root: Path, node: Node, pods: Pods, *, watch: Watch, pod: Container
) -> None:
    with watch() as watched:  # before there is a bus
        firewalld = Firewalld(node, firewalld_root)
        firewalld.start()
        pods.add(pod, firewalldZone="internal")
        for forget in (firewalld.reload, firewalld.restart):
            while not watched.restored.empty():
                watched.restored.get()
            forget()
            watched.wait_until_restored("zone")
            assert zones(firewalld) == ["internal", "internal"]
