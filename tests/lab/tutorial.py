"""docs/tutorial-second-overlay.md, followed to the letter: its commands are run, and must print what the page says.

What is another one in every run (ages, subnets, the ends of names) is compared as such, and so is the order of lines. A command whose
output the page does not show need only succeed.
"""

from __future__ import annotations

import json
import re
import tomllib
from contextlib import suppress
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

from tests.lab import peers, two_networks
from tests.lab.machine import LabError, Machine, wait_for
from tests.lab.overlay_cluster import BIN, OverlayCluster
from tests.support.paths import REPO

PAGE = REPO / "docs" / "tutorial-second-overlay.md"
NODES, ADMINISTRATOR = "# ", "$ "
#: What the lab does in its own way: the image goes through no registry, and etcd's own client is not there.
ELSEWHERE = ("make build", "podman ", "etcdctl ")
#: May be asked again until the answer is the page's.
QUESTIONS = ("kubectl get ", "kubectl -n kube-system logs ", "ls ", "cat ", "cnictl ")
MASKS = (
    (r"\b10\.(244|50)\.\d+\.(?![01]\b)\d+", r"10.\1.SUBNET.POD"),
    (r"\b10\.(244|50)\.\d+\.([01])\b", r"10.\1.SUBNET.\2"),
    (r"\b192\.168\.77\.1[12]\b|\bnode[12]\b", "NODE"),
    (r"\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b", "MAC"),
    (r"\b\d[\dhm]*[hms]\b", "AGE"),
    (r"(?<![\d.])\d+\.\d{3}(?![\d.])", "TIME"),
    (r"\bcni-plugins-[a-z0-9]{5}\b", "cni-plugins-ID"),
    (r"\b\d+ \(AGE ago\)", "TIMES (AGE ago)"),
    (r"AGE \(x\d+ over AGE\)", "AGE"),
    (r" +", " "),
    (r"(?m) $", ""),
)


class Command(NamedTuple):
    """A command of the page: where it is typed (NODES or ADMINISTRATOR), and what it prints; empty when the page does not say."""

    where: str
    text: str
    output: str


def blocks(language: str = "") -> dict[int, list[str]]:
    """The page's blocks of a language, by the number of the step in which they stand."""
    found: dict[int, list[str]] = {}
    for number, text in re.findall(r"^## (\d+)\..*?\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        found[int(number)] = [block for kind, block in fenced if kind == language]
    return found


def commands(step: int) -> list[Command]:
    """A step's commands, in their order."""
    found: list[Command] = []
    for block in blocks()[step]:
        for line in block.splitlines(keepends=True):
            if line.startswith((NODES, ADMINISTRATOR)):
                found.append(Command(line[:2], line[2:].rstrip("\n"), ""))
            else:
                found[-1] = found[-1]._replace(output=found[-1].output + line)
    return found


def masked(text: str) -> str:
    """A text without what is another one in every run, the order of its lines (routes, nodes) and their repetition (events) included."""
    for pattern, name in MASKS:
        text = re.sub(pattern, name, text)
    return "\n".join(sorted({*text.splitlines()}))


class Reader:
    """Follows the page in a cluster. `names` are words of the page, addresses say, with what they are here."""

    def __init__(self, cluster: OverlayCluster) -> None:
        self._cluster = cluster
        manifest = cluster.directory / "flannel2.yaml"
        manifest.write_text(blocks("yaml")[6][0])
        self.names = {manifest.name: str(manifest)}

    def follow(self, step: int, *, skip: int = 0, stop: int | None = None) -> None:
        """Type a step's commands, or some of them. Raises AssertionError when one prints something else than the page shows."""
        for command in commands(step)[skip:stop]:
            if not command.text.startswith(ELSEWHERE):
                self._try(command)

    def _try(self, command: Command) -> None:
        expected = masked(command.output)
        seen = self._ask(command, expected) if command.text.startswith(QUESTIONS) else masked(self._type(command))
        assert not expected or seen == expected, f"{command.text}\n{seen}\n\nis not, as the page has it,\n{expected}"

    def _ask(self, command: Command, expected: str) -> str:
        """Ask until the answer is the expected one. Returns the last one."""
        answers = [""]

        def agrees() -> bool:
            answers.append(masked(self._type(command, check=False)))
            return answers[-1] == expected

        with suppress(LabError):
            wait_for(agrees, command.text)
        return answers[-1]

    def _type(self, command: Command, *, check: bool = True) -> str:
        text = command.text
        for name, own in self.names.items():
            text = text.replace(name, own)
        machine, path = self._place(command.where)
        script = f"cd {REPO}; PATH={path}:$PATH KUBECONFIG={self._cluster.control.kubeconfig}; export PATH KUBECONFIG; {text}"
        return machine.run("sh", "-ec", script, check=check).stdout

    def _place(self, where: str) -> tuple[Machine, Any]:
        if where == NODES:
            return next(iter(self._cluster.workers.values())).machine, BIN
        return self._cluster.control.machine, peers.directory("kubernetes")


def assert_files_are_those_of_the_lab() -> None:
    """What the page has the reader write is what the lab's cluster runs with."""
    ((agent,),) = filter(None, blocks("toml").values())
    assert tomllib.loads(agent) == tomllib.loads(two_networks.AGENT)
    definition, pod = (yaml.safe_load(text) for texts in blocks("yaml").values() for text in texts)
    for one in (definition, wanted := json.loads(json.dumps(two_networks.DEFINITION))):
        one["spec"]["config"] = json.loads(one["spec"]["config"])
    assert definition == wanted
    assert pod["metadata"]["annotations"] == two_networks.BOTH
    config = json.dumps({"Network": two_networks.SECOND_NETWORK, "Backend": {"Type": "vxlan", "VNI": two_networks.VNIS[1]}})
    words = f"etcdctl --endpoints {two_networks.ETCD} put {two_networks.PREFIX}/config '{config}'"
    assert [command.text for command in commands(2)] == [words]
