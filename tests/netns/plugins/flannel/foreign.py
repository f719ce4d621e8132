"""A plugin of somebody else's as delegate: a shell script that writes down each call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.netns.plugins.flannel.scene import Scene
from tests.support.outcome import Outcome

RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "eth0", "sandbox": "/run/netns/pod"}],
    "ips": [{"address": "10.5.52.9/24", "gateway": "10.5.52.1", "interface": 0}],
}


class Foreign:
    """The delegate `foreign` on a scene. `calls` are the verbs that it got, `stdin` the bytes that came with each."""

    def __init__(self, scene: Scene, directory: Path) -> None:
        self.scene = scene
        self.directory = directory / "foreign"
        self.directory.mkdir()
        self.answers()

    def answers(self, commands: str = "", *, verb: str = "", result: dict[str, Any] | None = None) -> None:
        """What it does on `verb`, as shell commands; on ADD it prints its result, unless told otherwise."""
        script = self.directory / "foreign"
        add = commands if verb == "ADD" else f"echo '{json.dumps(result or RESULT)}'"
        special = f"{verb}) {commands} ;;" if verb not in ("", "ADD") else ""
        script.write_text(
            "#!/bin/sh\n"
            f'n=$(ls {self.directory} | grep -c "^call")\n'
            f"cat >{self.directory}/call-$n-$CNI_COMMAND-$CNI_IFNAME\n"
            f"case $CNI_COMMAND in\nADD) {add} ;;\n{special}\nesac\n"
        )
        script.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        """The verbs in order, each with its interface."""
        return [" ".join(path.name.split("-")[2:]).strip() for path in self._files]

    @property
    def stdin(self) -> list[bytes]:
        """What came on standard input with each call."""
        return [path.read_bytes() for path in self._files]

    @property
    def _files(self) -> list[Path]:
        return sorted(self.directory.glob("call-*"), key=lambda path: int(path.name.split("-")[1]))

    def call(self, verb: str, **keys: Any) -> Outcome:
        """A call of the flannel plugin that delegates to it."""
        return self.scene.call(verb, path=[self.directory], **{"delegate": {"type": "foreign", "odd": {"z": 1, "a": [1.5]}}, **keys})
