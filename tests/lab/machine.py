"""A computer of the lab: a node with processes of its own, so that its end ends all that runs on it, pods included."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from tests.support.node import Node

TIMEOUT = 120
SHARED_DIRECTORIES = ("/run", "/var/lib/kubelet")
PRIVATE_DIRECTORIES = ("/var/lib/kubelet", "/var/log/pods", "/var/log/containers", "/etc/cni-plugins")
CABLE = "eth0"


class LabError(Exception):
    """The lab itself did not come up or did not answer; the text says what and where to look."""


def wait_for(condition: Callable[[], Any], failure: str, *, seconds: float = TIMEOUT) -> Any:
    """Ask until `condition` returns something true, and return that. Raises LabError with `failure` after `seconds`."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise LabError(failure)
        time.sleep(0.1)
    return value


class Machine:
    """A computer called `name`; `directory` (made here) gets its daemons' logs and files. Use it as a context manager.

    Its root file system is the machine's own, but for the state directories of a node and of kubelet, which are empty.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.node = Node(name)
        self._daemons: dict[str, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}
        directory.mkdir(parents=True)
        try:
            for path in PRIVATE_DIRECTORIES:
                self.node.run(["sh", "-ec", f"mkdir -p {path}; mount -t tmpfs lab {path}"])
            self._init = self._boot()
        except BaseException:
            self.node.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _boot(self) -> subprocess.Popen[bytes]:
        """Start the first process of a new process namespace; the kernel ends all the others with it."""
        steps = [f"mount --make-rshared {d}" for d in SHARED_DIRECTORIES]
        steps += ["mkdir -p /run/daemons", "echo ready", "exec sleep infinity < /dev/null > /dev/null 2>&1"]
        own_processes = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--propagation", "private", "--mount-proc"]
        with self.node.inside():
            init = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *own_processes, "sh", "-ec", "\n".join(steps)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        assert init.stdout
        assert init.stderr
        with init.stdout as out, init.stderr as errors:
            if out.readline() != b"ready\n":
                init.kill()
                raise LabError(f"{self.name} did not start: {errors.read().decode()}")
        return init

    @property
    def pid(self) -> int:
        """The number, outside of it, of the machine's first process."""
        return int(Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()[0])

    def command(self, *words: object) -> list[str]:
        """Return the words of a command line that runs `words` on the machine."""
        return ["nsenter", "--target", str(self.pid), "--pid", "--mount", "--net", "--uts", *map(str, words)]

    def run(self, *words: object, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command on the machine. Raises LabError with its output when `check` is set and it fails."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, input=stdin, timeout=TIMEOUT, check=False)
        if check and done.returncode:
            raise LabError(f"{self.name}: {' '.join(map(str, words))}: {done.stdout}{done.stderr}")
        return done

    def start(self, name: str, *words: object, env: Mapping[str, str] | None = None) -> None:
        """Start a daemon; its output goes to NAME.log in the machine's directory. `env` is added to the environment."""
        log = open(self.directory / f"{name}.log", "ab")  # noqa: SIM115 -- closed by stop()
        script = f'echo $$ > /run/daemons/{name}; exec "$@"'
        process = subprocess.Popen(
            self.command("sh", "-c", script, "sh", *words),
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self._daemons[name] = process, log

    def stop(self, name: str) -> None:
        """End a daemon as an operator does, and wait until it is gone."""
        process, log = self._daemons.pop(name)
        self.run("sh", "-c", f"kill $(cat /run/daemons/{name})", check=False)
        process.wait(TIMEOUT)
        log.close()

    def write(self, path: str, text: str) -> None:
        """Write a file of the machine's own; its directory is made."""
        with self.node.inside():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text)

    def has(self, path: str) -> bool:
        """Whether this file is on the machine."""
        with self.node.inside():
            return Path(path).exists()

    def ip(self, *lines: str) -> None:
        """Change the machine's network by lines of `ip -batch`."""
        self.run("ip", "-batch", "-", stdin="\n".join(lines))

    def plug(self, switch: Machine, addresses: Sequence[str]) -> None:
        """Lay a cable from our eth0, with these addresses in CIDR notation, to a bridge `lan` on `switch`."""
        port = f"port-{self.name}"[:15]
        cable = ["ip", "link", "add", port, "type", "veth", "peer", "name", CABLE, "netns", str(self.pid)]
        subprocess.run(["nsenter", "--target", str(switch.pid), "--net", *cable], check=True, timeout=TIMEOUT)
        switch.ip(f"link set {port} master lan up")
        self.ip(*(f"address add {a} dev {CABLE}{' nodad' if ':' in a else ''}" for a in addresses), f"link set {CABLE} up")

    def reboot(self) -> None:
        """Lose power and boot again: all processes are gone, what is in /run, and the network but for the cable. No daemon is started."""
        self._end_processes()
        with self.node.inside():
            for left in Path("/run").iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            Path("/run/netns").mkdir()
            for link in json.loads(self.node.run(["ip", "-json", "link"]).stdout):
                if link["ifname"] not in ("lo", CABLE):
                    self.node.run(["ip", "link", "delete", link["ifname"]], check=False)  # one end of a pair takes the other with it
        self.node.run(["nft", "flush", "ruleset"])
        self._init = self._boot()

    def close(self) -> None:
        """End every process on the machine and remove its namespaces."""
        self._end_processes()
        self.node.close()

    def _end_processes(self) -> None:
        first = os.pidfd_open(self.pid)  # not our child: it ends a moment after the one that we kill
        self._init.kill()
        self._init.wait(TIMEOUT)
        select.select([first], [], [], TIMEOUT)
        os.close(first)
        for process, log in self._daemons.values():
            process.wait(TIMEOUT)
            log.close()
        self._daemons.clear()
