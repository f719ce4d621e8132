"""Running another plugin: what it gets, what comes back, and that it never outlives the call."""

from __future__ import annotations

import os
import signal
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from cni_plugins.kernel import calls, process
from cni_plugins.protocol.errors import IoFailure


def children() -> set[str]:
    """The processes that this one has started and not reaped: other tests may have some, too."""
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def script(directory: Path, text: str) -> str:
    path = directory / "plugin"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_plugin_gets_its_input_and_environment_and_gives_its_answer(tmp_path: Path) -> None:
    path = script(tmp_path, 'printf "%s:%s:" "$CNI_COMMAND" "$0"; cat; echo told >&2; exit 3')
    finished = process.run(path, b'{"a": 1}', {"CNI_COMMAND": "ADD", "PATH": os.environ["PATH"]}, capture_stderr=True)
    assert finished.stdout == f'ADD:{path}:{{"a": 1}}'.encode()
    assert finished.stderr == b"told\n"
    assert finished.status == 3


def test_its_complaints_go_where_ours_go(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    finished = process.run(script(tmp_path, "echo told >&2"), b"", dict(os.environ))
    assert finished.stderr == b""
    assert capfd.readouterr().err == "told\n"


def test_much_in_both_directions_at_once_does_not_lock_up(tmp_path: Path) -> None:
    data = b"0123456789" * 300_000
    assert process.run("/bin/cat", data, dict(os.environ)).stdout == data


def test_a_plugin_that_ignores_its_input_is_no_error() -> None:
    assert process.run("/bin/true", b"x" * 1_000_000, dict(os.environ)).status == 0


def test_one_ended_by_a_signal_says_so(tmp_path: Path) -> None:
    assert process.run(script(tmp_path, "kill -9 $$"), b"", dict(os.environ)).status == -9


def test_one_that_writes_without_end_is_ended(tmp_path: Path) -> None:
    others = children()
    with pytest.raises(IoFailure, match="wrote more than 100000 bytes"):
        process.run(script(tmp_path, "exec yes"), b"", dict(os.environ), limit=100_000)
    assert children() <= others


def test_when_we_are_told_to_end_it_ends_first(tmp_path: Path) -> None:
    """A delegate must not go on changing the node when its caller has begun to undo."""
    others = children()
    marker = tmp_path / "undone"
    path = script(tmp_path, f"trap 'echo undone > {marker}; exit 1' TERM; echo ready > {tmp_path}/started; while :; do sleep 0.01; done")
    os.mkfifo(tmp_path / "started")

    def told(number: int, frame: object) -> None:
        raise InterruptedError("told to end")

    def tell() -> None:
        (tmp_path / "started").read_text()
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, told)
    teller = threading.Thread(target=tell)
    teller.start()
    try:
        with pytest.raises(InterruptedError):
            process.run(path, b"", dict(os.environ))
    finally:
        teller.join()
        signal.signal(signal.SIGUSR1, before)
    assert marker.read_text() == "undone\n"
    assert children() <= others


def test_a_signal_at_the_very_start_leaves_no_orphan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = children()
    genuine = calls.spawn

    def told(number: int, frame: object) -> None:
        raise InterruptedError("told to end")

    def spawn(*arguments: Any, **named: Any) -> int:
        pid = genuine(*arguments, **named)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # a plugin has one thread; a test runner has more
        return pid

    monkeypatch.setattr(calls, "spawn", spawn)
    before = signal.signal(signal.SIGTERM, told)
    try:
        with pytest.raises(InterruptedError):
            process.run(script(tmp_path, "while :; do sleep 0.01; done"), b"", dict(os.environ))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert children() <= others


def test_a_plugin_starts_with_no_signal_blocked(tmp_path: Path) -> None:
    """Else it could not be told to end."""
    masks = process.run(script(tmp_path, "grep SigBlk /proc/self/status"), b"", dict(os.environ)).stdout
    assert int(masks.split()[1], 16) == 0


def test_one_that_will_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = children()
    monkeypatch.setattr(process, "_GRACE_SECONDS", 0.05)
    path = script(tmp_path, "trap '' TERM; echo x; while :; do echo y; done")
    with pytest.raises(IoFailure):
        process.run(path, b"", dict(os.environ), limit=1)
    assert children() <= others


def test_a_plugin_that_is_being_installed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "true"
    path.write_bytes(Path("/bin/true").read_bytes())
    path.chmod(stat.S_IRWXU)
    writer = path.open("ab")
    pauses = []

    def finish(seconds: float) -> None:
        pauses.append(seconds)
        writer.close()

    monkeypatch.setattr(calls, "sleep", finish)
    assert process.run(str(path), b"", {}).status == 0
    assert pauses


def test_a_missing_plugin_is_an_error_that_leaves_no_descriptors(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        process.run(str(tmp_path / "none"), b"", {})
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"CNI_PATH": "/opt", "LD_LIBRARY_PATH": "/host/lib"}, {"CNI_PATH": "/opt", "LD_LIBRARY_PATH": "/host/lib"}),
        ({"_PYI_ARCHIVE_FILE": "x", "LD_LIBRARY_PATH": "/bundle"}, {}),
        ({"LD_LIBRARY_PATH": "/bundle", "LD_LIBRARY_PATH_ORIG": "/host/lib"}, {"LD_LIBRARY_PATH": "/host/lib"}),
    ],
)
def test_a_plugin_of_the_host_does_not_get_the_bundles_libraries(given: dict[str, str], kept: dict[str, str]) -> None:
    assert process.clean_environment(given) == kept
