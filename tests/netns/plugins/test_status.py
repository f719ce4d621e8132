"""STATUS says 50, and why, when an ADD could not be served now; it changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cni_plugins.kernel import calls
from conformance import ledger, namespaces
from tests.netns.plugins.networks import full_bridge, host_local, network
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node

_RDONLY, _REMOUNT = 1, 32


def not_ready(plugins: InProcess, conf: dict[str, Any], node: Node, **how: Any) -> str:
    """Ask for the status, which must be 50 and leave everything as it is; returns the message."""
    before = node.ledger()
    error = plugins(conf["type"], "STATUS", conf, **how).error
    assert error["code"] == 50, error
    assert ledger.diff(before, node.ledger()) == []
    return f"{error['msg']} {error.get('details', '')}"


@pytest.mark.parametrize(
    "conf",
    [
        full_bridge(),
        network(ipam=None, name="l2"),
        network("ptp", ipMasq=True),
        network("host-local"),
        network("loopback"),
        network("static", ipam={"type": "static", "addresses": [{"address": "10.1.0.2/24"}]}),
    ],
    ids=lambda conf: f"{conf['type']} {conf['name']}",
)
def test_ready_node_says_nothing_and_stays_as_it_was(plugins: InProcess, node: Node, conf: dict[str, Any]) -> None:
    before = node.ledger()
    outcome = plugins(conf["type"], "STATUS", conf, env={"CNI_PATH": plugins.cni_path()})
    assert (outcome.code, outcome.stdout) == (0, "")
    assert ledger.diff(before, node.ledger()) == []


@pytest.mark.parametrize("plugin", ["host-local", "bridge", "ptp"])
def test_exhausted_pool(plugins: InProcess, node: Node, plugin: str) -> None:
    conf = network(plugin, ipam=host_local("10.1.0.0/30"))
    plugins.good("host-local", "ADD", conf, container=node.container("first"))
    assert "no IP addresses available" in not_ready(plugins, conf, node)


def test_read_only_state_directory(plugins: InProcess, node: Node) -> None:
    namespaces.mount("none", "/var/lib/cni", flags=_REMOUNT | _RDONLY)
    assert "/var/lib/cni" in not_ready(plugins, network(), node)


def test_read_only_record_directory(plugins: InProcess, node: Node) -> None:
    namespaces.mount("none", "/run", flags=_REMOUNT | _RDONLY)
    assert "/run/cni-plugins" in not_ready(plugins, network(ipam=None), node)


@pytest.mark.parametrize("directory", ["/var/lib/cni", "/run/cni-plugins"])
def test_full_disk(plugins: InProcess, node: Node, directory: str) -> None:
    Path(directory).mkdir(exist_ok=True)
    namespaces.mount("small", directory, "tmpfs")
    node.run(["mount", "-o", "remount,size=8k", directory])
    node.run(["dd", "if=/dev/zero", f"of={directory}/filler", "bs=4k"], check=False)
    said = not_ready(plugins, network(), node)
    assert directory in said
    assert "No space left" in said


def test_missing_delegate_is_named_with_the_path_that_was_searched(plugins: InProcess, node: Node) -> None:
    said = not_ready(plugins, network(ipam={"type": "whereabouts"}), node)
    assert "ipam.type" in said
    assert "whereabouts" in said
    assert str(plugins.directory) in said


def test_delegate_that_is_not_ready_is_passed_on(plugins: InProcess, node: Node, tmp_path: Path) -> None:
    script = tmp_path / "ipam"
    script.write_text('#!/bin/sh\necho \'{"code":50,"msg":"server unreachable","details":"10.0.0.1:53"}\'\nexit 1\n')
    script.chmod(0o755)
    said = not_ready(plugins, network(ipam={"type": "ipam"}), node, path=[tmp_path])
    assert "ipam: server unreachable" in said
    assert "10.0.0.1:53" in said


@pytest.mark.parametrize("conf", [network(ipMasq=True), network("ptp", ipMasq=True), network(macspoofchk=True)], ids=str)
def test_missing_nftables_matters_where_it_is_asked_for(
    plugins: InProcess, *, node: Node, pod: Container, conf: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(calls, "library", missing)
    said = not_ready(plugins, conf, node)
    assert "nftables" in said
    assert "install" in said
    before = node.ledger()
    assert "nftables" in plugins(conf["type"], "ADD", conf, container=pod).error["msg"]
    assert ledger.diff(before, node.ledger(), ignore=(r"node file /run/cni-plugins(/.*)?",)) == []
    plain = {key: value for key, value in conf.items() if key not in ("ipMasq", "macspoofchk")}
    plugins.good(conf["type"], "STATUS", plain, env={"CNI_PATH": plugins.cni_path()})


def test_name_of_the_bridge_taken_by_something_else(plugins: InProcess, node: Node) -> None:
    node.run(["ip", "link", "add", "cni0", "type", "veth", "peer", "name", "end"])
    assert "'cni0'" in not_ready(plugins, network(ipam=None), node)
