"""A plugin that does what no plugin may is a failed case: never a stuck run, a broken run, or a machine that is not as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conformance.results import CaseResult
from conformance.runner import Job, run
from tests.conformance.fakes import PROFILE, TIMEOUT, VERSIONS, plugin

PATIENCE = 1.5
"""Seconds after which a plugin that hangs is found out; others have as long as a slow machine may need."""
DETACHED = "stdin=-3, stdout=-3, stderr=-3"  # subprocess.DEVNULL

# Name: what the plugin does, the case that it meets, and a part of what is observed.
BAD = {
    "hangs": ("time.sleep(1000)", "VER-01", "it hangs"),
    "hangs deaf to SIGTERM": ("signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(1000)", "VER-01", "it hangs"),
    "floods standard output": ("while True: os.write(1, b'x' * 65536)", "VER-01", "it floods"),
    "floods standard error": ("while True: os.write(2, b'x' * 65536)", "VER-01", "it floods"),
    "leaves a process": (f"{VERSIONS}\nsubprocess.Popen(['sleep', '987'], {DETACHED})", "VER-01", "processes behind: sleep 987"),
    "leaves a process of a session of its own": (
        f"{VERSIONS}\nsubprocess.Popen(['setsid', 'sleep', '986'], {DETACHED})",
        "VER-01",
        "processes behind: sleep 986",
    ),
    "leaves a process with its output": (f"{VERSIONS}\nsubprocess.Popen(['sleep', '985'])", "VER-01", "processes behind: sleep 985"),
    "dies by a signal": ("os.kill(os.getpid(), signal.SIGSEGV)", "VER-01", "death by SIGSEGV"),
    "kills all that it sees": ("os.kill(-1, signal.SIGKILL)", "VER-01", "ProcessLookupError"),
    "kills its parent": ("os.kill(os.getppid(), signal.SIGKILL)\nsys.exit(4)", "VER-01", "exit status 4"),
    "closes its input unread": ("os.close(0)\nsys.exit(3)", "VER-01", "exit status 3"),
    "prints no JSON": ("print('hello')", "VER-02", "stdout hello"),
    "prints JSON without end": ("print('[' * 200000)", "VER-02", "exit status 0"),
    "prints what is no text": ("os.write(1, bytes(range(256)))", "VER-02", "exit status 0"),
    "prints null": ("print('null')", "VER-02", "null"),
    "leaves a file in /tmp": (f"open('/tmp/litter-of-bad', 'w').close()\n{VERSIONS}", "VER-04", "differ"),
    "leaves a file in /var/tmp": (f"open('/var/tmp/litter-of-bad', 'w').close()\n{VERSIONS}", "VER-04", "differ"),
    "leaves a link": (f"subprocess.run(['ip', 'link', 'add', 'br-bad', 'type', 'bridge'])\n{VERSIONS}", "VER-04", "differ"),
}


@pytest.fixture(scope="module")
def results(root: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, CaseResult]:
    """What comes of one case on each bad plugin, all in one run."""
    jobs = [
        Job(case, PROFILE, plugin(tmp_path_factory.mktemp("bad"), body), tag=name, timeout=PATIENCE if told == "it hangs" else TIMEOUT)
        for name, (body, case, told) in BAD.items()
    ]
    return {job.tag: result for job, result in run(jobs)}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_plugin_is_a_failed_case(results: dict[str, CaseResult], name: str) -> None:
    result = results[name]
    assert result.verdict == "fail"
    assert BAD[name][2] in result.observed
    assert "the case itself broke" not in result.observed


def test_nothing_of_bad_plugins_is_left_on_the_machine(results: dict[str, CaseResult]) -> None:
    assert not [line for number in (985, 986, 987) for line in running(f"sleep {number}")]
    assert not os.path.exists("/tmp/litter-of-bad")
    assert not os.path.exists("/var/tmp/litter-of-bad")
    assert not os.path.exists("/sys/class/net/br-bad")


def test_litter_is_told_by_its_own_path(results: dict[str, CaseResult]) -> None:
    for directory in ("/tmp", "/var/tmp"):
        assert f"+ node file {directory}/litter-of-bad" in results[f"leaves a file in {directory}"].evidence.ledger[0]


def test_what_a_plugin_starts_elsewhere_ends_with_its_case(root: None, tmp_path: Path) -> None:
    """A process that has left for other namespaces is not seen, but does not outlive the case."""
    leave = f"subprocess.Popen(['setsid', 'unshare', '--net', '--mount', 'sleep', '984'], {DETACHED})"
    list(run([Job("VER-01", PROFILE, plugin(tmp_path, f"{VERSIONS}\n{leave}"))]))
    assert not running("sleep 984")


def test_a_plugin_that_cannot_be_executed_is_a_failed_case(root: None, tmp_path: Path) -> None:
    (plugin(tmp_path, "") / "bad").write_bytes(b"\x7fELF and nothing more")
    [(_, result)] = run([Job("VER-01", PROFILE, tmp_path)])
    assert (result.verdict, result.expected) == ("fail", "the plugin can be executed")


def running(command: str) -> list[str]:
    """The machine's processes whose command lines begin with the text."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if line.startswith(command):
            found.append(line)
    return found
