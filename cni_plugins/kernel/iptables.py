"""The programs of iptables, executed: whatever they write they can read back, whichever release of them a node has.

There are two families of them with tables of their own: `nft`, whose tables live in nftables (`ip filter`, `ip6 filter`), and
`legacy`, whose tables are in x_tables. What a node calls plain `iptables` is either. Rules are told as `iptables -S` prints them.
"""

from __future__ import annotations

from errno import EINVAL

from cni_plugins.kernel import calls, files, process
from cni_plugins.protocol.errors import IoFailure, KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.process import Finished

_PROGRAMS = {"ip": "iptables", "ip6": "ip6tables"}
_DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin")
_ENVIRONMENT = {"PATH": ":".join(_DIRECTORIES), "LC_ALL": "C"}
_WAIT = "-w 30"
"""Wait for the lock that the programs of the legacy family share, but not for ever: in seconds."""
_NO_SUCH = (1, 2)
"""How the programs end when a chain or rule is not there, and when it is the target that a rule names."""
_LINKS_MAX = 8


class Iptables:
    """One program: of the address family "ip" or "ip6"."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def chain(self, name: str, *, table: str = "filter") -> list[str] | None:
        """A chain as commands that would make it ("-N NAME", "-A NAME …"); None if it does not exist. Raises KernelRefused, IoFailure.

        `name` and `table` are words for a shell, which their caller has looked at.
        """
        finished = _run(f"exec {self.path} {_WAIT} -t {table} -S {name}", may=_NO_SUCH)
        return None if finished.status else finished.stdout.decode(errors="surrogateescape").rstrip("\n").split("\n")

    def change(self, commands: list[str], *, table: str = "filter", final: bool = True) -> bool:
        """Carry out commands as one transaction; returns whether they were. Raises KernelRefused, IoFailure.

        Not `final`, it is no failure when they name something in vain (somebody was faster): look again, and try again.
        """
        text = "\n".join([f"*{table}", *commands, "COMMIT"])
        script = f"exec {self.path}-restore {_WAIT} --noflush <<'COMMANDS'\n{text}\nCOMMANDS"
        return not _run(script, may=() if final else _NO_SUCH).status


def program(family: str, form: str = "") -> Iptables | None:
    """The program for "ip" or "ip6" whose tables have the `form` "nft" or "legacy"; plain iptables where it has no name of its own.

    Without a form it is plain iptables. None when it is not installed.
    """
    variants = (f"-{form}", "") if form else ("",)
    paths = [f"{directory}/{_PROGRAMS[family]}{variant}" for variant in variants for directory in _DIRECTORIES]
    return next((Iptables(path) for path in paths if files.exists(path)), None)


def plain_form(family: str) -> str:
    """The form that plain iptables has on this node, by where its name leads; empty when it is not installed. Raises IoFailure."""
    plain = program(family)
    if plain is None:
        return ""
    path = plain.path
    with files.attempting("follow", plain.path):
        for _ in range(_LINKS_MAX):
            try:
                target = calls.readlink(path)
            except OSError as error:
                if error.errno != EINVAL:  # what is not a link is where it ends
                    raise
                break
            path = target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}"
    return "legacy" if "legacy" in path.rpartition("/")[2] else "nft"


def in_legacy(family: str, table: str) -> bool:
    """Whether the thread's network namespace has this table in x_tables; without "thread-self" it would be the first thread's."""
    return table.encode() in (files.read(f"/proc/thread-self/net/{family}_tables_names") or b"").split()


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
