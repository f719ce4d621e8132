"""A plugin of somebody else's: a shell script that writes down each call, makes an interface on ADD, and fails where it is told to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_SCRIPT = """\
#!/bin/sh
n=$(ls {directory} | grep -c '^call')
cat >{directory}/call-$n-$CNI_COMMAND-$CNI_IFNAME
echo "$CNI_ARGS" >{directory}/args-$n
case $CNI_COMMAND in
{special}
ADD) ip -n "${{CNI_NETNS##*/}}" link add "$CNI_IFNAME" type dummy
     echo "{{\\"cniVersion\\":\\"1.1.0\\",\\"interfaces\\":[{{\\"name\\":\\"$CNI_IFNAME\\",\\"sandbox\\":\\"$CNI_NETNS\\"}}]}}" ;;
DEL) ip -n "${{CNI_NETNS##*/}}" link delete "$CNI_IFNAME" 2>/dev/null || true ;;
esac
"""
FAILURE = """echo '{"cniVersion":"1.1.0","code":77,"msg":"told to fail"}'; exit 1"""


class Foreign:
    """The plugin `foreign` in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "foreign"
        self.directory.mkdir()
        self.answers()

    def answers(self, verb: str = "", commands: str = FAILURE) -> None:
        """Make it run `commands` on a verb; behave on all others."""
        script = self.directory / "foreign"
        script.write_text(_SCRIPT.format(directory=self.directory, special=f"{verb}) {commands} ;;" if verb else ""))
        script.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        """Verb and interface of each call."""
        return [" ".join(path.name.split("-")[2:]).strip() for path in self._files("call")]

    @property
    def stdin(self) -> list[dict[str, Any]]:
        """What came with each call."""
        return [json.loads(path.read_bytes()) for path in self._files("call")]

    @property
    def args(self) -> list[str]:
        """CNI_ARGS of each call."""
        return [path.read_text().strip() for path in self._files("args")]

    def forget(self) -> None:
        """Start counting anew."""
        for path in (*self._files("call"), *self._files("args")):
            path.unlink()

    def _files(self, kind: str) -> list[Path]:
        return sorted(self.directory.glob(f"{kind}-*"), key=lambda path: int(path.name.split("-")[1]))
