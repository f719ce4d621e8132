"""A node to test on: a machine in miniature, made of namespaces, in about two milliseconds.

    with Node() as node:                                   # this thread is on the node until the end of the block
        pod = node.container("pod")
        host = node.outside()                              # 192.0.2.1, 2001:db8::1; knows nothing of the pods' networks
        answer = node.cni("bridge", "ADD", conf, container=pod).result
        pod.run(["ping", "-c1", "192.0.2.1"])

A node has its own network, mount and UTS namespace, empty state directories (/run, /var/lib/cni, /etc/cni, /opt/cni, …) and its own
/sys. Everything else, /tmp and the source tree included, is the machine's. Nothing done on it changes the machine's network.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from conformance import ledger, namespaces
from conformance.netns import Container, Outside
from conformance.outcome import Outcome

PLUGIN_DIR = Path("/opt/cni/bin")
PRIVATE_DIRECTORIES = ("/run", "/var/lib/cni", "/var/lib/containers", "/etc/cni", "/opt/cni")
TIMEOUT = 60


class LeftBehind(AssertionError):
    """Processes that the test did not start itself were still running on the node at its end."""


class Node:
    """One node; see the module's text. Use it as a context manager, or call `enter()` and at last `close()`.

    `name` is its host name. `plugin_dir` holds the executables that `cni` runs when it is not told otherwise. `keep` are directories
    that are the machine's also where the node has one of its own above them (absolute paths).
    """

    def __init__(self, name: str = "node", *, plugin_dir: Path = PLUGIN_DIR, keep: Sequence[Path] = ()) -> None:
        self.name = name
        self.plugin_dir = plugin_dir
        self.keep = keep
        self.containers: dict[str, Container] = {}
        self._outside: list[Outside] = []
        self._started: list[subprocess.Popen[str]] = []
        self._here = ExitStack()
        with namespaces.elsewhere():
            namespaces.unshare(namespaces.CLONE_NEWNET | namespaces.CLONE_NEWNS | namespaces.CLONE_NEWUTS)
            self._furnish()
            self._namespaces = namespaces.Namespaces()

    def _furnish(self) -> None:
        namespaces.mount("none", "/", flags=namespaces.MS_REC | namespaces.MS_PRIVATE)
        socket.sethostname(self.name)
        kept = {directory: os.open(directory, os.O_PATH | os.O_CLOEXEC) for directory in self.keep if _hidden(directory)}
        for directory in PRIVATE_DIRECTORIES:
            os.makedirs(directory, exist_ok=True)
            namespaces.mount("node", directory, "tmpfs")
        os.mkdir("/run/cgroup")
        namespaces.mount("/sys/fs/cgroup", "/run/cgroup", flags=namespaces.MS_BIND | namespaces.MS_REC)
        namespaces.mount("sysfs", "/sys", "sysfs")  # /sys/class/net shows the network namespace that mounted it
        namespaces.mount("/run/cgroup", "/sys/fs/cgroup", flags=namespaces.MS_MOVE)
        os.rmdir("/run/cgroup")
        for directory in ("/run/netns", "/run/lock", "/etc/cni/net.d", "/opt/cni/bin"):
            os.mkdir(directory)
        for path, handle in kept.items():
            os.makedirs(path, exist_ok=True)
            namespaces.mount(f"/proc/thread-self/fd/{handle}", str(path), flags=namespaces.MS_BIND)
            os.close(handle)
        namespaces.loopback_up()

    @property
    def started(self) -> set[int]:
        """The numbers of the processes that `popen` has started."""
        return {process.pid for process in self._started}

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be on the node for the length of a block; may be nested."""
        with namespaces.elsewhere():
            self._namespaces.enter()
            yield

    def enter(self) -> None:
        """Move the calling thread onto the node until `leave()`."""
        self._here.enter_context(self.inside())

    def leave(self) -> None:
        """Move the thread that entered back to where it was. Raises RuntimeError when it cannot."""
        self._here.close()

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave, end every process on the node, and remove it.

        Raises LeftBehind, after that, when there were processes that do not belong to one started by `popen` (these just end).
        """
        self.leave()
        groups = {process.pid for process in self._started}
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    pipe.close()
        left = {pid: command for pid, command in self.processes().items() if not _end(pid) & groups}
        for host in self._outside:
            host.close()
        self._namespaces.close()
        if left:
            raise LeftBehind("left running on the node: " + "; ".join(f"{pid} ({command})" for pid, command in left.items()))

    def processes(self) -> dict[int, str]:
        """The processes on the node, in its containers and outside hosts, the test's own apart: number to command line."""
        networks = {self._namespaces.identity("net")} | {n.identity for n in (*self.containers.values(), *self._outside)}
        return namespaces.processes_in({"mnt": {self._namespaces.identity("mnt")}, "net": networks})

    def popen(
        self, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, within: AbstractContextManager[None] | None = None
    ) -> subprocess.Popen[str]:
        """Start a process on the node with pipes for its standard streams; the node's end ends it.

        `env` is added to the environment; `within` is a context to start it in (a container's), the node itself if None.
        """
        with within or self.inside():
            process = subprocess.Popen(
                [str(word) for word in command],
                env={**os.environ, **(env or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def run(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        input: str | None = None,  # noqa: A002 - named as in subprocess.run
        within: AbstractContextManager[None] | None = None,
        timeout: float = TIMEOUT,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the node. `env` is added to the environment, `timeout` is in seconds.

        Raises AssertionError with the output when `check` is set and the command fails.
        """
        with within or self.inside():
            done = subprocess.run(
                [str(word) for word in command],
                env={**os.environ, **(env or {})},
                input=input,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        shown = " ".join(map(str, command))
        assert done.returncode == 0 or not check, f"{shown}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def container(self, name: str = "pod") -> Container:
        """Make a container: a network namespace at /run/netns/NAME, as bare as a runtime hands it over (`lo` is down)."""
        return Container(self, name)

    def outside(self, name: str = "outside", *, subnets: Sequence[str] = ("192.0.2", "2001:db8:")) -> Outside:
        """Make a host that the node reaches over a cable, the node's default gateway, with no route to the pods' networks.

        `subnets` are the leading parts of a /24 and of a /64; the host is .1 and ::1 in it, the node .2 and ::2.
        """
        host = Outside(self, name, subnets)
        self._outside.append(host)
        return host

    def ledger(self, *, directories: Sequence[str] = ledger.DIRECTORIES) -> ledger.Snapshot:
        """Write down everything that is on the node and in its containers; see `conformance.ledger`."""
        with self.inside():
            return ledger.take({name: container.path for name, container in self.containers.items()}, directories=directories)

    def cni(
        self,
        plugin: str | Path,
        verb: str,
        conf: Mapping[str, Any] | str,
        *,
        container: Container | None = None,
        ifname: str = "eth0",
        args: str = "",
        path: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> Outcome:
        """Execute a plugin as a runtime does (SPEC 1.1.0, "Execution Protocol").

        `plugin` is a name in `plugin_dir`, or a path. `conf` is one plugin's configuration, text as it is. `env` comes last: it adds
        variables and replaces CNI_* ones. An environment variable set to "" is passed empty. Returns whatever came out of it.
        """
        variables = self.cni_env(verb, container=container, ifname=ifname, args=args, path=path) | dict(env or {})
        text = conf if isinstance(conf, str) else json.dumps(conf)
        with self.inside():
            done = subprocess.run(
                [str(self.plugin_dir / plugin)], env=variables, input=text.encode(), capture_output=True, timeout=timeout, check=False
            )
        return Outcome(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def cni_env(
        self, verb: str, *, container: Container | None = None, ifname: str = "eth0", args: str = "", path: str | Path | None = None
    ) -> dict[str, str]:
        """The environment of a call: CNI_* and PATH, nothing of the test's own."""
        variables = {"PATH": os.environ["PATH"], "CNI_COMMAND": verb, "CNI_PATH": str(path or self.plugin_dir)}
        if container:
            variables |= {"CNI_CONTAINERID": container.id, "CNI_NETNS": container.path, "CNI_IFNAME": ifname}
        if args:
            variables["CNI_ARGS"] = args
        return variables


def _end(pid: int) -> set[int]:
    """End a process and wait until it is gone; returns its process group, nothing if it was gone already."""
    with suppress(ProcessLookupError):
        groups = {os.getpgid(pid)}
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], TIMEOUT)
        finally:
            os.close(handle)
        return groups
    return set()


def _hidden(directory: Path) -> bool:
    """Whether one of the node's own directories would cover this one."""
    return directory.is_dir() and any(directory.is_relative_to(private) for private in PRIVATE_DIRECTORIES)
