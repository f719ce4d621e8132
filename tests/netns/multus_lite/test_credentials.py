"""How the plugin shows the API server who it is, and knows the server: kubeconfigs and a pod's own credentials."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from multus_lite import kubeconfig
from tests.netns.multus_lite.api_server import ApiServer
from tests.netns.multus_lite.scene import Scene, leases


@pytest.mark.parametrize("as_yaml", [False, True])
@pytest.mark.parametrize("by", ["token", "token file", "certificate", "certificate data"])
def test_credentials_of_a_kubeconfig(api: ApiServer, scene: Scene, tmp_path: Path, *, by: str, as_yaml: bool) -> None:
    (tmp_path / "token").write_text("the-token-of-the-day\n")
    pems = api.certificates
    users: dict[str, dict[str, Any]] = {
        "token": {"token": "the-token-of-the-day"},
        "token file": {"tokenFile": "token"},
        "certificate": {"client-certificate": str(pems.client), "client-key": str(pems.client_key)},
        "certificate data": {
            "client-certificate-data": base64.b64encode(pems.client.read_bytes()).decode(),
            "client-key-data": base64.b64encode(pems.client_key.read_bytes()).decode(),
        },
    }
    api.kubeconfig(tmp_path / "kubeconfig", user=users[by], as_yaml=as_yaml)
    scene.good("ADD")
    assert api.status()


def test_pods_own_credentials_are_used_where_there_is_no_kubeconfig(
    api: ApiServer, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("the-token-of-the-day")
    (tmp_path / "ca.crt").write_bytes(api.certificates.ca.read_bytes())
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", str(tmp_path))
    env = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.port)}
    scene.good("ADD", kubeconfig="", env=env)
    assert api.status()


@pytest.mark.parametrize(
    ("user", "cluster", "said"),
    [
        ({"token": "yesterdays"}, {}, "401"),
        ({"token": "two\nlines"}, {}, "the token has other characters"),
        ({"exec": {"command": "x"}}, {}, "the user has 'exec'"),
        ({"client-certificate-data": "?"}, {}, "client-certificate-data: not base64"),
        ({"client-certificate-data": "eA==", "client-key-data": "eA=="}, {}, "cannot be read"),
        (None, {"certificate-authority-data": ""}, "its certificate is not to be trusted"),
        (None, {"tls-server-name": "elsewhere"}, "its certificate is not to be trusted"),
        (None, {"tls-server-name": ".elsewhere"}, "it cannot have this name"),
        (None, {"server": "ftp://x"}, "'ftp://x' is not https://HOST:PORT"),
        (None, {"server": f"https://{64 * 'x'}:1"}, "it cannot have this name"),
        (None, {"server": "https://x:y"}, "'y' is not a port"),
    ],
)
def test_kubeconfig_that_cannot_work_is_named(
    api: ApiServer, scene: Scene, tmp_path: Path, *, user: dict[str, Any] | None, cluster: dict[str, Any], said: str
) -> None:
    api.kubeconfig(tmp_path / "kubeconfig", user=user, **cluster)
    error = scene.call("ADD").error
    assert said in error["msg"]
    assert error["code"] == 7
    assert leases() == set()


def test_certificate_of_the_server_can_go_unchecked(api: ApiServer, scene: Scene, tmp_path: Path) -> None:
    unchecked: dict[str, Any] = {"certificate-authority-data": "", "insecure-skip-tls-verify": True}
    api.kubeconfig(tmp_path / "kubeconfig", **unchecked)
    scene.good("ADD")
