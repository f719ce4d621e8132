"""Where the Kubernetes API is, and who we are to it: from a kubeconfig file, or from what a pod finds in itself.

Everything is read anew for each call: tokens and certificates are replaced while nodes run.
"""

from __future__ import annotations

from binascii import Error, a2b_base64

from cni_plugins.kernel import files
from cni_plugins.kernel.https import Server
from cni_plugins.model.frozen import parse_json
from cni_plugins.protocol.errors import DecodeFailure, InvalidConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_UNSUPPORTED = ("exec", "auth-provider", "username")


def server(path: str, environ: Mapping[str, str]) -> Server | None:
    """What the file at `path` says; without one what a pod has; None when there is neither. Raises InvalidConfig, IoFailure."""
    if path:
        return _from_file(path)
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    if not (host and port):
        return None
    found = Server(host, _port(port, "KUBERNETES_SERVICE_PORT"))
    found.ca = _file(f"{SERVICE_ACCOUNT}/ca.crt", "the service account")
    found.token = _file(f"{SERVICE_ACCOUNT}/token", "the service account").decode().strip()
    return found


def _from_file(path: str) -> Server:
    data = _read(path)
    try:
        context = _chosen(data, "contexts", data["current-context"])["context"]
        cluster = _chosen(data, "clusters", context["cluster"])["cluster"]
        user = _chosen(data, "users", context["user"])["user"] or {} if context.get("user") else {}
        found = _server(cluster, path)
        for key in _UNSUPPORTED:
            if user.get(key):
                raise InvalidConfig(f"kubeconfig: {path}: the user has {key!r}", "use a token, a tokenFile or a certificate")
        found.certificate = _given(user, "client-certificate", path)
        found.key = _given(user, "client-key", path)
        found.token = user.get("token") or (_beside(path, user["tokenFile"]).decode().strip() if user.get("tokenFile") else "")
        return found
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidConfig(f"kubeconfig: {path}: incomplete: {error}") from None


def _read(path: str) -> Any:
    """The file as JSON, which costs nothing, or else as YAML. Raises InvalidConfig."""
    text = _file(path, "kubeconfig")
    try:
        return parse_json(text)
    except DecodeFailure:
        import yaml  # type: ignore[import-untyped]

        try:
            return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            raise InvalidConfig(f"kubeconfig: {path}: neither JSON nor YAML: {error}") from None


def _chosen(data: Any, kind: str, name: str) -> Any:
    for entry in data[kind]:
        if entry["name"] == name:
            return entry
    raise KeyError(f"no {name!r} in {kind}")


def _server(cluster: Any, path: str) -> Server:
    """`https://host[:port]`; a path after it is not known to any API server."""
    text: str = cluster["server"]
    scheme, _, rest = text.partition("://")
    place = rest.partition("/")[0]
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        host, port = place, "443" if scheme == "https" else "80"
    if scheme not in ("http", "https") or not host:
        raise InvalidConfig(f"kubeconfig: {path}: server: {text!r} is not https://HOST:PORT")
    found = Server(host.strip("[]"), _port(port, f"kubeconfig: {path}: server"), tls=scheme == "https")
    found.ca = _given(cluster, "certificate-authority", path)
    found.verify = not cluster.get("insecure-skip-tls-verify", False)
    found.name = cluster.get("tls-server-name") or ""
    return found


def _given(entry: Any, key: str, path: str) -> bytes:
    """`key-data` in base64, or else the file that `key` names; empty when there is neither."""
    data = entry.get(f"{key}-data")
    if data:
        try:
            return a2b_base64(data, strict_mode=True)
        except (Error, ValueError):
            raise InvalidConfig(f"kubeconfig: {path}: {key}-data: not base64") from None
    return _beside(path, entry[key]) if entry.get(key) else b""


def _beside(path: str, name: str) -> bytes:
    """A file that a kubeconfig names: a relative path starts at the kubeconfig's directory."""
    return _file(name if name.startswith("/") else f"{path.rpartition('/')[0]}/{name}", f"kubeconfig: {path}")


def _file(path: str, whose: str) -> bytes:
    data = files.read(path)
    if data is None:
        raise InvalidConfig(f"{whose}: there is no {path}")
    return data


def _port(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16):
        raise InvalidConfig(f"{where}: {text!r} is not a port")
    return int(text)
