"""Working in a container's network namespace, and coming back from it whatever happens."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cni_plugins.kernel import calls, sysctl
from cni_plugins.kernel.netlink import Netlink
from cni_plugins.kernel.netns import Netns
from cni_plugins.protocol.errors import InvalidEnvironment, KernelRefused, UnknownContainer
from tests.support.node import Node
from tests.support.paths import REPO


def here() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def test_work_inside_is_done_there_and_nowhere_else(node: Node, netlink: Netlink) -> None:
    pod = node.container()
    netns, home = Netns.open(pod.path), here()
    with netns.inside():
        assert here() == pod.identity
        with netns.inside():
            assert here() == pod.identity
        netns.netlink()
        assert here() == pod.identity
    assert here() == home
    netns.netlink().add_bridge("inside")
    assert netlink.link(name="inside") is None
    assert netns.netlink().link(name="inside") is not None
    netns.close()
    netns.close()


def test_an_error_inside_comes_out_at_home(node: Node) -> None:
    netns, home = Netns.open(node.container().path), here()

    def fail() -> None:
        with netns.inside():
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert here() == home
    netns.close()


def test_a_signal_inside_waits_until_we_are_back(node: Node) -> None:
    """A handler that raises (SIGTERM becomes an undo) must not leave the process in the container's namespace."""
    netns, home, places = Netns.open(node.container().path), here(), []

    def handler(number: int, frame: object) -> None:
        places.append(here())
        raise InterruptedError

    def be_told() -> None:
        with netns.inside():
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # a plugin has one thread; a test runner has more
            assert not places

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(InterruptedError):
            be_told()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert places == [home]
    assert here() == home
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    netns.close()


def test_a_namespace_that_cannot_be_entered_leaves_us_at_home(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    netns, home = Netns.open(node.container().path), here()

    def refuse(fd: int) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(calls, "setns", refuse)
    with pytest.raises(KernelRefused, match="cannot enter the network namespace /run/netns/pod: no"):
        netns.inside().__enter__()
    assert here() == home
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    netns.close()


def test_a_process_that_cannot_come_back_ends(node: Node) -> None:
    program = f"""
import sys; sys.path[:0] = [{str(REPO)!r}]
from cni_plugins.kernel import calls
from cni_plugins.kernel.netns import Netns
netns = Netns.open({node.container().path!r})
def refuse(fd):
    raise OSError(1, "Operation not permitted")
with netns.inside():
    calls.setns = refuse
print("went on")
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot return from the network namespace" in done.stderr


def test_one_failed_return_is_tried_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    netns, home, genuine = Netns.open(node.container().path), here(), calls.setns

    def once(fd: int) -> None:
        monkeypatch.setattr(calls, "setns", genuine)
        raise OSError(errno.ENOMEM, "no memory")

    with netns.inside():
        monkeypatch.setattr(calls, "setns", once)
    assert here() == home
    netns.close()


def test_our_own_namespace_is_known_as_such(node: Node) -> None:
    pod = Netns.open(node.container().path)
    own = Netns.open("/proc/thread-self/ns/net")
    assert own.is_own
    assert not pod.is_own
    own.close()
    pod.close()


def plain(path: Path) -> None:
    path.write_bytes(b"")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def other_namespace(path: Path) -> None:
    path.symlink_to("/proc/self/ns/uts")


@pytest.mark.parametrize("make", [plain, fifo, other_namespace, Path.mkdir], ids=["file", "fifo", "uts", "directory"])
def test_what_is_no_network_namespace_is_refused(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "ns")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(InvalidEnvironment, match=f"CNI_NETNS: {tmp_path}/ns is not a network namespace"):
        Netns.open(f"{tmp_path}/ns")
    assert os.listdir("/proc/self/fd") == before


def test_a_namespace_that_is_gone_is_an_unknown_container(tmp_path: Path) -> None:
    with pytest.raises(UnknownContainer, match=f"CNI_NETNS: there is no network namespace at {tmp_path}/gone"):
        Netns.open(f"{tmp_path}/gone")
    plain(tmp_path / "file")
    with pytest.raises(UnknownContainer):
        Netns.open(f"{tmp_path}/file/below")


def test_a_descriptor_that_came_from_elsewhere_is_taken_over(node: Node) -> None:
    pod = node.container()
    netns = Netns.adopt(pod.path, os.open(pod.path, os.O_RDONLY))
    with netns.inside():
        assert here() == pod.identity
    netns.close()


def test_a_containers_sysctls_are_its_own(node: Node) -> None:
    pod = node.container()
    pod.run(["ip", "link", "add", "eth0.5", "type", "veth", "peer", "name", "other"])
    netns, name = Netns.open(pod.path), "net/ipv4/conf/eth0.5/arp_notify"
    with netns.inside():
        assert sysctl.write(name, "1")
        assert not sysctl.write(name, "1")
        assert sysctl.read(name) == "1"
    assert sysctl.read(name) is None
    assert pod.run(["cat", f"/proc/sys/{name}"]).stdout == "1\n"
    netns.close()


def test_a_sysctl_that_is_missing_is_named_unless_it_may_be(node: Node) -> None:
    assert not sysctl.write("net/ipv6/conf/none/disable_ipv6", "1", optional=True)
    with pytest.raises(KernelRefused, match="net/ipv6/conf/none/disable_ipv6"):
        sysctl.write("net/ipv6/conf/none/disable_ipv6", "1")
    with pytest.raises(KernelRefused, match="cannot set sysctl net/ipv4/ip_forward: Invalid argument"):
        sysctl.write("net/ipv4/ip_forward", "maybe")
    for outside in ("kernel/hostname", "net/../kernel/hostname"):
        with pytest.raises(ValueError, match="not the name of a network sysctl"):
            sysctl.read(outside)
