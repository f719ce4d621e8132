"""The real firewalld on a node, with a D-Bus of its own. It is never installed: as a service it would take over the machine's own network.

What the distribution's packages hold is unpacked into the cache that the peers are in, and the daemon is started from there.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import tempfile
import time
from pathlib import Path

from cni_plugins.kernel.dbus import Bus
from tests.lab import peers
from tests.support.node import Node

NAME = "org.fedoraproject.FirewallD1"
PACKAGES = (
    "dbus", "dbus-daemon", "firewalld", "gir1.2-glib-2.0", "libdbus-1-3", "libgirepository-1.0-1", "python3-cap-ng", "python3-dbus",
    "python3-firewall", "python3-gi", "python3-nftables",
)  # fmt: skip
PATIENCE = 60.0
_PATH = "/org/fedoraproject/FirewallD1"
_BUS = """\
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow eavesdrop="true"/></policy>
</busconfig>
"""


def unpacked() -> Path:
    """The directory with what the packages hold, fetched with apt-get the first time. Raises AssertionError when that fails."""
    digest = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:12]
    target = peers.cache() / "peers" / f"firewalld-{digest}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpacking-") as work:
                _command("apt-get", "-qq", "download", *PACKAGES, cwd=work)
                for package in Path(work).glob("*.deb"):
                    _command("dpkg-deb", "--extract", package, Path(work) / "root")
                (Path(work) / "root").rename(target)
    return target


def _command(*words: str | Path, cwd: str | None = None) -> None:
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}"


class Firewalld:
    """firewalld on a node, from `start` on, out of the directory `root`. It has no configuration but its own defaults."""

    def __init__(self, node: Node, root: Path) -> None:
        self._node = node
        self._root = root
        library = next((self._root / "usr/lib").glob("*-linux-gnu"))
        self._env = {
            "PYTHONPATH": str(self._root / "usr/lib/python3/dist-packages"),
            "GI_TYPELIB_PATH": str(library / "girepository-1.0"),
            "LD_LIBRARY_PATH": str(library),
        }

    def start(self) -> None:
        """Start a bus and the daemon, and wait until it answers. Raises AssertionError when it does not."""
        for directory in ("/run/dbus", "/run/firewalld/zones"):
            Path(directory).mkdir(parents=True)
        Path("/run/dbus/bus.conf").write_text(_BUS)
        daemon = self._root / "usr/bin/dbus-daemon"
        self._node.popen([daemon, "--config-file=/run/dbus/bus.conf", "--nofork", "--nopidfile"], env=self._env)
        with self._wait_for_bus() as bus:
            self._start_daemon(bus)

    def restart(self) -> None:
        """End the daemon and start another one on the same bus."""
        self._daemon.terminate()
        self._daemon.communicate(timeout=PATIENCE)
        with self._wait_for_bus() as bus:
            self._start_daemon(bus)

    def _start_daemon(self, bus: Bus) -> None:
        words = ["--nofork", "--nopid", "--log-file", "/run/firewalld.log", "--system-config", "/run/firewalld"]
        words += ["--default-config", str(self._root / "usr/lib/firewalld")]
        self._daemon = self._node.popen(["/usr/bin/python3", self._root / "usr/sbin/firewalld", *words], env=self._env)
        self._wait_for_name(bus)

    def reload(self) -> None:
        """Have it read its configuration again, which forgets what is not written there."""
        self._call(f"{NAME}.reload", [])

    def ask(self, method: str, arguments: list[str]) -> bytes:
        """Call one of the methods of its zones."""
        return self._call(f"{NAME}.zone.{method}", arguments)

    def _call(self, method: str, arguments: list[str]) -> bytes:
        bus = Bus.connect()
        assert bus is not None
        with bus:
            return bus.call(NAME, _PATH, method, arguments)

    def _wait_for_bus(self) -> Bus:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            bus = Bus.connect()
            if bus is not None:
                return bus
        raise AssertionError("the bus did not begin to listen")

    def _wait_for_name(self, bus: Bus) -> None:
        """It has its name before it has taken over the node's rules, and flushes those that it finds."""
        deadline = time.monotonic() + PATIENCE
        while not (bus.has(NAME) and b"RUNNING" in bus.call(NAME, _PATH, "org.freedesktop.DBus.Properties.Get", [NAME, "state"])):
            log = Path("/run/firewalld.log")
            assert time.monotonic() < deadline, f"firewalld does not answer: {log.read_text() if log.exists() else 'no log'}"
            time.sleep(0.05)
