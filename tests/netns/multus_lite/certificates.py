"""Certificates for the tiny Kubernetes API, by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple


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
