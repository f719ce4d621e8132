"""A tiny Kubernetes API over TLS: as much of one as the plugin asks, with everything that it was asked written down.

It stands in where a test is about what the plugin makes of the answers; `make test-cluster` asks a real API server, RBAC included.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.netns.multus_lite.api_history import History
from tests.netns.multus_lite.certificates import Certificates

TOKEN = "the-token-of-the-day"


class ApiServer:
    """Serves `pods` and `definitions` by (namespace, name). `asked` are the requests as "VERB path", `events` and `patches` what came.

    `unwell` are pairs of a text and a status: the next request that has the text in it gets the status, or no answer for 0. `hold` makes
    it take requests and never answer; `held` counts these.

    Unless it is `watchable`, nobody may list or watch. `watches` are the requests of those who try.
    `connections` counts those that asked for something else.
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
        self.kinds = {"pods": self.pods, "network-attachment-definitions": self.definitions}
        self.watchable = False
        self.watches: list[str] = []
        self.connections = self.held = 0
        self.history = History()
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
        """Stop listening, and cut every connection."""
        self.history.end_watches()
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.cut()
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
        metadata = {"name": name, "namespace": namespace, "uid": uid, "annotations": annotations}
        self.put("pods", {"metadata": metadata})

    def annotate(self, text: str | list[Any], *, key: str = "k8s.v1.cni.cncf.io/networks") -> None:
        """Write an annotation on the pod default/web, making it if need be."""
        if ("default", "web") not in self.pods:
            self.pod()
        value = text if isinstance(text, str) else json.dumps(text)
        pod = self.pods["default", "web"]
        self.put("pods", {"metadata": {**pod["metadata"], "annotations": {**pod["metadata"]["annotations"], key: value}}})

    def define(self, name: str, config: Any, *, namespace: str = "default", resource: str = "") -> None:
        """Make a NetworkAttachmentDefinition."""
        annotations = {"k8s.v1.cni.cncf.io/resourceName": resource} if resource else {}
        text = config if isinstance(config, str) else json.dumps(config)
        metadata = {"name": name, "namespace": namespace, "annotations": annotations}
        self.put("network-attachment-definitions", {"metadata": metadata, "spec": {"config": text}})

    def remove(self, name: str, namespace: str = "default") -> None:
        """Remove the pod, or else the definition, of this name."""
        kind = "pods" if (namespace, name) in self.pods else "network-attachment-definitions"
        self.history.tell(kind, "DELETED", self.kinds[kind].pop((namespace, name)))

    def put(self, kind: str, one: dict[str, Any]) -> None:
        """Make an object, or give it another content."""
        name = (one["metadata"]["namespace"], one["metadata"]["name"])
        known = name in self.kinds[kind]
        self.kinds[kind][name] = one
        self.history.tell(kind, "MODIFIED" if known else "ADDED", one)

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

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.open: set[socket.socket] = set()

    def cut(self) -> None:
        """End what has been accepted: a process that ends closes it."""
        for one in self.open.copy():
            with suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    first = True

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        with suppress(OSError):
            super().finish()

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
        if self.is_held():
            return False
        api.asked.append(f"{self.command} {self.path}")
        api.connections += self.first
        self.first = False
        if api.unwell and api.unwell[0][0] in api.asked[-1]:
            status = api.unwell.pop(0)[1]
            if status:
                self.refused(status, "not well")
            self.close_connection = not status
            return False
        if not self.known():
            self.refused(401, "Unauthorized")
            return False
        return True

    def is_held(self) -> bool:
        """Whether nobody is answered, after a wait until the end."""
        api = self.server.api
        if api.hold.is_set():
            api.held += 1
            api.released.wait()
            self.close_connection = True
            return True
        return False

    def known(self) -> bool:
        """Whether it is somebody whom we know."""
        assert isinstance(self.connection, ssl.SSLSocket)
        return self.headers["Authorization"] == f"Bearer {TOKEN}" or bool(self.connection.getpeercert())

    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return found

    def do_GET(self) -> None:
        api = self.server.api
        url = urlsplit(self.path)
        parts = url.path.split("/")
        if parts[-1] in api.kinds:
            self.collection(parts[-1], dict(parse_qsl(url.query)))
        elif self.admitted():
            found = api.kinds.get(parts[-2], {}).get((parts[-3], parts[-1]))
            if found is None:
                self.refused(404, "not found")
            else:
                self.answer(200, found)

    def collection(self, kind: str, query: dict[str, str]) -> None:
        """List, or watch."""
        api = self.server.api
        api.watches.append(self.path)
        self.close_connection = True
        if self.is_held():
            return
        if not self.known():
            self.refused(401, "Unauthorized")
        elif not api.watchable:
            self.refused(403, f"{kind} is forbidden")
        elif "watch" not in query:
            self.answer(200, {"metadata": {"resourceVersion": str(api.history.version)}, "items": list(api.kinds[kind].values())})
        else:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in api.history.since(int(query["resourceVersion"]), kind):
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")

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
                annotations = {**pod["metadata"]["annotations"], **body["metadata"]["annotations"]}
                self.server.api.put("pods", {"metadata": {**pod["metadata"], "annotations": annotations}})
                self.answer(200, pod)

    def do_POST(self) -> None:
        body = self.body()
        if self.admitted():
            self.server.api.events.append(body)
            self.answer(201, body)

    def log_message(self, *_: Any) -> None:
        pass
