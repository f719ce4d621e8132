"""One network, run by flannel's own plugin and by ours in turn: each deletes what the other added."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance import ledger
from tests.lab import peers
from tests.netns.plugins.flannel.foreign import Foreign
from tests.netns.plugins.flannel.scene import REST, SHARED, SUBNET_FILE, V4, V6, Scene, states
from tests.netns.plugins.networks import RECORDS, leases
from tests.support.outcome import Outcome

VERSION = "1.0.0"
_STALE = (*SHARED, r"node file /run/cni-plugins/records/[^/]+", r"node file /var/lib/cni/flannel/[^/]+:[^/]+")
"""What flannel's own plugin cannot know of and therefore leaves of ours: our records, and the states under our name."""


class Theirs:
    """Flannel's own plugin with the reference plugins as delegates."""

    def __init__(self, scene: Scene, reference_bin: Path) -> None:
        self.scene = scene
        self.reference_bin = reference_bin
        self.program = peers.program("flannel")

    def call(self, verb: str, *, path: Path | None = None, **keys: Any) -> Outcome:
        """One call for the scene's pod; `path` is CNI_PATH."""
        conf = self.scene.conf(**{"cniVersion": VERSION, **keys})
        return self.scene.node.cni(self.program, verb, conf, container=self.scene.pod, path=path or self.reference_bin)


@pytest.fixture
def theirs(scene: Scene, reference_bin: Path) -> Theirs:
    """Flannel's own plugin on the scene, which has been used before by both."""
    scene.assign(FLANNEL_IPMASQ="false")
    other = Theirs(scene, reference_bin)
    for call in (scene.call, other.call):
        for verb in ("ADD", "DEL"):
            assert call(verb, cniVersion=VERSION).code == 0
    return other


@pytest.mark.parametrize("delegates", ["ours", "theirs"])
@pytest.mark.parametrize("subnet_file", ["there", "gone"])
def test_attachment_that_flannels_plugin_added_is_deleted_by_ours(theirs: Theirs, delegates: str, subnet_file: str) -> None:
    scene = theirs.scene
    before = scene.node.ledger()
    assert theirs.call("ADD").code == 0
    assert states() == {scene.pod.id}
    text = SUBNET_FILE.read_text()
    if subnet_file == "gone":
        SUBNET_FILE.unlink()
    path = [theirs.reference_bin] if delegates == "theirs" else []
    for _ in range(2):
        scene.good("DEL", cniVersion=VERSION, path=path)
    SUBNET_FILE.write_text(text)
    assert ledger.diff(before, scene.node.ledger(), ignore=(*SHARED, "node file /run/flannel/subnet.env")) == []


@pytest.mark.parametrize("delegates", ["ours", "theirs"])
def test_attachment_that_ours_added_is_deleted_by_flannels_plugin_and_by_ours_once_more(
    theirs: Theirs, plugin_dir: Path, delegates: str
) -> None:
    scene = theirs.scene
    before = scene.node.ledger()
    path = plugin_dir if delegates == "ours" else theirs.reference_bin
    scene.good("ADD", cniVersion=VERSION, path=[path])
    assert theirs.call("DEL", path=path).code == 0
    assert not leases()
    assert ledger.diff(before, scene.node.ledger(), ignore=_STALE) == []
    scene.good("DEL", cniVersion=VERSION, path=[path])
    assert ledger.diff(before, scene.node.ledger(), ignore=SHARED) == []


def test_attachment_that_flannels_plugin_added_passes_our_check(theirs: Theirs) -> None:
    result = theirs.call("ADD").result
    theirs.scene.good("CHECK", cniVersion=VERSION, prevResult=result)
    theirs.scene.pod.run(["ip", "link", "set", "eth0", "down"])
    assert theirs.scene.call("CHECK", cniVersion=VERSION, prevResult=result).error["code"] == 103


def test_our_gc_removes_what_flannels_plugin_left_of_vanished_containers(theirs: Theirs) -> None:
    scene = theirs.scene
    assert theirs.call("ADD").code == 0
    scene.pod.delete()
    scene.good("GC", None, **{"cni.dev/valid-attachments": []})
    assert (leases(), states()) == (set(), set())


def test_ours_gives_no_address_that_flannels_plugin_has_given(theirs: Theirs) -> None:
    scene = theirs.scene
    taken = theirs.call("ADD").result["ips"]
    given = scene.good("ADD", scene.other, cniVersion=VERSION)["ips"]
    assert not {ip["address"] for ip in taken} & {ip["address"] for ip in given}
    assert not list(RECORDS.glob("*.host-local"))


@pytest.mark.parametrize(
    "values",
    [V4 | V6 | REST, V4 | REST, V6 | REST, V4 | REST | {"FLANNEL_IPMASQ": "false", "FLANNEL_MTU": "8950"}],
    ids=["dual stack", "IPv4", "IPv6", "not masqueraded"],
)
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"delegate": {"mtu": 1400, "ipMasq": True, "hairpinMode": True, "vlan": 5}},
        {"delegate": {"isGateway": False, "isDefaultGateway": True}},
        {"ipam": {"type": "other", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.5.52.1"}], "dataDir": "/run/x"}},
        {"ipam": {"subnet": "192.0.2.0/24", "ranges": [[{"subnet": "198.51.100.0/24"}]]}},
        {"runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 80, "protocol": "tcp"}]}, "capabilities": {"ips": True}},
    ],
    ids=["bare", "own keys", "no gateway", "own ipam", "own ranges", "runtimeConfig"],
)
@pytest.mark.parametrize("kind", ["bridge", "foreign"])
def test_delegate_gets_the_same_from_both(scene: Scene, tmp_path: Path, *, values: dict[str, str], keys: dict[str, Any], kind: str) -> None:
    foreign = Foreign(scene, tmp_path)
    if kind == "bridge":
        (foreign.directory / "foreign").rename(foreign.directory / "bridge")
    scene.assign(values)
    keys = {**keys, "delegate": {**keys.get("delegate", {}), **({"type": kind} if kind != "bridge" else {})}}
    conf = scene.conf(cniVersion=VERSION, **keys)
    theirs = scene.node.cni(peers.program("flannel"), "ADD", conf, container=scene.pod, path=foreign.directory)
    assert theirs.code == 0, theirs
    assert scene.plugins("flannel", "ADD", conf, container=scene.other, path=[foreign.directory]).code == 0
    assert foreign.calls == ["ADD eth0", "ADD eth0"]
    first, second = map(json.loads, foreign.stdin)
    assert first == second
