"""What tests of cnictl share: a node with a configured network, the command, and what it printed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cni_plugins.cli import main, places
from tests.netns.plugins.networks import full_bridge
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node

CONF_DIR = Path("/etc/cni/net.d")


class Printed(NamedTuple):
    """What a command printed: its list, and its remarks."""

    status: int
    lines: list[str]
    remarks: str

    @property
    def json(self) -> Any:
        """The list as JSON."""
        return json.loads("\n".join(self.lines))


Cnictl = Callable[..., Printed]


@pytest.fixture
def plugins(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InProcess:
    """The plugins, called in process on the node, where cnictl finds them too."""
    plugins = InProcess(node, tmp_path)
    monkeypatch.setenv("CNI_PATH", plugins.cni_path())
    return plugins


@pytest.fixture
def cnictl(plugins: InProcess, node: Node, *, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cnictl:
    """The command, run on the node; the machine's processes that are not on it do not count."""
    monkeypatch.setattr(places, "processes", lambda: list(map(str, node.processes())))
    found = os.stat(plugins.directory / "cni-plugins")

    def run(*arguments: str) -> Printed:
        capsys.readouterr()
        status = main(arguments, executable=(found.st_dev, found.st_ino))
        printed = capsys.readouterr()
        return Printed(status, printed.out.splitlines(), printed.err)

    return run


def configure(conf: dict[str, Any], *chained: dict[str, Any]) -> dict[str, Any]:
    """Write a network's list where runtimes look for it, and return its first plugin's configuration."""
    entries = [{key: value for key, value in one.items() if key not in ("name", "cniVersion")} for one in (conf, *chained)]
    text = json.dumps({"cniVersion": "1.0.0", "name": conf["name"], "plugins": entries})
    Path(CONF_DIR, f"10-{conf['name']}.conflist").write_text(text)
    return conf


@pytest.fixture
def conf(node: Node) -> dict[str, Any]:
    """A configured network, whose attachments leave all that a bridge's can leave."""
    return configure(full_bridge())


@pytest.fixture
def pod(node: Node) -> Container:
    """A container without any network."""
    return node.container("pod")


@pytest.fixture
def other(node: Node) -> Container:
    """Another one."""
    return node.container("other")
