"""Any IPAM executable that CNI_PATH leads to works as a delegate, and whatever it does ends in a result or in an error that names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance import ledger
from tests.netns.plugins.networks import network
from tests.support.inprocess import InProcess
from tests.support.netns import Container
from tests.support.node import Node
from tests.support.outcome import Outcome
from tests.support.shared import SHARED

RESULT = {
    "cniVersion": "1.1.0",
    "ips": [{"address": "10.1.0.7/24", "gateway": "10.1.0.1"}],
    "routes": [{"dst": "192.0.2.0/24"}],
    "dns": {"nameservers": ["192.0.2.53"]},
}


class Foreign:
    """A shell script as IPAM plugin: `answers` says what it does on ADD. It writes down each call that it gets."""

    def __init__(self, plugins: InProcess, directory: Path, pod: Container) -> None:
        self.plugins, self.directory, self.pod = plugins, directory / "foreign", pod
        self.directory.mkdir()
        self.calls = self.directory / "calls"
        self.stdin = self.directory / "stdin"

    def answers(self, on_add: str) -> None:
        """What ADD does, as shell commands."""
        script = self.directory / "foreign"
        write_down = f'read -r line\necho "$CNI_COMMAND" >>{self.calls}\necho "$line" >{self.stdin}'
        script.write_text(f"#!/bin/sh\n{write_down}\n[ $CNI_COMMAND = ADD ] || exit 0\n{on_add}\n")
        script.chmod(0o755)

    def call(self, verb: str, **keys: Any) -> Outcome:
        """A call of the bridge plugin."""
        conf = network(**{"isGateway": True, "ipam": {"type": "foreign", "extra": {"kept": [1, "as it is"]}}, **keys})
        return self.plugins("bridge", verb, conf, container=self.pod, path=[self.directory])


@pytest.fixture
def foreign(plugins: InProcess, tmp_path: Path, pod: Container) -> Foreign:
    """A foreign IPAM plugin."""
    return Foreign(plugins, tmp_path, pod)


@pytest.mark.parametrize(
    "printed",
    [
        RESULT,
        {**RESULT, "cniVersion": "0.4.0", "ips": [{**RESULT["ips"][0], "version": "4"}]},  # type: ignore[index]
        {
            "cniVersion": "0.2.0",
            "ip4": {"ip": "10.1.0.7/24", "gateway": "10.1.0.1", "routes": [{"dst": "192.0.2.0/24"}]},
            "dns": RESULT["dns"],
        },
    ],
    ids=["1.1.0", "0.4.0", "0.2.0"],
)
def test_result_of_any_version_is_passed_on(foreign: Foreign, pod: Container, printed: dict[str, Any]) -> None:
    foreign.answers(f"echo '{json.dumps(printed)}'")
    result = foreign.call("ADD").result
    assert result["ips"] == [{"interface": 2, "address": "10.1.0.7/24", "gateway": "10.1.0.1"}]
    assert result["routes"] == RESULT["routes"]
    assert result["dns"] == RESULT["dns"]
    assert "10.1.0.7/24" in pod.run(["ip", "address", "show", "eth0"]).stdout
    assert json.loads(foreign.stdin.read_text())["ipam"]["extra"] == {"kept": [1, "as it is"]}
    assert foreign.call("DEL").code == 0
    assert foreign.calls.read_text().split() == ["ADD", "DEL"]


@pytest.mark.parametrize(
    ("on_add", "code", "words"),
    [
        ('echo \'{"code":11,"msg":"pool is busy","details":"ask again"}\'; exit 1', 11, ["foreign", "pool is busy"]),
        ('echo \'{"code":"odd","msg":7}\'; exit 3', 999, ["foreign"]),
        ("echo no memory left; exit 2", 999, ["foreign", "2"]),
        ("exit 5", 999, ["foreign", "5"]),
        ("kill -9 $$", 999, ["foreign", "9"]),
        ("echo '{\"ips\": '", 6, ["foreign", "JSON"]),
        ("true", 6, ["foreign"]),
        ("echo '[1,2]'", 6, ["foreign"]),
        ('echo \'{"cniVersion":"1.1.0"}\'', 7, ["foreign", "no address"]),
        ('echo \'{"cniVersion":"9.9.9","ips":[]}\'', 6, ["foreign", "9.9.9"]),
        ('echo \'{"cniVersion":"1.1.0","ips":[{"address":"10.1.0.7"}]}\'', 6, ["foreign", "10.1.0.7"]),
        ("head -c 20000000 /dev/zero", 5, ["foreign"]),
    ],
)
def test_failure_is_an_error_that_names_the_delegate_and_del_is_sent(
    foreign: Foreign, node: Node, *, on_add: str, code: int, words: list[str]
) -> None:
    foreign.answers(on_add)
    before = node.ledger()
    error = foreign.call("ADD").error
    assert error["code"] == code, error
    assert not [word for word in words if word not in error["msg"]], error
    assert foreign.calls.read_text().split() == ["ADD", "DEL"], "a delegate that failed may have left something: it must be told"
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


def test_failure_after_the_lease_gives_it_back(foreign: Foreign, pod: Container) -> None:
    foreign.answers(f"echo '{json.dumps({**RESULT, 'routes': [{'dst': '192.0.2.0/24', 'gw': '203.0.113.1'}]})}'")
    assert "192.0.2.0/24" in foreign.call("ADD").error["msg"]
    assert foreign.calls.read_text().split() == ["ADD", "DEL"]


def test_missing_delegate_is_an_error_before_anything_is_changed(foreign: Foreign, node: Node) -> None:
    before = node.ledger()
    error = foreign.call("ADD", ipam={"type": "whereabouts"}).error
    assert error["code"] == 7
    assert "'whereabouts'" in error["msg"]
    assert str(foreign.directory) in error["msg"]
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []


@pytest.mark.parametrize("name", ["../foreign/foreign", "/bin/true", "."])
def test_delegate_cannot_be_a_path(foreign: Foreign, name: str) -> None:
    foreign.answers("true")
    assert "is not the name of a plugin" in foreign.call("ADD", ipam={"type": name}).error["msg"]


def test_delegate_that_is_no_program_is_named_with_its_path(foreign: Foreign) -> None:
    (foreign.directory / "foreign").write_text("no program")
    error = foreign.call("ADD").error
    assert f"{foreign.directory}/foreign" in error["msg"]


def test_delete_that_the_delegate_refuses_is_passed_on_and_can_be_repeated(foreign: Foreign, node: Node) -> None:
    foreign.answers(f"echo '{json.dumps(RESULT)}'")
    before = node.ledger()
    assert foreign.call("ADD").code == 0
    good = (foreign.directory / "foreign").read_text()
    (foreign.directory / "foreign").write_text('#!/bin/sh\necho \'{"code":11,"msg":"server is down"}\'\nexit 1\n')
    error = foreign.call("DEL").error
    assert (error["code"], error["msg"]) == (11, "foreign: server is down")
    (foreign.directory / "foreign").write_text(good)
    assert foreign.call("DEL").code == 0
    assert foreign.calls.read_text().split() == ["ADD", "DEL"]
    assert ledger.diff(before, node.ledger(), ignore=SHARED) == []
