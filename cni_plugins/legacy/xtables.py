"""The nat table of iptables-legacy, which lives in the kernel's x_tables and not in nftables: reached through its own programs.

They are to be executed only where /proc says that the network namespace has such a table. iptables-restore takes rules just as
`iptables -S` prints them, quotes and all, and makes one transaction of them.
"""

from __future__ import annotations

from cni_plugins.kernel import files, process
from cni_plugins.legacy.rules import departing
from cni_plugins.protocol.errors import IoFailure, KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.process import Finished

_PROGRAMS = {"ip": "iptables", "ip6": "ip6tables"}
_DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin")
_ENVIRONMENT = {"PATH": ":".join(_DIRECTORIES), "LC_ALL": "C"}
_WAIT = "-w 30"
"""Wait for the lock that its programs share, but not for ever: in seconds."""
_NO_SUCH = (1, 2)
"""How the programs end when a chain or rule is not there, and when it is the target that a rule names."""
_TRIES = 8


def holds(family: str, chain: str) -> bool:
    """Whether the nat table has this chain. False as well when no program is there to ask, as for the reference. Raises KernelRefused."""
    program = _program(family)
    return program is not None and _run(f"exec {program} {_WAIT} -t nat -S {chain}", may=_NO_SUCH).status == 0


def drop(family: str, chain: str, addresses: list[str]) -> None:
    """Remove the jumps to a chain from `addresses` (all without any), and with the last of them the chain. Raises KernelRefused."""
    program = _program(family)
    for attempt in range(_TRIES):
        table = _run(f"exec {program} {_WAIT} -t nat -S").stdout.decode(errors="surrogateescape").split("\n")
        if f"-N {chain}" not in table:
            return
        commands = "\n".join(["*nat", *_deletions(table, chain, addresses), "COMMIT"])
        script = f"exec {program}-restore {_WAIT} --noflush <<'COMMANDS'\n{commands}\nCOMMANDS"
        # What somebody else took out meanwhile makes the whole of it fail: look again, and let the last failure be told.
        if not _run(script, may=() if attempt + 1 == _TRIES else _NO_SUCH).status:
            return


def _deletions(table: list[str], chain: str, addresses: list[str]) -> list[str]:
    jumps = [line for line in table if line.startswith("-A POSTROUTING ") and line.endswith(f" -j {chain}")]
    gone, whole = departing([_source(jump) for jump in jumps], addresses)
    return ["-D" + jumps[index].removeprefix("-A") for index in gone] + ([f"-F {chain}", f"-X {chain}"] if whole else [])


def _source(rule: str) -> str:
    words = rule.split()
    return words[words.index("-s") + 1].removesuffix("/32").removesuffix("/128") if "-s" in words else ""


def _program(family: str) -> str | None:
    paths = [f"{directory}/{_PROGRAMS[family]}{variant}" for variant in ("-legacy", "") for directory in _DIRECTORIES]
    return next((path for path in paths if files.exists(path)), None)


def _run(script: str, *, may: tuple[int, ...] = ()) -> Finished:
    """Have a shell execute a script; besides with 0 it may end with one of the statuses `may`."""
    try:
        finished = process.run("/bin/sh", (script + "\n").encode(errors="surrogateescape"), _ENVIRONMENT, capture_stderr=True)
    except OSError as error:
        raise IoFailure(f"cannot run /bin/sh: {error.strerror}") from None
    if finished.status not in (0, *may):
        said = finished.stderr.decode(errors="replace").strip()
        raise KernelRefused(f"{script.split()[1]}: {said.partition(chr(10))[0] or f'exit status {finished.status}'}", said)
    return finished
