"""The lab's container images, made here, so that no registry is needed: busybox, for sandboxes and for pods, and the installer of the
plugins, which podman builds from `deploy/Containerfile` over a base image of busybox and the Python that runs the tests.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cni_plugins import VERSION
from tests.e2e.podman import Podman
from tests.support.node import Node
from tests.support.paths import REPO

NAME = "lab.local/busybox:1"
BASE, INSTALLER = "lab.local/python:1", f"docker.io/library/cni-plugins:{VERSION}"
CONTAINERFILE = REPO / "deploy" / "Containerfile"
APPLETS = ("sh", "sleep", "ip", "ping", "cat", "hostname", "test", "chroot")
LOADED = (
    "import sys; sys.path.insert(0, sys.argv[1]); import node; print(*(m.__file__ for m in sys.modules.values() if hasattr(m, '__file__')))"
)
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
WAIT_FOR_THE_END = ["/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 1000 & wait $!; done"]
MEDIA_TYPE = "application/vnd.oci.image"


def write(path: Path) -> None:
    """Write the image of busybox to `path` as an OCI archive (OCI Image Layout 1.0.0). Raises OSError when there is no static busybox."""
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


def write_installer(path: Path, plugins: Path) -> None:
    """Write the installer's image to `path` as an OCI archive, with the executables in `plugins`."""
    with tempfile.TemporaryDirectory() as scratch, podman_for_images(Path(scratch)) as podman:
        build_installer(podman, plugins)
        podman.podman("save", "--quiet", "--format=oci-archive", f"--output={path}", INSTALLER)


@contextmanager
def podman_for_images(scratch: Path) -> Iterator[Podman]:
    """podman with images of its own, on a node of its own. `scratch` is an empty directory."""
    node = Node("builder")
    try:
        podman = Podman(node, plugins=scratch, scratch=scratch, conflist={"cniVersion": "1.0.0", "name": "none", "plugins": []})
        try:
            yield podman
        finally:
            podman.close()
    finally:
        node.close()


def build_installer(podman: Podman, plugins: Path) -> None:
    """Have podman build INSTALLER as deploy/Containerfile says, from a tree with the executables in `plugins`, over a base made here."""
    tree, base = podman.scratch / "tree", podman.scratch / "base.tar"
    shutil.copytree(plugins, tree / "dist" / "bin")
    shutil.copytree(REPO / "packaging", tree / "packaging", ignore=shutil.ignore_patterns("__pycache__"))
    base.write_bytes(_base())
    podman.podman("import", "--quiet", str(base), BASE)
    podman.podman("build", "--quiet", f"--build-arg=BASE={BASE}", f"--file={CONTAINERFILE}", f"--tag={INSTALLER}", str(tree))


def _layer(files: Iterable[Path] = (), *, python: Path | None = None) -> bytes:
    """An image's only layer: busybox, files of this machine in the places that they have here, and `python`, one of them, as python3."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as layer:
        for name in ("bin", "tmp"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o777
            layer.addfile(directory)
        _add(layer, "bin/busybox", Path(shutil.which("busybox") or "/bin/busybox").read_bytes(), mode=0o755)
        for path in files:
            layer.add(path.resolve(), str(path).lstrip("/"), recursive=False)
        for name, target in (*((applet, "busybox") for applet in APPLETS), *([("python3", str(python))] if python else [])):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, target
            layer.addfile(link)
    return data.getvalue()


def _base() -> bytes:
    """The layer of an image that has this Python, the modules that the installer needs, and what both are linked to."""
    python = Path(sys._base_executable)  # type: ignore[attr-defined]
    done = subprocess.run([python, "-I", "-S", "-c", LOADED, REPO / "packaging"], capture_output=True, text=True, check=True)
    library = {Path(file) for file in done.stdout.split() if file != "None" and not Path(file).is_relative_to(REPO)}
    linked = _libraries({python, *(path for path in library if path.suffix == ".so")})
    return _layer({python} | library | linked, python=python)


def _libraries(programs: set[Path]) -> set[Path]:
    """The shared libraries that programs need, with the program that loads them."""
    done = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False)
    return {Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", done.stdout, re.MULTILINE)}


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
