"""The lab's container images, made here, so that no registry is needed: busybox, for sandboxes and for pods, and with it an installer
of the plugins as `deploy/Containerfile` has it, whose Python is the one that runs the tests.
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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cni_plugins import VERSION
from tests.support.paths import REPO

NAME = "lab.local/busybox:1"
INSTALLER = f"docker.io/library/cni-plugins:{VERSION}"
APPLETS = ("sh", "sleep", "ip", "ping", "cat", "hostname", "test", "chroot")
LOADED = (
    "import sys; sys.path.insert(0, sys.argv[1]); import node; print(*(m.__file__ for m in sys.modules.values() if hasattr(m, '__file__')))"
)
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
WAIT_FOR_THE_END = ["/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 1000 & wait $!; done"]
MEDIA_TYPE = "application/vnd.oci.image"


def write(path: Path) -> None:
    """Write the image to `path` as an OCI archive (OCI Image Layout 1.0.0). Raises OSError when there is no static busybox."""
    _write(path, NAME, _layer(), WAIT_FOR_THE_END)


def write_installer(path: Path, plugins: Path) -> None:
    """Write the installer's image to `path`, with the executables in `plugins`."""
    entry = [sys._base_executable, "/cni-plugins/node.py"]  # type: ignore[attr-defined]
    _write(path, INSTALLER, _layer(_installer(plugins)), entry)


def _write(path: Path, name: str, layer: bytes, entry: list[str]) -> None:
    config = _json(
        {
            "architecture": ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": {"Entrypoint": entry, "Env": ["PATH=/bin"]},
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
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    index = _json({"schemaVersion": 2, "manifests": [_descriptor(manifest, "manifest.v1+json") | {"annotations": names}]})
    with tarfile.open(path, "w") as archive:
        for blob in (layer, config, manifest):
            _add(archive, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
        _add(archive, "index.json", index)
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')


def _layer(files: Iterable[tuple[str, Path]] = ()) -> bytes:
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
        for name, path in files:
            layer.add(path.resolve() if path.is_symlink() else path, name.lstrip("/"), recursive=False)
    return data.getvalue()


def _installer(plugins: Path) -> Iterator[tuple[str, Path]]:
    """Names in the image, and where each file is: the plugins and their installer, Python, and what both are linked to."""
    for path in plugins.rglob("*"):
        yield f"cni-plugins/bin/{path.relative_to(plugins)}", path
    for name in ("installer.py", "units.py", "node.py"):
        yield f"cni-plugins/{name}", REPO / "packaging" / name
    python = Path(sys._base_executable)  # type: ignore[attr-defined]
    done = subprocess.run([python, "-I", "-S", "-c", LOADED, REPO / "packaging"], capture_output=True, text=True, check=True)
    modules = [Path(file) for file in done.stdout.split() if file != "None"]
    library = [path for path in modules if not path.is_relative_to(REPO)]
    for path in (python, *library, *_libraries({python, *(path for path in library if path.suffix == ".so")})):
        yield str(path), path


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
