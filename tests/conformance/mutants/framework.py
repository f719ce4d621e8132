"""A mutant: a good plugin in a wrapper that makes it wrong in exactly one way.

    MUTANTS = {
        "VER-02": Mutant(verbs={"VERSION"}, after=lambda call: call.edit(lambda answer: answer.pop("supportedVersions"))),
        "DEL-03": Mutant(verbs={"DEL"}, before=lambda call: call.refuse(3, "no such attachment") if call.first("added") else None),
        "CHK-07": Mutant(verbs={"CHECK"}, instead=lambda call: call.answer("")),
        "IPM-01": Mutant(plugin="host-local", verbs={"ADD"}, after=hand_out_the_same_address),
    }

A case that no plugin at hand passes has an entry in the table `MENDED` too: what makes one of them a good plugin, as hooks likewise.

The wrapper is a Python script in a directory of its own; hooks run in its process, with the environment of the call. Tables import
this module and the standard library, nothing else: every call of a mutant pays for the imports. `Call` is what hooks work with.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path
    from typing import Any, NoReturn

    Hook = Callable[["Call"], object]

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BROKE = "broke"
"""File in a mutant's directory that tells of an error in a hook: such a mutant proves nothing."""
_SCRIPT = """\
#!{python} -ISB
import sys
sys.path.insert(0, {repo!r})
from tests.conformance.mutants.framework import play
play({module!r}, {case!r}, good={good!r}, table={table!r})
"""


class Mutant:
    """One way to be wrong. Hooks get a `Call`, what they return is not looked at.

    `profile` is the profile that case and mutant run with. `plugin` is the executable that is wrong: the profile's own if empty, or one
    that it delegates to. `verbs` are the operations with a fault, all if empty; the others go to the good plugin as they are.
    `before` runs before the good plugin and may change `call.env` and `call.stdin`, or answer, and the good plugin isn't called then;
    `instead` takes its place; `after` may change `call.stdout` and `call.status`, and what the plugin did.
    `reference` takes the reference's plugins as the good ones, ours otherwise: ours call their own IPAM without executing a plugin.
    `changes` are merged into the profile's configuration, for the good plugin's run as well.
    """

    __slots__ = ("after", "before", "changes", "instead", "plugin", "profile", "reference", "verbs")

    def __init__(
        self,
        *,
        profile: str = "bridge",
        plugin: str = "",
        verbs: Iterable[str] = (),
        before: Hook | None = None,
        instead: Hook | None = None,
        after: Hook | None = None,
        reference: bool = False,
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        self.profile = profile
        self.plugin = plugin
        self.verbs = frozenset(verbs)
        self.before = before
        self.instead = instead
        self.after = after
        self.reference = reference
        self.changes = dict(changes or {})

    def write(self, directory: Path, *, module: str, case: str, good: Path, table: str = "MUTANTS") -> Path:
        """Write the wrapper into a directory, and return it.

        `good` is the executable that it wraps; `module`, `table` and `case` say where this mutant stands.
        """
        path = directory / good.name
        script = _SCRIPT.format(python=sys.executable, repo=REPO, module=module, case=case, good=str(good), table=table)
        path.write_text(script, encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path


class Call:
    """One call of a mutant: what it was given, and, after the good plugin, what that answered.

    `env` is the environment, `stdin` the configuration as bytes; `status` and `stdout` are the answer's.
    """

    def __init__(self, good: str, memory: str) -> None:
        self.good = good
        self.memory = memory
        self.env = dict(os.environ)
        self.stdin = _read_all(0)
        self.status = 0
        self.stdout = b""
        self.answered = False

    @property
    def verb(self) -> str:
        """CNI_COMMAND."""
        return self.env.get("CNI_COMMAND", "")

    @property
    def conf(self) -> dict[str, Any]:
        """The configuration; assign to it to change what the good plugin gets. Empty when it isn't a JSON object."""
        try:
            conf = json.loads(self.stdin)
        except ValueError:
            return {}
        return conf if isinstance(conf, dict) else {}

    @conf.setter
    def conf(self, conf: object) -> None:
        self.stdin = json.dumps(conf).encode()

    @property
    def result(self) -> dict[str, Any]:
        """The answer's JSON object; assign to it to change it. Empty when there is none."""
        return json.loads(self.stdout) if self.stdout.strip() else {}

    @result.setter
    def result(self, result: object) -> None:
        self.stdout = json.dumps(result).encode()

    def run(self) -> None:
        """Call the good plugin, once; its answer becomes this call's."""
        self.status, self.stdout = self.other()
        self.answered = True

    def other(self, verb: str | None = None, conf: object = None, **env: str | None) -> tuple[int, bytes]:
        """Call the good plugin with changes, and return exit status and stdout: this call's answer stays as it is."""
        variables = {**self.env, **({"CNI_COMMAND": verb} if verb else {}), **env}
        stdin = self.stdin if conf is None else json.dumps(conf).encode()
        return spawn(self.good, {name: value for name, value in variables.items() if value is not None}, stdin)

    def answer(self, stdout: str | bytes | dict[str, Any] = b"", status: int = 0) -> None:
        """Answer this, in place of the good plugin or of its answer."""
        text = json.dumps(stdout) if isinstance(stdout, dict) else stdout
        self.stdout = text.encode() if isinstance(text, str) else text
        self.status = status
        self.answered = True

    def refuse(self, code: int, msg: str = "refused") -> None:
        """Answer with an error, as a right plugin does."""
        self.answer({"cniVersion": self.conf.get("cniVersion", "1.1.0"), "code": code, "msg": msg}, status=1)

    def edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the answer's JSON object in place, if the call succeeded."""
        if self.status == 0:
            result = self.result
            change(result)
            self.result = result

    def edit_conf(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the configuration in place that the good plugin gets."""
        conf = self.conf
        change(conf)
        self.conf = conf

    def host(self, command: str, *, check: bool = True) -> str:
        """Run a shell command on the node, and return its output. Raises OSError when it fails, unless `check` is False."""
        return self._shell(["sh", "-c", command], check=check)

    def inside(self, command: str, *, check: bool = True) -> str:
        """Run a shell command in the container's network namespace."""
        return self._shell(["nsenter", f"--net={self.env['CNI_NETNS']}", "sh", "-c", command], check=check)

    def first(self, name: str) -> bool:
        """True the first time that this name is asked for by any call of this mutant, False from then on."""
        try:
            os.close(os.open(f"{self.memory}/{name}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def remember(self, name: str, value: str = "") -> None:
        """Keep a text for later calls of this mutant."""
        with open(f"{self.memory}/{name}", "w", encoding="utf-8") as file:
            file.write(value)

    def recall(self, name: str) -> str | None:
        """Return what was kept under this name; None if nothing was."""
        try:
            with open(f"{self.memory}/{name}", encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def _shell(self, command: list[str], *, check: bool) -> str:
        status, output = spawn(command[0], self.env | {"PATH": os.environ.get("PATH", os.defpath)}, b"", words=command[1:], aside=True)
        if status and check:
            raise OSError(f"{command}: exit status {status}")
        return output.decode(errors="replace")


def spawn(path: str, env: dict[str, str], stdin: bytes, *, words: Iterable[str] = (), aside: bool = False) -> tuple[int, bytes]:
    """Execute a program; returns exit status, negative for a death by signal, and stdout.

    SIGTERM is passed on to it, unless it is `aside`: then no signal for the plugin's process group reaches it.
    """
    given, taken = os.memfd_create("stdin"), os.memfd_create("stdout")
    os.write(given, stdin)
    os.lseek(given, 0, os.SEEK_SET)
    streams = [(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, taken, 1)]
    defaults = [signal.SIGPIPE, signal.SIGTERM]
    if aside:
        pid = os.posix_spawnp(path, [path, *words], env, file_actions=streams, setsigdef=defaults, setpgroup=0)
    else:
        pid = os.posix_spawnp(path, [path, *words], env, file_actions=streams, setsigdef=defaults)
    signal.signal(signal.SIGTERM, lambda *_: None if aside else _terminate(pid))
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.lseek(taken, 0, os.SEEK_SET)
    output = _read_all(taken)
    os.close(given)
    os.close(taken)
    return status, output


def _terminate(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has ended, and its answer is on the way


def play(module: str, case: str, *, good: str, table: str) -> NoReturn:
    """Be the mutant of a case for one call: run its hooks around the good plugin, answer, and end.

    With arguments it is no call, but the daemon of a plugin: that is the good one.
    """
    if len(sys.argv) > 1:
        os.execv(good, [good, *sys.argv[1:]])
    if sys.argv[1:]:
        os.execv(good, [good, *sys.argv[1:]])
    directory = os.path.dirname(os.path.abspath(sys.argv[0]))
    __import__(module)
    mutant: Mutant = getattr(sys.modules[module], table)[case]
    try:
        call = Call(good, directory)
        if mutant.verbs and call.verb not in mutant.verbs:
            call.run()
        else:
            _with_hooks(mutant, call)
    except Exception as error:
        with open(f"{directory}/{BROKE}", "a", encoding="utf-8") as file:
            file.write(f"{type(error).__name__}: {error}\n")
        raise
    while call.stdout:
        call.stdout = call.stdout[os.write(1, call.stdout) :]
    if call.status < 0:
        signal.signal(-call.status, signal.SIG_DFL) if -call.status != signal.SIGKILL else None
        os.kill(os.getpid(), -call.status)
    os._exit(call.status)


def _with_hooks(mutant: Mutant, call: Call) -> None:
    if mutant.before:
        mutant.before(call)
    if mutant.instead:
        mutant.instead(call)
    elif not call.answered:
        call.run()
    if mutant.after:
        mutant.after(call)


def _read_all(fd: int) -> bytes:
    data = bytearray()
    while chunk := os.read(fd, 1 << 16):
        data += chunk
    return bytes(data)


MUTANTS = {"none": Mutant()}
"""Without a fault: for the proof that it is the fault that a case finds, not the wrapper."""
