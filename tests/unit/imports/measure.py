"""Which modules a cold call imports: measured in a process of its own that runs the first stage as the executables do."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.node import Node
from tests.support.outcome import Outcome
from tests.support.paths import REPO

PINNED = Path(__file__).with_name("modules.json")

_DRIVER = """
import sys
before = frozenset(sys.modules)
plugin, report, *paths = sys.argv[1:]
sys.path[:0] = paths
sys.argv[:] = [plugin]
import posix
end = posix._exit
def tell(status):
    with open(report, "w") as file:
        file.write("\\n".join(sorted(set(sys.modules) - before)))
    end(status)
posix._exit = tell
from cni_plugins.main import main
main()
"""

_RANGES = [[{"subnet": "10.1.0.0/24"}]]
_HOST_LOCAL = {"type": "host-local", "ranges": _RANGES}
CALLS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "bridge": ("bridge", {"isGateway": True, "ipam": _HOST_LOCAL}),
    "bridge with masquerade": ("bridge", {"isGateway": True, "ipMasq": True, "ipam": _HOST_LOCAL}),
    "ptp": ("ptp", {"ipam": _HOST_LOCAL}),
    "host-local": ("host-local", {"ipam": _HOST_LOCAL}),
    "static": ("static", {"ipam": {"type": "static", "addresses": [{"address": "10.1.0.9/24"}]}}),
    "loopback": ("loopback", {}),
    "multus": ("multus", {"delegates": [{"name": "pods", "type": "bridge", "isGateway": True, "ipam": _HOST_LOCAL}]}),
    "portmap": ("portmap", {"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}}),
    "bandwidth": ("bandwidth", {"ingressRate": 8000000, "ingressBurst": 800000}),
    "firewall": ("firewall", {}),
    "tuning": ("tuning", {"mtu": 1400}),
}
CHAINED = ("portmap", "bandwidth", "firewall", "tuning")
"""They are called for a container that the bridge plugin has attached."""
VERBS = dict.fromkeys(CALLS, ("ADD", "CHECK", "DEL")) | {
    "bridge": ("VERSION", "STATUS", "ADD", "CHECK", "DEL", "GC"),
    "static": ("ADD", "DEL"),
}


def measure(directory: Path) -> dict[str, list[str]]:
    """The modules of every call in `CALLS` and `VERBS`, by "<call> <verb>"; those that the interpreter itself imports are left out.

    `directory` is an empty one to work in. Raises AssertionError when a call fails.
    """
    path = directory / "bin"
    path.mkdir()
    for plugin in {plugin for plugin, _ in CALLS.values()}:
        (path / plugin).symlink_to(sys.executable)  # so that the process takes them for its own executable
    with Node() as node:
        alone, attached = node.container("alone"), node.container("attached")
        bridge = {"cniVersion": "1.1.0", "name": "chain", "type": "bridge", **CALLS["bridge"][1]}
        before, _ = _call("bridge", node.cni_env("ADD", container=attached, path=path), bridge, directory / "report")
        found = {}
        for name, (plugin, keys) in CALLS.items():
            conf: dict[str, Any] = {"cniVersion": "1.1.0", "name": "net", "type": plugin, **keys}
            container = attached if name in CHAINED else alone
            if name in CHAINED:
                conf["prevResult"] = before.result
            for verb in VERBS[name]:
                environ = node.cni_env(verb, container=container, path=path)
                outcome, modules = _call(plugin, environ, conf, directory / "report")
                if verb == "ADD":
                    conf["prevResult"] = outcome.result
                assert outcome.code == 0, f"{name} {verb}: {outcome}"
                found[f"{name} {verb}"] = modules
        return found


def _call(plugin: str, environ: dict[str, str], conf: dict[str, Any], report: Path) -> tuple[Outcome, list[str]]:
    command = [sys.executable, "-I", "-S", "-c", _DRIVER, plugin, report, REPO, sysconfig.get_path("platlib")]
    done = subprocess.run([str(word) for word in command], env=environ, input=json.dumps(conf), capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr), report.read_text().split() if report.exists() else []
