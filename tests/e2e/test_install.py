"""The built executables as files: copied in every usual way, alone, upgraded under load, started in any environment."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from pathlib import Path

import builder
import bundle
import installer
import pytest

# Refused before anything is read or changed on the machine, but only by the code that serves ADD: it imports all that this needs.
REFUSED = json.dumps({"cniVersion": "1.0.0", "name": "bad name", "type": "bridge"}).encode()
CALL = {"CNI_CONTAINERID": "c1", "CNI_NETNS": "/no/such/netns", "CNI_IFNAME": "eth0", "CNI_PATH": "/nowhere"}


def run(executable: Path, command: str, *, stdin: bytes = b"{}", environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([executable], input=stdin, env={"CNI_COMMAND": command, **environment}, capture_output=True, check=False)


def works(executable: Path, environment: dict[str, str] | None = None) -> None:
    environment = environment or {}
    answer = run(executable, "VERSION", environment=environment)
    assert answer.returncode == 0, answer.stderr
    assert "1.1.0" in json.loads(answer.stdout)["supportedVersions"]
    refusal = run(executable, "ADD", stdin=REFUSED, environment=CALL | environment)
    assert json.loads(refusal.stdout)["code"] == 7, refusal
    assert refusal.stderr == b""


@pytest.mark.parametrize("copy", ["cp -a {0}/. {1}", "cp -r {0}/. {1}", "cp -rL {0}/. {1}", "tar -C {0} -c . | tar -C {1} -x"])
def test_the_directory_may_be_copied_as_it_is(plugin_dir: Path, tmp_path: Path, copy: str) -> None:
    subprocess.run(copy.format(plugin_dir, tmp_path), shell=True, check=True)
    for name in ("bridge", "host-local", "loopback", "ptp", "static"):
        works(tmp_path / name)


def test_a_link_to_a_plugin_is_that_plugin(plugin_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "bridge").symlink_to(plugin_dir / "bridge")
    works(tmp_path / "bridge")


def test_a_single_file_copied_out_says_what_is_missing(plugin_dir: Path, tmp_path: Path) -> None:
    shutil.copy(plugin_dir / "bridge", tmp_path)
    answer = run(tmp_path / "bridge", "VERSION", environment={})
    (contents,) = installer.builds(plugin_dir)
    assert answer.returncode != 0
    assert answer.stdout == b""
    assert re.search(rf"Failed to load .*'{tmp_path}/{re.escape(contents)}/libpython.*No such file", answer.stderr.decode())


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LANG": "C", "LC_ALL": "C"},
        {"LANG": "de_DE.ISO-8859-1", "LC_ALL": "de_DE.ISO-8859-1", "PYTHONUTF8": "0"},
        {"PYTHONHOME": "/no/such/python", "PYTHONPATH": "/no/such/path", "PYTHONSTARTUP": "/no/such/file", "PYTHONWARNINGS": "error"},
        {"HOME": "/no/such/home", "TMPDIR": "/no/such/tmp", "PATH": ""},
    ],
    ids=["empty", "posix-locale", "latin-1-locale", "python-variables", "nothing-that-exists"],
)
def test_the_environment_of_the_runtime_does_not_matter(plugin_dir: Path, environment: dict[str, str]) -> None:
    works(plugin_dir / "bridge", environment)


def test_names_beyond_ascii_come_back_as_they_were(plugin_dir: Path) -> None:
    stdin = '{"cniVersion":"1.0.0","name":"brücke","type":"bridge"}'.encode()
    refusal = run(plugin_dir / "bridge", "ADD", stdin=stdin, environment=CALL | {"LC_ALL": "C"})
    assert "brücke" in json.loads(refusal.stdout)["msg"]


def test_nothing_of_pydantic_but_its_compiled_half_is_in_the_bundle(plugin_dir: Path) -> None:
    (contents,) = installer.builds(plugin_dir)
    bundled = b"".join(path.read_bytes() for path in (plugin_dir / contents).glob("modules"))
    assert b"cni_plugins.handler" in bundled
    assert b"pydantic.main" not in bundled
    assert b"pydantic_core.core_schema" not in bundled


def test_two_builds_of_the_same_sources_are_the_same_to_the_bit(plugin_dir: Path, tmp_path: Path) -> None:
    for name in (*bundle.PACKAGES, "packaging", "requirements"):
        shutil.copytree(bundle.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "_frozen"))
    builder.run(tmp_path / "packaging" / "builder.py")
    subprocess.run(["diff", "-r", plugin_dir, tmp_path / "dist" / "bin"], check=True)


def relabelled(plugin_dir: Path, target: Path, letter: str) -> Path:
    """The same plugins as another build: it needs a contents directory of its own, and no other will do."""
    shutil.copytree(plugin_dir, target)
    (contents,) = installer.builds(target)
    other = contents[:-1] + letter
    (target / contents).rename(target / other)
    for path in target.iterdir():
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(contents.encode(), other.encode()))
    return target


def test_upgrades_under_load_disturb_no_call(plugin_dir: Path, tmp_path: Path) -> None:
    builds = [relabelled(plugin_dir, tmp_path / letter, letter) for letter in "xyz"]
    target = tmp_path / "bin"
    installer.install(builds[0], target)
    busy = 20
    finished = [0] * busy
    wrong: list[subprocess.CompletedProcess[bytes]] = []
    turn = threading.Condition()
    stop = threading.Event()

    def work(mine: int) -> None:
        while not stop.is_set():
            answer = run(target / "bridge", "ADD", stdin=REFUSED, environment=CALL)
            with turn:
                finished[mine] += 1
                if answer.returncode != 1 or answer.stderr or json.loads(answer.stdout).get("code") != 7:
                    wrong.append(answer)
                turn.notify_all()

    def wait_for_two_calls_of_each() -> None:
        with turn:
            enough = [calls + 2 for calls in finished]
            assert turn.wait_for(lambda: all(now >= wanted for now, wanted in zip(finished, enough, strict=True)), timeout=300)

    workers = [threading.Thread(target=work, args=(mine,)) for mine in range(busy)]
    for worker in workers:
        worker.start()
    try:
        for upgrade in range(1, 11):
            installer.install(builds[upgrade % 3], target)
            wait_for_two_calls_of_each()  # no call is left of the build before, which goes with the next upgrade
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert not wrong, wrong[0]
    assert sum(finished) >= 400
    assert len(installer.builds(target)) == 2
