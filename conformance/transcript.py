"""What was done in a case, written down so that a person can do it again: a shell script, and one line for each call.

calls = Transcript()
calls.step("ip netns add pod")
number = calls.call(command, env, conf)
calls.answered(number, stdout, "exit status 0")
print(calls.script())
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_SETUP = """\
mount --make-rprivate /
for directory in /run /var/lib/cni; do mkdir -p $directory; mount -t tmpfs node $directory; done
mkdir /run/netns; mount -t sysfs sysfs /sys; ip link set lo up"""
_LOOK = """\
echo "what is on the node now:"; ip -oneline address; ip -oneline link; ip route; nft --stateless list ruleset
find /run /var/lib/cni ! -type d ! -name 'answer.*'"""
_SHOWN = 300


@dataclass
class _Call:
    command: list[str]
    env: dict[str, str]
    stdin: bytes | Mapping[str, Any]
    closed: bool = False
    killed: str = ""
    stdout: str = ""
    outcome: str = "not waited for"
    referenced: bool = False
    prev: int | None = None


@dataclass
class Transcript:
    """The steps of one case, in order."""

    steps: list[str | _Call] = field(default_factory=list)

    def step(self, command: str) -> None:
        """Write down a shell command."""
        self.steps.append(command)

    def call(self, command: Sequence[str], env: Mapping[str, str], stdin: bytes | Mapping[str, Any], *, closed: bool = False) -> int:
        """Write down a call that begins, `closed` if without a standard error; returns its number."""
        call = _Call(list(command), dict(env), stdin, closed)
        if isinstance(stdin, Mapping) and stdin.get("prevResult") is not None:
            call.prev = self._source(stdin["prevResult"])
        self.steps.append(call)
        return len(self.steps) - 1

    def killed(self, number: int, signal: str, after: float) -> None:
        """Write down that call `number` was sent a signal (SIGKILL, …), `after` seconds."""
        self._call(number).killed = f"timeout -s {signal.removeprefix('SIG')} {max(after, 0.001):.3f}"

    def answered(self, number: int, stdout: str, outcome: str) -> None:
        """Write down how call `number` ended; `outcome` is for people."""
        call = self._call(number)
        call.stdout, call.outcome = stdout, outcome

    def _call(self, number: int) -> _Call:
        call = self.steps[number]
        assert isinstance(call, _Call)
        return call

    def _source(self, result: object) -> int | None:
        """The latest call whose answer this result is."""
        for number in range(len(self.steps) - 1, -1, -1):
            step = self.steps[number]
            if isinstance(step, _Call) and _parsed(step.stdout) == result:
                step.referenced = True
                return number
        return None

    def lines(self) -> list[str]:
        """One line for each step: what was called, and what came of it."""
        return [step if isinstance(step, str) else _told(step) for step in self.steps]

    def script(self, *, look: bool = False) -> str:
        """A script for a root shell that does everything again in namespaces of its own, and prints what the plugin answers.

        With `look` it shows at last what is on the node.
        """
        if not self.steps:
            return ""
        body = [_SETUP, *(step if isinstance(step, str) else _shell(number, step) for number, step in enumerate(self.steps))]
        body += [_LOOK] if look else []
        return "unshare --net --mount sh <<'AGAIN'\n" + "\n".join(body) + "\nAGAIN\n"


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _told(call: _Call) -> str:
    variables = " ".join(f"{name}={value}" for name, value in call.env.items() if name.startswith("CNI_") and name != "CNI_PATH")
    return f"{variables} {call.command[0]}: {call.outcome}"


def _shell(number: int, call: _Call) -> str:
    words = ["env", "-i", 'PATH="$PATH"', *(f"{name}={shlex.quote(value)}" for name, value in call.env.items() if name != "PATH")]
    words += [call.killed] if call.killed else []
    words += map(shlex.quote, call.command)
    words += ["2>&-"] if call.closed else []
    keep = f" | tee /run/answer.{number}" if call.referenced else ""
    status = "" if call.referenced else '; echo "exit status $?"'
    text, quoted = _stdin(call)
    delimiter = "JSON" if not quoted else "'JSON'"
    return f"{' '.join(words)} <<{delimiter}{keep}{status}\n{text}\nJSON"


def _stdin(call: _Call) -> tuple[str, bool]:
    """The text for a here-document, and whether its delimiter must be quoted (the shell then leaves the text alone)."""
    if isinstance(call.stdin, bytes):
        return call.stdin.decode(errors="replace"), True
    if call.prev is None:
        return json.dumps(call.stdin), True
    rest = {key: value for key, value in call.stdin.items() if key != "prevResult"}
    escaped = json.dumps(rest).replace("\\", "\\\\").replace("$", "\\$").replace("`", "\\`")
    return f'{escaped[:-1]}, "prevResult": $(cat /run/answer.{call.prev})}}', False


def shown(text: str) -> str:
    """Return a plugin's output as it is told: on one line, and cut when it is long."""
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
