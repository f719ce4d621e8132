"""Installing by packaging/installer.py: what an operator, and a runtime that is busy meanwhile, can rely on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import installer
import pytest
import units

from cni_plugins import RUN_DIR, handover

NAMES = ("bridge", "host-local")


def build(directory: Path, version: str, names: tuple[str, ...] = NAMES) -> Path:
    """Something that looks to the installer like the output of `make build`."""
    contents = directory / f".cni-plugins-{version}"
    (contents / "python").mkdir(parents=True)
    (contents / "modules").write_text(f"modules of {version}")
    executable = directory / names[0]
    executable.write_bytes(b"\x7fELF\0pyi-contents-directory " + contents.name.encode() + b"\0")
    executable.chmod(0o755)
    for name in names[1:]:
        (directory / name).hardlink_to(executable)
    return directory


def state(directory: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None for path in directory.rglob("*")}


def test_first_install_brings_executables_and_what_they_need(tmp_path: Path) -> None:
    source = build(tmp_path / "dist", "1.0")
    installer.install(source, tmp_path / "opt/cni/bin")
    assert state(tmp_path / "opt/cni/bin") == state(source)
    assert (tmp_path / "opt/cni/bin/bridge").stat().st_mode & 0o777 == 0o755


def test_executables_stay_links_to_one_file_so_that_plugins_know_their_siblings(tmp_path: Path) -> None:
    installer.install(build(tmp_path / "dist", "1.0"), tmp_path / "bin")
    assert (tmp_path / "bin/bridge").samefile(tmp_path / "bin/host-local")


def test_installing_again_changes_nothing(tmp_path: Path) -> None:
    source, target = build(tmp_path / "dist", "1.0"), tmp_path / "bin"
    installer.install(source, target)
    before = (target / "bridge").stat().st_ino
    assert installer.install(source, target) == [f"{target} has build .cni-plugins-1.0 already"]
    assert (target / "bridge").stat().st_ino == before


def test_the_previous_build_stays_one_upgrade_long(tmp_path: Path) -> None:
    target = tmp_path / "bin"
    for version in ("1.0", "1.1", "1.2"):
        installer.install(build(tmp_path / version, version), target)
    assert installer.builds(target) == {".cni-plugins-1.1", ".cni-plugins-1.2"}


def test_going_back_to_an_older_build_is_an_upgrade_like_any_other(tmp_path: Path) -> None:
    target = tmp_path / "bin"
    for version in ("1.0", "1.1"):
        installer.install(build(tmp_path / version, version), target)
    installer.install(tmp_path / "1.0", target)
    assert installer.build_of(target / "bridge") == ".cni-plugins-1.0"
    assert installer.builds(target) == {".cni-plugins-1.0", ".cni-plugins-1.1"}


def test_a_plugin_that_a_release_dropped_goes_with_the_upgrade(tmp_path: Path) -> None:
    target = tmp_path / "bin"
    installer.install(build(tmp_path / "1.0", "1.0", ("bridge", "old")), target)
    installer.install(build(tmp_path / "1.1", "1.1", ("bridge",)), target)
    assert not (target / "old").exists()


def test_other_plugins_are_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "bin"
    target.mkdir()
    (target / "portmap").write_text("somebody else's")
    installer.install(build(tmp_path / "dist", "1.0"), target)
    installer.uninstall(target)
    assert state(target) == {"portmap": b"somebody else's"}


def test_what_was_replaced_is_named_and_comes_back(tmp_path: Path) -> None:
    target = tmp_path / "bin"
    target.mkdir()
    (target / "bridge").write_text("the reference plugin")
    (target / "host-local").symlink_to("/usr/lib/cni/host-local")
    said = installer.install(build(tmp_path / "1.0", "1.0"), target)
    assert "replaced bridge, host-local" in said[1]
    installer.install(build(tmp_path / "1.1", "1.1"), target)
    installer.uninstall(target)
    assert (target / "bridge").read_text() == "the reference plugin"
    assert (target / "host-local").readlink() == Path("/usr/lib/cni/host-local")
    assert {path.name for path in target.iterdir()} == set(NAMES)


def test_a_directory_in_the_way_is_refused_before_anything_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = build(tmp_path / "dist", "1.0"), tmp_path / "bin"
    (target / "host-local").mkdir(parents=True)
    assert installer.main(["install", str(source), str(target)]) == 1
    assert f"{target}/host-local is a directory: move it away" in capsys.readouterr().err
    assert [path.name for path in target.iterdir()] == ["host-local"]


def test_what_an_interrupted_install_left_is_swept_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = build(tmp_path / "dist", "1.0"), tmp_path / "bin"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", broken)
        with pytest.raises(OSError, match="No space"):
            installer.install(source, target)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", broken)
        with pytest.raises(OSError, match="No space"):
            installer.install(source, target)
    installer.install(source, target)
    assert state(target) == state(source)


def broken(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


def test_at_every_moment_each_executable_finds_the_modules_of_its_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "bin"
    installer.install(build(tmp_path / "1.0", "1.0"), target)
    installer.install(build(tmp_path / "1.1", "1.1"), target)
    moments = 0

    def complete() -> None:
        for name in NAMES:
            contents = installer.build_of(target / name)
            assert contents is not None
            assert (target / contents / "modules").exists(), f"{name} does not find {contents}"

    def watched(operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            nonlocal moments
            complete()
            result = operation(*arguments, **named)
            complete()
            moments += 1
            return result

        return run

    for owner, name in ((Path, "replace"), (Path, "rename"), (Path, "unlink"), (shutil, "rmtree"), (shutil, "copytree")):
        monkeypatch.setattr(owner, name, watched(getattr(owner, name)))
    installer.install(build(tmp_path / "1.2", "1.2"), target)
    assert moments > len(NAMES)


def test_uninstalling_where_nothing_is_installed_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert installer.main(["uninstall", str(tmp_path / "nowhere")]) == 1
    assert "nothing is installed there" in capsys.readouterr().err
    assert installer.main(["uninstall", str(tmp_path)]) == 0
    assert "there were none" in capsys.readouterr().out


def test_wrong_use_says_how_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert installer.main(["instal"]) == 1
    assert "installer.py install FROM DIR" in capsys.readouterr().err


def test_the_agent_s_units_name_the_build_that_was_installed(tmp_path: Path) -> None:
    source, target, place = build(tmp_path / "dist", "1.0"), tmp_path / "bin", tmp_path / "systemd"
    assert installer.main(["install", str(source), str(target), str(place)]) == 0
    service = (place / "cni-agent.service").read_text()
    assert f"ExecStart={target}/cni-agent --foreground\n" in service
    assert f"ExecReload={target}/cni-agent --check-config\nExecReload=/bin/kill -HUP $MAINPID\n" in service
    assert f"ListenStream={handover.socket_path(RUN_DIR, '1.0')}\n" in (place / "cni-agent.socket").read_text()
    assert units.write(place, directory=target, build="1.0") == [], "writing them again changes nothing"
    assert installer.main(["uninstall", str(target), str(place)]) == 0
    assert list(place.iterdir()) == []


def test_systemd_accepts_the_agent_s_units(tmp_path: Path) -> None:
    target = tmp_path / "bin"
    installer.install(build(tmp_path / "dist", "1.0"), target)
    (target / "cni-agent").write_text("#!/bin/sh\n")
    (target / "cni-agent").chmod(0o755)
    units.write(tmp_path, directory=target, build="1.0")
    files = [str(tmp_path / name) for name in units.NAMES]
    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
