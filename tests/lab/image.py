"""The one container image of the lab, for sandboxes and for containers: busybox, made here, so that no registry is needed."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import tarfile
from pathlib import Path
from typing import Any

NAME = "lab.local/busybox:1"
APPLETS = ("sh", "sleep", "ip", "ping", "cat", "hostname")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
WAIT_FOR_THE_END = ["/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 1000 & wait $!; done"]
MEDIA_TYPE = "application/vnd.oci.image"


def write(path: Path) -> None:
    """Write the image to `path` as an OCI archive (OCI Image Layout 1.0.0). Raises OSError when there is no static busybox."""
    layer = _layer()
    config = _json(
        {
            "architecture": ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": {"Entrypoint": WAIT_FOR_THE_END, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{MEDIA_TYPE}.manifest.v1+json",
            "config": _descriptor(config, "config.v1+json"),
            "layers": [_descriptor(layer, "layer.v1.tar")],
        }
    )
    names = {"io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": NAME}
    index = _json({"schemaVersion": 2, "manifests": [_descriptor(manifest, "manifest.v1+json") | {"annotations": names}]})
    with tarfile.open(path, "w") as archive:
        for blob in (layer, config, manifest):
            _add(archive, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
        _add(archive, "index.json", index)
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')


def _layer() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as layer:
        for name in ("bin", "tmp"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o777
            layer.addfile(directory)
        _add(layer, "bin/busybox", Path(shutil.which("busybox") or "/bin/busybox").read_bytes(), mode=0o755)
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            layer.addfile(link)
    return data.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes, *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _descriptor(blob: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": f"{MEDIA_TYPE}.{kind}", "digest": _digest(blob), "size": len(blob)}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
