"""A delegate that writes down how it was called: what a plugin does with the plugin that it delegates to.

delegate = lab.fake_ipam()
pod = lab.attached(conf=delegate.conf())
delegate.fails("DEL", code=100)
lab.delete(pod, delegate.conf()).fails()
assert [call.verb for call in delegate.calls()] == ["ADD", "DEL"]
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance.lab import Conf, Lab

DIRECTORY = Path("/run/conformance/fakes")
NAME = "fake-ipam"
# A shell script, because that is what every machine has. Calls are numbered by the directories that they manage to make.
_SCRIPT = """\
#!/bin/sh
cd /run/conformance/fakes
number=0
until mkdir calls/$number 2>&-; do number=$((number + 1)); done
env > calls/$number/env
cat > calls/$number/stdin
if [ -e "$CNI_COMMAND.error" ]; then cat "$CNI_COMMAND.error"; exit 1; fi
if [ -e "$CNI_COMMAND.answer" ]; then cat "$CNI_COMMAND.answer"; fi
"""


@dataclass(frozen=True, slots=True)
class DelegateCall:
    """One call that a delegate got: CNI_COMMAND, its environment, and its configuration as it came."""

    verb: str
    env: dict[str, str]
    stdin: str

    @property
    def conf(self) -> Any:
        """The configuration; None when it is not JSON."""
        try:
            return json.loads(self.stdin)
        except ValueError:
            return None


class FakeIpam:
    """The fake IPAM plugin `fake-ipam`, which gives the same addresses to everybody."""

    def __init__(self, lab: Lab, result: dict[str, Any]) -> None:
        self._lab = lab
        (DIRECTORY / "calls").mkdir(parents=True)
        self._write(NAME, _SCRIPT, executable=True)
        self._write("ADD.answer", json.dumps(result))

    def _write(self, name: str, text: str, *, executable: bool = False) -> None:
        path = DIRECTORY / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if executable else 0o644)
        self._lab.transcript.step(
            f"mkdir -p {DIRECTORY}/calls; cat > {path} <<'FAKE'\n{text.rstrip()}\nFAKE\nchmod {path.stat().st_mode & 0o777:o} {path}"
        )

    def conf(self, **changes: Any) -> Conf:
        """Return `lab.conf(**changes)` with this delegate in place of the profile's."""
        return self._lab.conf(ipam=None, **changes) | {"ipam": {"type": NAME}}

    def fails(self, verb: str, *, code: int, msg: str = "the delegate refuses") -> None:
        """Make it fail at a verb from now on."""
        self._write(f"{verb}.error", json.dumps({"cniVersion": self._lab.version, "code": code, "msg": msg}))

    def recovers(self, verb: str) -> None:
        """Take `fails` back."""
        self._lab.do(f"rm {DIRECTORY}/{verb}.error")

    def calls(self, verb: str | None = None) -> list[DelegateCall]:
        """Return the calls so far, oldest first; only those of one verb if given."""
        numbers = sorted(map(int, os.listdir(DIRECTORY / "calls")))
        found = [_read(DIRECTORY / "calls" / str(number)) for number in numbers]
        return [call for call in found if verb in {None, call.verb}]


def _read(directory: Path) -> DelegateCall:
    lines = (directory / "env").read_text(errors="replace").splitlines()
    env = dict(line.split("=", 1) for line in lines if "=" in line)
    return DelegateCall(env.get("CNI_COMMAND", ""), env, (directory / "stdin").read_text(errors="replace"))
