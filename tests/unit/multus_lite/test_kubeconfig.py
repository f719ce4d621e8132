"""Where the Kubernetes API is, by a kubeconfig file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.kernel.https import Server
from cni_plugins.protocol.errors import InvalidConfig
from multus_lite import kubeconfig


def write(path: Path, *, server: str = "https://10.96.0.1:6443", **changes: Any) -> str:
    """A kubeconfig with one of each."""
    data = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
        **changes,
    }
    path.write_text(json.dumps(data))
    return str(path)


def found(path: str) -> Server:
    """What the file says."""
    one = kubeconfig.server(path, {})
    assert one is not None
    return one


@pytest.mark.parametrize(
    ("server", "host", "port", "tls"),
    [
        ("https://10.96.0.1:6443", "10.96.0.1", 6443, True),
        ("https://10.96.0.1", "10.96.0.1", 443, True),
        ("http://localhost:8080/", "localhost", 8080, False),
        ("https://[fd00::1]:443", "fd00::1", 443, True),
        ("https://[fd00::1]", "fd00::1", 443, True),
    ],
)
def test_server_is_found(tmp_path: Path, *, server: str, host: str, port: int, tls: bool) -> None:
    one = found(write(tmp_path / "k", server=server))
    assert (one.host, one.port, one.tls, one.verify) == (host, port, tls, True)


def test_token_is_read_anew_for_each_call(tmp_path: Path) -> None:
    path = write(tmp_path / "k", users=[{"name": "u", "user": {"tokenFile": "token"}}])
    for token in ("yesterday", "today"):
        (tmp_path / "token").write_text(f"{token}\n")
        assert found(path).token == token


def test_user_may_be_missing(tmp_path: Path) -> None:
    assert found(write(tmp_path / "k", contexts=[{"name": "x", "context": {"cluster": "c"}}])).token == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"current-context": "y"}, "no 'y' in contexts"),
        ({"current-context": None}, "no None in contexts"),
        ({"clusters": []}, "no 'c' in clusters"),
        ({"clusters": [{"name": "c", "cluster": {}}]}, "'server'"),
        ({"users": None}, "incomplete"),
        ({"users": [{"name": "u", "user": {"username": "x", "password": "y"}}]}, "the user has 'username'"),
        ({"users": [{"name": "u", "user": {"tokenFile": "missing"}}]}, "/missing"),
    ],
)
def test_incomplete_file_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        kubeconfig.server(write(tmp_path / "k", **changes), {})
    assert said in caught.value.msg


def test_file_that_is_neither_json_nor_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("{: : ]")
    with pytest.raises(InvalidConfig, match="neither JSON nor YAML"):
        kubeconfig.server(str(tmp_path / "k"), {})


def test_without_a_file_and_outside_of_a_pod_the_api_is_not_asked() -> None:
    assert kubeconfig.server("", {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}) is None
