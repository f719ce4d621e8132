"""A real etcd on a node of the tests."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2

from tests.support.node import Node
from vxlan.leases.etcd_gateway import EtcdAccess

READY = "ready to serve"
SECONDS = 60


class Etcd:
    """One member; started when made. Files are kept in `directory`, so that it can be stopped and started again.

    `cluster` has the peer URL of each member by name, when there are several. `options` are added to its command line. The test itself
    uses `admin`, a second address that stays open when the first is cut off.
    """

    def __init__(
        self,
        node: Node,
        directory: Path,
        *,
        port: int = 2379,
        name: str = "one",
        cluster: dict[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.node = node
        self.port = port
        secure = any(option.startswith("--cert-file") for option in options)
        self.url = f"{'https' if secure else 'http'}://127.0.0.1:{port}"
        self.admin = self.url.replace(str(port), str(port + 2))
        peers = cluster or {name: f"http://127.0.0.1:{port + 1}"}
        self._command = ["etcd", "--name", name, "--data-dir", str(directory / name), "--unsafe-no-fsync"]
        self._command += ["--listen-client-urls", f"{self.url},{self.admin}", "--advertise-client-urls", self.url]
        self._command += ["--listen-peer-urls", peers[name], "--initial-advertise-peer-urls", peers[name]]
        self._command += ["--initial-cluster", ",".join(f"{one}={url}" for one, url in peers.items()), *options]
        self._process: subprocess.Popen[str] | None = None
        self._lines: list[str] = []
        self.start(wait=len(peers) == 1)

    @property
    def access(self) -> EtcdAccess:
        """How our store reaches it."""
        return EtcdAccess([self.url])

    def start(self, *, wait: bool = True) -> None:
        """Start it; with `wait` until it serves clients."""
        self._ready = threading.Event()
        self._process = self.node.popen(self._command)
        for pipe in (self._process.stdout, self._process.stderr):
            threading.Thread(target=self._drain, args=(pipe,), daemon=True).start()
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait until it serves clients."""
        assert self._ready.wait(SECONDS), "etcd does not start:\n" + "".join(self._lines[-20:])

    def _drain(self, pipe: Any) -> None:
        with suppress(ValueError):  # the node's end closes the pipe
            for line in pipe:
                self._lines.append(line)
                if READY in line:
                    self._ready.set()

    def stop(self) -> None:
        """End it at once, as a crash does."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def call(self, path: str, request: dict[str, Any], **client: Any) -> dict[str, Any]:
        """Ask its gateway."""
        with httpx2.Client(trust_env=False, timeout=SECONDS, **client) as http:
            answer = http.post(self.admin + path, json=request)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def put(self, key: str, value: str | bytes, **more: str) -> int:
        """Write a key and return the revision."""
        data = value.encode() if isinstance(value, str) else value
        request = {"key": b64encode(key.encode()).decode(), "value": b64encode(data).decode(), **more}
        return int(self.call("/v3/kv/put", request)["header"]["revision"])

    def configure(self, **config: Any) -> None:
        """Write the network's configuration."""
        self.put("/coreos.com/network/config", json.dumps(config))

    def delete(self, key: str) -> None:
        """Remove a key."""
        self.call("/v3/kv/deleterange", {"key": b64encode(key.encode()).decode()})

    def entries(self, prefix: str = "/coreos.com/network/subnets/") -> dict[str, dict[str, Any]]:
        """Everything under a prefix: what remains of the key, to etcd's own entry with its value as bytes."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        request = {"key": b64encode(prefix.encode()).decode(), "range_end": b64encode(end.encode()).decode()}
        found = self.call("/v3/kv/range", request).get("kvs", [])
        return {b64decode(one["key"]).decode().removeprefix(prefix): {**one, "value": b64decode(one.get("value", ""))} for one in found}

    def revision(self) -> int:
        """The revision that it is at."""
        return int(self.call("/v3/kv/range", {"key": b64encode(b"/").decode()})["header"]["revision"])

    def compact(self) -> None:
        """Forget everything before now."""
        self.call("/v3/kv/compaction", {"revision": str(self.revision()), "physical": True})


class Authority:
    """A certificate authority made with openssl: `ca`, and by `issue` certificates with their keys, as paths of PEM files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = directory / "ca.pem"
        _openssl(*_new_key(directory / "ca.key"), "-x509", "-out", self.ca, "-subj", "/CN=authority", "-days", "2")

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate for 127.0.0.1 that is good for a server and for a client."""
        certificate, key, request = (self.directory / f"{name}.{end}" for end in ("pem", "key", "csr"))
        extensions = self.directory / "extensions"
        extensions.write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
        _openssl(*_new_key(key), "-out", request, "-subj", f"/CN={name}")
        signed_by = ("-CA", self.ca, "-CAkey", self.directory / "ca.key", "-CAcreateserial")
        _openssl("x509", "-req", "-in", request, "-out", certificate, "-days", "2", "-extfile", extensions, *signed_by)
        return certificate, key

    def client(self, name: str) -> ssl.SSLContext:
        """How a client with a certificate of ours speaks."""
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(*self.issue(name))
        return context


def _new_key(path: Path) -> tuple[str | Path, ...]:
    return ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path)


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
