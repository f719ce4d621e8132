"""The node that tests run on: apart from the machine, and clean afterwards."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.node import LeftBehind, Node
from tests.support.paths import REPO


def links(text: str) -> set[str]:
    return {link["ifname"] for link in json.loads(text)}


def test_what_happens_on_a_node_stays_on_it(root: None, tmp_path: Path) -> None:
    before = Path("/proc/net/dev").read_text().count(":"), socket.gethostname(), os.stat("/proc/thread-self/ns/mnt").st_ino
    with Node() as node:
        subprocess.run(["ip", "link", "add", "br7", "type", "bridge"], check=True)
        Path("/run/only-here").touch()
        Path("/etc/cni/net.d/10.conf").touch()
        (tmp_path / "visible").touch()
        assert links(node.run(["ip", "-json", "link"]).stdout) == {"lo", "br7"}
        assert os.path.isdir("/sys/class/net/br7")
        assert socket.gethostname() == "node"
        assert Path.cwd() == REPO
    assert (tmp_path / "visible").exists()
    assert not Path("/run/only-here").exists()
    assert not Path("/etc/cni/net.d/10.conf").exists()
    assert not os.path.isdir("/sys/class/net/br7")
    assert before == (Path("/proc/net/dev").read_text().count(":"), socket.gethostname(), os.stat("/proc/thread-self/ns/mnt").st_ino)


def test_a_container_is_bare_and_vanishes_with_its_links(node: Node) -> None:
    pod = node.container("pod")
    assert links(pod.run(["ip", "-json", "link"]).stdout) == {"lo"}
    node.run(["ip", "link", "add", "veth1", "type", "veth", "peer", "name", "eth0", "netns", "pod"])
    assert links(pod.run(["ip", "-json", "link"]).stdout) == {"lo", "eth0"}
    pod.delete()
    assert links(node.run(["ip", "-json", "link"]).stdout) == {"lo"}
    assert not os.path.exists(pod.path)


@pytest.mark.parametrize("which", [0, 1])
def test_the_outside_is_reached_by_the_node_but_does_not_know_the_pods(node: Node, which: int) -> None:
    host = node.outside()
    node.run(["ping", "-c1", "-W30", host.addresses[which]])
    host.run(["ping", "-c1", "-W30", host.node_addresses[which]])
    assert host.run(["ip", "route", "get", ["10.22.0.2", "fd00:22::2"][which]], check=False).returncode != 0


def test_a_plugin_gets_what_a_runtime_gives_it(node: Node, tmp_path: Path) -> None:
    plugin = tmp_path / "show"
    plugin.write_text(f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([dict(os.environ), json.load(sys.stdin)]))\n")
    plugin.chmod(0o755)
    pod = node.container("pod")
    env, conf = node.cni(plugin, "ADD", {"name": "net"}, container=pod, ifname="eth3", args="A=1", path="/x", env={"CNI_NETNS": ""}).result
    assert {key: value for key, value in env.items() if key.startswith("CNI_")} == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": pod.id,
        "CNI_NETNS": "",
        "CNI_IFNAME": "eth3",
        "CNI_ARGS": "A=1",
        "CNI_PATH": "/x",
    }
    assert conf == {"name": "net"}


def test_a_process_left_behind_is_ended_and_named(root: None) -> None:
    node = Node()
    node.enter()
    process = subprocess.Popen(["sleep", "1000"])
    with pytest.raises(LeftBehind, match=f"{process.pid} .sleep 1000."):
        node.close()
    assert process.wait() == -9


def test_a_process_that_the_test_started_ends_with_the_node(root: None) -> None:
    with Node() as node:
        process = node.container("pod").popen(["sh", "-c", "sleep 1000 & wait"])
    assert process.returncode == -9
