"""The real podman on a node, networking its containers by a CNI configuration list."""

from __future__ import annotations

import json
import os
import select
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from tests.support.node import Node

TIMEOUT = 60
APPLETS = ("sh", "sleep", "ping", "ip", "cat", "hostname")
ULIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")


class Podman:
    """podman with its state, images and networks on one node.

    `scratch` is an empty directory for root file systems and configuration; `plugins` holds the CNI plugins.
    """

    def __init__(self, node: Node, *, plugins: Path, scratch: Path, conflist: dict[str, Any]) -> None:
        self.node = node
        self.scratch = scratch
        self.network = conflist["name"]
        self.cgroup = f"cni-plugins-{uuid.uuid4().hex[:8]}"
        networks = scratch / "net.d"
        networks.mkdir()
        (networks / "10-pods.conflist").write_text(json.dumps(conflist))
        self.configuration = scratch / "containers.conf"
        self.configuration.write_text(
            f'[network]\nnetwork_backend = "cni"\ncni_plugin_dirs = ["{plugins}"]\nnetwork_config_dir = "{networks}"\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
        )

    def start(self, name: str) -> str:
        """Run a container of busybox that stays until it is removed; returns its first IPv4 address."""
        root = _busybox(self.scratch / name)
        self.podman(
            "run",
            "--detach",
            "--name",
            name,
            "--network",
            self.network,
            "--cgroup-parent",
            f"/{self.cgroup}",
            *ULIMITS,
            "--rootfs",
            str(root),
            "/bin/sleep",
            "1000",
        )
        shown = json.loads(self.podman("inspect", name))
        return str(shown[0]["NetworkSettings"]["Networks"][self.network]["IPAddress"])

    def run(self, image: str, *words: str, volumes: Mapping[str, Path]) -> str:
        """Run a container of an image to its end, without network; returns what it prints. `volumes`: its paths, and directories there."""
        mounted = [f"--volume={path}:{place}" for place, path in volumes.items()]
        how = ("--rm", "--network=none", f"--cgroup-parent=/{self.cgroup}", *ULIMITS, *mounted)
        return self.podman("run", *how, image, *words)

    def execute(self, name: str, *command: str) -> str:
        """Run a command in a container."""
        return self.podman("exec", name, *command)

    def remove(self, *names: str) -> None:
        """Stop and remove containers, and wait until the processes that watched over them are gone."""
        watchers = [int(pid) for pid in self.podman("inspect", "--format", "{{.State.ConmonPid}}", *names).split()]
        with ExitStack() as open_handles:
            handles = [os.pidfd_open(pid) for pid in watchers]
            for handle in handles:
                open_handles.callback(os.close, handle)
            self.podman("rm", "--force", "--time", "0", *names)
            for handle in handles:
                assert select.select([handle], [], [], TIMEOUT)[0], "conmon did not end"

    def close(self) -> None:
        """Remove what is left of the containers and their control groups, which are not a node's own."""
        self.node.run(self._command(["rm", "--force", "--all", "--time", "0"]), env=self._environment(), check=False)
        for group in sorted(Path("/sys/fs/cgroup").glob(f"*/{self.cgroup}/**/"), reverse=True):
            with suppress(OSError):
                group.rmdir()

    def podman(self, *words: str) -> str:
        """Run one podman command; returns its standard output."""
        return self.node.run(self._command(words), env=self._environment()).stdout

    def _command(self, words: Sequence[str]) -> list[str]:
        return ["podman", "--cgroup-manager=cgroupfs", "--runtime=runc", *words]

    def _environment(self) -> dict[str, str]:
        return {"CONTAINERS_CONF": str(self.configuration)}


def _busybox(root: Path) -> Path:
    """Make a root file system of one static program."""
    for directory in ("bin", "tmp", "proc", "sys", "dev", "etc", "run", "var"):
        (root / directory).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", root / "bin/busybox")
    for applet in APPLETS:
        os.symlink("busybox", root / "bin" / applet)
    return root
