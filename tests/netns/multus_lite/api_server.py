"""A tiny Kubernetes API over TLS: as much of one as the plugin asks, with everything that it was asked written down.

It stands in where a test is about what the plugin makes of the answers; `make test-cluster` asks a real API server, RBAC included.
"""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

TOKEN = "the-token-of-the-day"


class Certificates(NamedTuple):
    """A CA, the server's certificate and a client's, each with its key (PEM files)."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


def make_certificates(directory: Path) -> Certificates:
    """Certificates for https://127.0.0.1, by openssl."""
    made = Certificates(*(directory / name for name in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")))
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    ca_key = directory / "ca.key"
    _openssl("req", "-x509", *curve, "-keyout", ca_key, "-out", made.ca, "-subj", "/CN=test CA")
    for path, key, name in ((made.server, made.server_key, "127.0.0.1"), (made.client, made.client_key, "multus")):
        extension = ["-addext", "subjectAltName=IP:127.0.0.1"] if path == made.server else []
        by: list[str | Path] = ["-CA", made.ca, "-CAkey", ca_key]
        _openssl("req", "-x509", *curve, *by, "-keyout", key, "-out", path, "-subj", f"/CN={name}", *extension)
    return made


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class ApiServer:
    """Serves `pods` and `definitions` by (namespace, name). `asked` are the requests as "VERB path", `events` and `patches` what came.

    `unwell` are pairs of a text and a status: the next request that has the text in it gets the status, or no answer for 0. `hold` makes
    it take requests and never answer.
    """

    def __init__(self, certificates: Certificates) -> None:
        self.certificates = certificates
        self.pods: dict[tuple[str, str], dict[str, Any]] = {}
        self.definitions: dict[tuple[str, str], dict[str, Any]] = {}
        self.asked: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.patches: list[dict[str, Any]] = []
        self.unwell: list[tuple[str, int]] = []
        self.hold = threading.Event()
        self.released = threading.Event()
        self.start()

    def start(self, port: int = 0) -> None:
        """Listen, on any port."""
        self._server = _Listener(("127.0.0.1", port), _Handler)
        self._server.api = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificates.server, self.certificates.server_key)
        context.load_verify_locations(self.certificates.ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def kubeconfig(self, path: Path, *, user: dict[str, Any] | None = None, as_yaml: bool = False, **cluster: Any) -> Path:
        """Write a kubeconfig for this server, in JSON unless told otherwise."""
        ca = base64.b64encode(self.certificates.ca.read_bytes()).decode()
        data = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": self.url, "certificate-authority-data": ca, **cluster}}],
            "users": [{"name": "u", "user": {"token": TOKEN} if user is None else user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path.write_text(_yaml(data) if as_yaml else json.dumps(data))
        return path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"

    def pod(self, name: str = "web", namespace: str = "default", *, uid: str = "uid-1", **annotations: str) -> None:
        """Make a pod; the names of annotations may have _ for what Python's names cannot have."""
        self.pods[namespace, name] = {
            "metadata": {"name": name, "namespace": namespace, "uid": uid, "annotations": annotations},
        }

    def annotate(self, text: str | list[Any], *, key: str = "k8s.v1.cni.cncf.io/networks") -> None:
        """Write an annotation on the pod default/web, making it if need be."""
        if ("default", "web") not in self.pods:
            self.pod()
        value = text if isinstance(text, str) else json.dumps(text)
        self.pods["default", "web"]["metadata"]["annotations"][key] = value

    def define(self, name: str, config: Any, *, namespace: str = "default", resource: str = "") -> None:
        """Make a NetworkAttachmentDefinition."""
        annotations = {"k8s.v1.cni.cncf.io/resourceName": resource} if resource else {}
        text = config if isinstance(config, str) else json.dumps(config)
        metadata = {"name": name, "namespace": namespace, "annotations": annotations}
        self.definitions[namespace, name] = {"metadata": metadata, "spec": {"config": text}}

    def status(self, name: str = "web", namespace: str = "default") -> list[dict[str, Any]]:
        """The network status on a pod. Raises KeyError when there is none."""
        text = self.pods[namespace, name]["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"]
        status: list[dict[str, Any]] = json.loads(text)
        return status


def _yaml(data: Any) -> str:
    import yaml  # type: ignore[import-untyped]

    text: str = yaml.safe_dump(data)
    return text


class _Listener(ThreadingHTTPServer):
    api: ApiServer
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, ssl.SSLError):
            self.close_connection = True

    def answer(self, status: int, data: Any) -> None:
        text = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def refused(self, status: int, message: str) -> None:
        self.answer(status, {"kind": "Status", "status": "Failure", "message": message, "code": status})

    def admitted(self) -> bool:
        """Whether to go on: somebody known asks, and the server is well."""
        api = self.server.api
        if api.hold.is_set():
            api.released.wait()
            self.close_connection = True
            return False
        api.asked.append(f"{self.command} {self.path}")
        if api.unwell and api.unwell[0][0] in api.asked[-1]:
            status = api.unwell.pop(0)[1]
            if status:
                self.refused(status, "not well")
            self.close_connection = not status
            return False
        assert isinstance(self.connection, ssl.SSLSocket)
        known = self.headers["Authorization"] == f"Bearer {TOKEN}" or bool(self.connection.getpeercert())
        if not known:
            self.refused(401, "Unauthorized")
        return known

    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return found

    def do_GET(self) -> None:
        if self.admitted():
            parts = self.path.split("/")
            kinds = {"pods": self.server.api.pods, "network-attachment-definitions": self.server.api.definitions}
            found = kinds.get(parts[-2], {}).get((parts[-3], parts[-1]))
            if found is None:
                self.refused(404, "not found")
            else:
                self.answer(200, found)

    def do_PATCH(self) -> None:
        body = self.body()
        if self.admitted():
            _, _, _, _, namespace, _, name, sub = self.path.split("/")
            pod = self.server.api.pods.get((namespace, name))
            if pod is None or sub != "status":
                self.refused(404, "not found")
            elif body["metadata"].get("uid") not in (None, pod["metadata"]["uid"]):
                self.refused(409, "the UID in the precondition does not match")
            else:
                self.server.api.patches.append(body)
                pod["metadata"]["annotations"] |= body["metadata"]["annotations"]
                self.answer(200, pod)

    def do_POST(self) -> None:
        body = self.body()
        if self.admitted():
            self.server.api.events.append(body)
            self.answer(201, body)

    def log_message(self, *_: Any) -> None:
        pass
