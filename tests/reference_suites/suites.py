"""Build and run the reference plugins' own test suites with our executables in the place of the reference's command functions.

    python -m tests.reference_suites.suites --baseline        runs the suites as they are and writes down what the reference passes here

The suites call `cmdAdd` and its sisters in their own process. In a copy of the module these functions are replaced by ones that run
an executable, and comparisons with the wording of an error by ones with its code; nothing else is touched. Test binaries are
compiled once for each version and overlay, and kept beside the peers, outside of the work tree.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import peers
from tests.support.node import Node

MODULE = "github.com/containernetworking/plugins"
OVERLAY = Path(__file__).parent / "overlay"
BASELINE = Path(__file__).parent / "baseline.json"
SUITES = {
    "bridge": "plugins/main/bridge",
    "ptp": "plugins/main/ptp",
    "loopback": "plugins/main/loopback",
    "host-local": "plugins/ipam/host-local",
    "static": "plugins/ipam/static",
    "bandwidth": "plugins/meta/bandwidth",
    "firewall": "plugins/meta/firewall",
    "portmap": "plugins/meta/portmap",
    "tuning": "plugins/meta/tuning",
}
TIMEOUT = 600
PATIENCE = 60
"""Seconds for what a suite waits for; a second by default, which is not enough for programs on a busy machine."""

_COMMANDS = re.compile(r"^func (cmd(?:Add|Check|Del|Status))\(", re.MULTILINE)
_WORDING = {
    "MatchError(": "refusedInsteadOf(",
    "Expect(err.Error()).To(HavePrefix(": "Expect(err).To(refusedInsteadOf(",
    "Expect(err.Error()).To(ContainSubstring(": "Expect(err).To(refusedInsteadOf(",
}
_DEVICES = {"&netlink.Dummy{": "&netlink.Bridge{"}
"""What stands for any interface at all: not every kernel has dummies."""
_BUS = {
    'cmd := exec.Command(path, "--session",': 'exec.Command("mkdir", "-p", "/run/dbus").Run()\n'
    '\tcmd := exec.Command(path, "--session", "--address=unix:path=/run/dbus/system_bus_socket",'
}
"""The bus of the firewall's suite is where a system's bus is, so that an executable finds it."""
_ECHO = re.compile(r'gexec\.Build\("[^"]*/testutils/echo/(server|client)"\)')
"""Programs that suites build beside the plugin: they are built with the suite, and found by CNI_SUITE_TOOLS."""
_INSIDE = re.compile(r'_, err = ipt\.List\("nat", dnatChainName\)\s*Expect\(err\)\.\w+\(HaveOccurred\(\)\)')
"""Where portmap's suite asks for the reference's own chain in the middle of a spec whose traffic is what matters."""
_BUILT = re.compile(r"gexec\.Build\([^)]*\)")


@dataclass(frozen=True)
class Spec:
    """One spec of a suite: its full name, whether it passed, and why not."""

    name: str
    passed: bool
    failure: str


def _go(*words: str, cwd: Path) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
    done = subprocess.run([peers.go(), *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise peers.PeerError(f"go {' '.join(words)}: {done.stderr}{done.stdout}")
    return done.stdout


def _source() -> Path:
    """The module as it was published, in Go's module cache."""
    return Path(json.loads(_go("mod", "download", "-json", MODULE, cwd=peers.MODULES / "plugins"))["Dir"])


def _replacements(package: Path, *, ours: bool) -> dict[Path, str]:
    """What is different in one package: file to new text; only the devices where the reference runs it (not `ours`)."""
    files = {path: _with_tools(_replaced(path.read_text(), _DEVICES | _BUS)) for path in package.glob("*.go")}
    if not ours:
        return {path: text for path, text in files.items() if text != path.read_text()}
    changed = {path: _BUILT.sub('os.Getenv("CNI_SUITE_PLUGIN"), error(nil)', text) for path, text in files.items() if _BUILT.search(text)}
    if changed:  # the suite builds the plugin and runs it: all it needs is another path
        return {path: text.replace("import (\n", 'import (\n\t"os"\n', 1) for path, text in changed.items()}
    for path, text in files.items():
        if path.name.endswith("_test.go"):
            text = _INSIDE.sub("_, _ = ipt, dnatChainName", _replaced(text, _WORDING))
        changed[path] = _COMMANDS.sub(r"func reference_\1(", text)
    return changed | {package / path.name: path.read_text() for path in OVERLAY.glob("*.go")}


def _with_tools(text: str) -> str:
    """The text of a file without building what it needs beside the plugin."""
    changed = _ECHO.sub(r'os.Getenv("CNI_SUITE_TOOLS")+"/\1", error(nil)', text)
    return text if changed == text or '"os"' in text else changed.replace("import (\n", 'import (\n\t"os"\n', 1)


def tools() -> Path:
    """Build the programs that suites run beside the plugin, unless that was done before; returns their directory."""
    source = _source()
    target = peers.cache() / "reference-suites" / f"tools-{hashlib.sha256(source.name.encode()).hexdigest()[:12]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.with_suffix(".lock"), "w") as lock, tempfile.TemporaryDirectory(dir=target.parent) as work:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            for name in ("server", "client"):
                _go("build", "-trimpath", "-o", f"{work}/bin/{name}", f"./pkg/testutils/echo/{name}", cwd=source)
            Path(work, "bin").rename(target)
    return target


def _replaced(text: str, words: dict[str, str]) -> str:
    for theirs, ours in words.items():
        text = text.replace(theirs, ours)
    return text


def build(suite: str, *, ours: bool) -> Path:
    """Compile a suite, against executables (`ours`) or as it is, unless that was done before; returns the test binary.

    Raises PeerError when there is no Go toolchain or module to be had.
    """
    source = _source()
    changes = sorted(_replacements(source / SUITES[suite], ours=ours).items())
    digest = hashlib.sha256(repr([source.name, [(path.name, text) for path, text in changes]]).encode()).hexdigest()[:12]
    target = peers.cache() / "reference-suites" / f"{suite}-{digest}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.with_suffix(".lock"), "w") as lock, tempfile.TemporaryDirectory() as work:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            copy = Path(work, "module")
            shutil.copytree(source, copy, copy_function=shutil.copyfile)
            for path, text in _replacements(copy / SUITES[suite], ours=ours).items():
                path.write_text(text)
            _go("test", "-c", "-trimpath", "-o", f"{target}.new", f"./{SUITES[suite]}", cwd=copy)
            Path(f"{target}.new").rename(target)
    return target


def run(binary: Path, *, plugins: Path, executable: Path) -> list[Spec]:
    """Run a compiled suite on a node of its own; delegates are found in `plugins`, and `executable` is the plugin under test."""
    with tempfile.TemporaryDirectory() as work, Node() as node:
        report = Path(work) / "report.json"
        done = node.run(
            [binary, f"-ginkgo.json-report={report}", "-ginkgo.no-color", "-ginkgo.succinct"],
            check=False,
            timeout=TIMEOUT,
            env={
                "PATH": f"{plugins}:{os.environ['PATH']}",
                "CNI_SUITE_PLUGIN": str(executable),
                "CNI_SUITE_TOOLS": str(tools()),
                "GOMEGA_DEFAULT_EVENTUALLY_TIMEOUT": f"{PATIENCE}s",
                "CNI_NETNS_OVERRIDE": "1",  # the suites call below the reference's guard, some in the container's own namespace
            },
        )
        if not report.exists():
            raise AssertionError(f"the suite wrote no report:\n{done.stdout}{done.stderr}")
        reports = json.loads(report.read_text())
    return [_spec(spec) for report in reports for spec in report["SpecReports"] if spec["LeafNodeType"] == "It"]


def _spec(report: dict[str, Any]) -> Spec:
    failure = report.get("Failure", {"Message": "", "Location": {}})
    where = failure["Location"]
    text = f"{failure['Message']}\n    {where.get('FileName')}:{where.get('LineNumber')}"
    return Spec(" ".join([*(report["ContainerHierarchyTexts"] or []), report["LeafNodeText"]]), report["State"] == "passed", text)


def main() -> int:
    """Write the baseline: for each suite, the names of the specs that the reference itself passes on this machine.

    Several specs may have one name: it counts as passed when all of them pass. Loopback's suite runs an executable anyway.
    """
    if sys.argv[1:] != ["--baseline"]:
        print(__doc__)
        return 2
    reference = peers.build("cni")
    baseline = {}
    for suite in SUITES:
        specs = run(build(suite, ours=suite == "loopback"), plugins=reference, executable=reference / suite)
        baseline[suite] = sorted({spec.name for spec in specs if spec.passed} - {spec.name for spec in specs if not spec.passed})
        print(f"{suite}: {len(baseline[suite])} names pass, {sum(not spec.passed for spec in specs)} of {len(specs)} specs fail")
    BASELINE.write_text(json.dumps(baseline, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
