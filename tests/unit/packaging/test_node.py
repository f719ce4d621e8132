"""packaging/node.py: a node gets its new network whole or keeps the one that it had, and has the old one again afterwards."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import node
import pytest

FLANNEL = {
    "cniVersion": "1.0.0",
    "name": "cbr0",
    "plugins": [{"type": "flannel"}, {"type": "portmap", "capabilities": {"portMappings": True}}],
}
OTHER = {"cniVersion": "1.0.0", "name": "other", "type": "bridge"}


class Host:
    """A node's files under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.directory = root / node.NETWORKS
        self.directory.mkdir(parents=True)

    def put(self, name: str, conf: Any) -> None:
        """A network's file, as somebody else writes it."""
        (self.directory / name).write_text(conf if isinstance(conf, str) else json.dumps(conf))

    @property
    def names(self) -> list[str]:
        """The files that a runtime may choose from; it takes the first."""
        return sorted(path.name for path in self.directory.iterdir())

    @property
    def plugin(self) -> dict[str, Any]:
        """What is published: multus-lite's configuration."""
        data: dict[str, Any] = json.loads((self.directory / node.OURS).read_bytes())["plugins"][0]
        return data

    @property
    def primary(self) -> Any:
        """The network that it has as its primary one."""
        return json.loads((self.root / self.plugin["clusterNetwork"].lstrip("/")).read_bytes())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A node with flannel's network, and with another one that comes after it."""
    host = Host(tmp_path / "host")
    host.put("10-flannel.conflist", FLANNEL)
    host.put("87-other.conf", OTHER)
    return host


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the kubelet gives a pod."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    directory = tmp_path / "serviceaccount"
    directory.mkdir()
    (directory / "ca.crt").write_text("an authority")
    (directory / "token").write_text("first\n")
    return directory


def test_the_network_that_a_runtime_would_choose_becomes_the_primary_one(host: Host) -> None:
    node.publish(host.root)
    assert host.names == [node.OURS, "87-other.conf"]
    assert host.primary == FLANNEL
    assert host.plugin["capabilities"] == {"portMappings": True}


def test_another_network_is_left_alone_also_when_it_is_the_only_one_beside_ours(host: Host) -> None:
    node.publish(host.root)
    before = host.names
    assert node.publish(host.root) == ""
    assert (host.names, host.primary) == (before, FLANNEL)


def test_a_primary_network_that_its_daemon_writes_again_is_taken_in(host: Host) -> None:
    node.publish(host.root)
    changed = {**FLANNEL, "cniVersion": "0.4.0"}
    host.put("10-flannel.conflist", changed)
    node.publish(host.root)
    assert (host.names, host.primary) == ([node.OURS, "87-other.conf"], changed)


def test_a_network_that_sorts_before_the_primary_one_takes_its_place(host: Host) -> None:
    node.publish(host.root)
    host.put("05-new.conf", OTHER)
    node.publish(host.root)
    assert (host.names, host.primary) == ([node.OURS, "87-other.conf"], OTHER)
    assert [path.name for path in (host.root / node.CONF_DIR).iterdir()] == ["05-new.conf"]


def test_a_configuration_of_real_multus_is_not_wrapped(host: Host) -> None:
    host.put("00-multus.conf", {"name": "multus-cni-network", "type": "multus", "clusterNetwork": "/x"})
    node.publish(host.root)
    assert host.primary == FLANNEL
    assert host.names[:2] == [node.OURS, "00-multus.conf"]


def test_without_any_network_nothing_is_published(tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    assert node.publish(host.root) == ""
    assert host.names == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": "x", "plugins": []}'])
def test_a_network_that_cannot_be_used_is_named_and_changes_nothing(host: Host, text: str) -> None:
    node.publish(host.root)
    before = host.plugin
    host.put("10-flannel.conflist", text)
    with pytest.raises(node.NodeError, match=r"10-flannel\.conflist"):
        node.publish(host.root)
    assert (host.plugin, host.primary) == (before, FLANNEL)


@pytest.mark.parametrize("step", range(1, 4))
def test_a_runtime_never_sees_the_primary_network_first_once_ours_is_published_whatever_step_fails(
    host: Host, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    left = step

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError("power")
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing(Path.replace))
        patch.setattr(Path, "unlink", failing(Path.unlink))
        with pytest.raises(OSError, match="power"):
            node.publish(host.root)
    if node.OURS in host.names:
        assert host.names[0] == node.OURS
        assert host.primary == FLANNEL
    else:
        assert json.loads((host.directory / "10-flannel.conflist").read_bytes()) == FLANNEL
    node.publish(host.root)
    assert (host.names, host.primary) == ([node.OURS, "87-other.conf"], FLANNEL)


def test_afterwards_the_directory_is_as_it_was(host: Host) -> None:
    before = {name: (host.directory / name).read_bytes() for name in host.names}
    node.publish(host.root)
    node.restore(host.root)
    assert {name: (host.directory / name).read_bytes() for name in host.names} == before
    assert list((host.root / node.CONF_DIR).iterdir()) == []
    assert node.restore(host.root) == ""


def test_what_the_primary_networks_daemon_has_written_since_is_not_overwritten(host: Host) -> None:
    node.publish(host.root)
    changed = {**FLANNEL, "cniVersion": "0.4.0"}
    host.put("10-flannel.conflist", changed)
    node.restore(host.root)
    assert json.loads((host.directory / "10-flannel.conflist").read_bytes()) == changed


def test_credentials_are_for_root_alone_and_follow_those_of_the_pod(host: Host, credentials: Path) -> None:
    assert node.refresh(host.root, credentials=credentials)
    path = host.root / node.KUBECONFIG
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_bytes())["users"][0]["user"] == {"token": "first"}
    assert not node.refresh(host.root, credentials=credentials)
    (credentials / "token").write_text("second")
    os.chmod(path, 0o644)
    assert node.refresh(host.root, credentials=credentials)
    assert json.loads(path.read_bytes())["users"][0]["user"] == {"token": "second"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_outside_a_pod_it_says_so(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(node.NodeError, match="has to run in a pod"):
        node.refresh(host.root)
