"""The page that teaches how to write a plugin shows one that works: this runs the page's own code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cni_plugins import registry
from cni_plugins.model import _frozen
from tests.support.inprocess import InProcess
from tests.support.node import Node
from tests.support.paths import REPO

CHAIN = {"cniVersion": "1.1.0", "name": "net"}
PREV = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "eth0", "sandbox": "/run/netns/pod"}],
    "ips": [{"address": "10.22.0.5/16", "interface": 0}, {"address": "fd22::5/64", "interface": 0}],
}


@pytest.fixture
def hosts(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InProcess:
    """The plugin of the page, as a plugin of ours, with its model frozen as a build freezes it."""
    page = (REPO / "docs/writing-a-plugin.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "hosts.py").write_text(code)
    (tmp_path / "frozen").mkdir()
    freeze = (
        "import sys; from pathlib import Path; from cni_plugins.model import freezer; freezer.write(['hosts:HostsConf'], Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", freeze, tmp_path / "frozen"], env={"PYTHONPATH": f"{REPO}:{tmp_path}"}, check=True)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(_frozen, "__path__", [*_frozen.__path__, str(tmp_path / "frozen")])
    monkeypatch.setitem(registry.PLUGINS, "hosts", "hosts")
    monkeypatch.delitem(sys.modules, "hosts", raising=False)
    return InProcess(node, tmp_path)


def test_the_page_s_plugin_publishes_checks_and_withdraws_a_container(hosts: InProcess, node: Node) -> None:
    pod = node.container()
    conf = {**CHAIN, "directory": "/run/hosts.d", "prevResult": PREV}
    assert hosts("hosts", "ADD", conf, container=pod).result["ips"] == PREV["ips"]
    (file,) = Path("/run/hosts.d").iterdir()
    assert file.read_text() == f"10.22.0.5 {pod.id}\nfd22::5 {pod.id}\n"
    assert hosts("hosts", "CHECK", conf, container=pod).code == 0
    file.write_text("")
    assert "is not as it was written" in hosts("hosts", "CHECK", conf, container=pod).error["msg"]
    assert hosts("hosts", "DEL", {**CHAIN, "directory": "/elsewhere"}, container=pod).code == 0
    assert not list(Path("/run/hosts.d").iterdir())


def test_the_page_s_plugin_collects_what_no_container_owns_any_more(hosts: InProcess, node: Node) -> None:
    kept, gone = node.container("kept"), node.container("gone")
    for pod in (kept, gone):
        hosts("hosts", "ADD", {**CHAIN, "prevResult": PREV}, container=pod)
    valid = [{"containerID": kept.id, "ifname": "eth0"}]
    assert hosts("hosts", "GC", {**CHAIN, "cni.dev/valid-attachments": valid}).code == 0
    (file,) = Path("/run/hosts.d").iterdir()
    assert kept.id in file.read_text()


def test_the_page_s_plugin_names_the_field_that_is_wrong(hosts: InProcess, node: Node) -> None:
    answer = hosts("hosts", "ADD", {**CHAIN, "directory": 7, "prevResult": PREV}, container=node.container())
    assert answer.error["code"] == 7
    assert "directory" in answer.error["msg"]
    assert not Path("/run/hosts.d").exists()
