"""A call as it arrives: environment and standard input, checked in the order in which the reference checks them (SPEC section 2)."""

from __future__ import annotations

from cni_plugins.protocol.errors import InvalidConfig, InvalidEnvironment
from cni_plugins.protocol.versions import VERBS

_REQUIRED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_PATH",),
}
_WORD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_NAME = _WORD | frozenset("_.-")
IFNAME_MAX = 15


class Request:
    """One call of one plugin.

    `plugin` is the name it was called under, `command` the verb, `netns` a path (empty when the runtime gave none), `args` the
    pairs of CNI_ARGS in order, `path` the directories of CNI_PATH, `stdin` the configuration's bytes, `environ` the whole
    environment that a delegate gets. Nothing is read from the process: an agent fills it from what its client sent.

    `token` names a call that an agent serves; `resumes` the one that an agent had begun when it died, and that is done again here.
    Both are empty for all others.
    """

    __slots__ = (
        "args", "command", "container_id", "environ", "ifname", "netns", "netns_override", "path", "plugin", "resumes", "stdin", "token",
    )  # fmt: skip

    def __init__(self, plugin: str, environ: dict[str, str], stdin: bytes) -> None:
        self.plugin = plugin
        self.environ = environ
        self.stdin = stdin
        self.command = environ.get("CNI_COMMAND", "")
        self.container_id = environ.get("CNI_CONTAINERID", "")
        self.netns = environ.get("CNI_NETNS", "")
        self.ifname = environ.get("CNI_IFNAME", "")
        self.path = [part for part in environ.get("CNI_PATH", "").split(":") if part]
        self.netns_override = environ.get("CNI_NETNS_OVERRIDE", "").upper() in ("1", "TRUE")
        self.args: list[tuple[str, str]] = []
        self.token = ""
        self.resumes = ""

    def check_variables(self) -> None:
        """Check the environment. Raises InvalidEnvironment that names the first malformed variable, or all that are missing."""
        needed = ("CNI_COMMAND", *_REQUIRED.get(self.command, ()))
        if "CNI_CONTAINERID" in needed and self.container_id:
            check_container_id(self.container_id)
        if "CNI_IFNAME" in needed and self.ifname:
            check_ifname(self.ifname)
        missing = [name for name in needed if not self.environ.get(name)]
        if missing:
            raise InvalidEnvironment(f"required env variables [{','.join(missing)}] missing")

    def check_command(self) -> None:
        """Refuse an unknown verb; after the configuration was decoded, as the reference orders it. Raises InvalidEnvironment."""
        if self.command not in VERBS:
            raise InvalidEnvironment(f"CNI_COMMAND: unknown verb {self.command!r}, expected one of {', '.join(VERBS)}")

    def read_args(self) -> None:
        """Split CNI_ARGS into `args`. Raises InvalidEnvironment."""
        self.args = parse_args(self.environ.get("CNI_ARGS", ""))

    def arg(self, name: str) -> str:
        """The value of a key of CNI_ARGS (the last one counts), empty when absent."""
        return dict(self.args).get(name, "")

    def for_delegate(self, plugin: str, stdin: bytes, *, without: tuple[str, ...] = (), **variables: str) -> Request:
        """The same call for a delegate: its own configuration, variables changed as given, CNI_ARGS less the keys in `without`.

        A key meant for one plugin must not make another one fail (the reference's `MAC=…` breaks its own host-local).
        """
        environ = {**self.environ, **variables}
        if self.args:
            environ["CNI_ARGS"] = ";".join(f"{key}={value}" for key, value in self.args if key not in without)
        return Request(plugin, environ, stdin)


def parse_args(text: str) -> list[tuple[str, str]]:
    """Split CNI_ARGS (`K=V;K=V`). Raises InvalidEnvironment for a part without `=`."""
    pairs = []
    for part in text.split(";") if text else ():
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise InvalidEnvironment(f"CNI_ARGS: invalid pair {part!r}, expected KEY=VALUE separated by semicolons")
        pairs.append((key, value))
    return pairs


def check_args(args: list[tuple[str, str]], known: tuple[str, ...]) -> None:
    """Refuse keys of CNI_ARGS that nobody knows, unless the caller said IgnoreUnknown (CONVENTIONS, "CNI_ARGS")."""
    if dict(args).get("IgnoreUnknown", "").lower() in ("1", "true"):
        return
    unknown = [key for key, _ in args if key not in known and key != "IgnoreUnknown"]
    if unknown:
        raise InvalidEnvironment(f"CNI_ARGS: unknown args {unknown}, expected some of {list(known)}; IgnoreUnknown=1 lets them pass")


def check_container_id(text: str) -> None:
    """SPEC section 2: alphanumeric first, then also `_`, `.`, `-`. Raises InvalidEnvironment."""
    if not _is_name(text):
        raise InvalidEnvironment(f"CNI_CONTAINERID: invalid characters in {text!r}", f"invalid container ID {text!r}")


def check_ifname(text: str) -> None:
    """What Linux accepts as an interface name. Raises InvalidEnvironment that says which rule is broken."""
    if len(text.encode("utf-8", "surrogateescape")) > IFNAME_MAX:
        raise InvalidEnvironment(f"CNI_IFNAME: {text!r} is too long, at most {IFNAME_MAX} bytes are possible")
    if text in (".", ".."):
        raise InvalidEnvironment(f"CNI_IFNAME: {text!r} cannot be the name of an interface")
    bad = [char for char in text if char in "/:" or char.isspace()]
    if bad or not text:
        raise InvalidEnvironment(f"CNI_IFNAME: {text!r} holds {bad[0] if bad else ''!r}, which no interface name may")


def check_network_name(text: str) -> None:
    """SPEC section 1: `name` starts alphanumeric and goes on with these, `_`, `.`, `-`. Raises InvalidConfig."""
    if not text:
        raise InvalidConfig("name: missing network name")
    if not _is_name(text):
        raise InvalidConfig(f"name: invalid characters in network name {text!r}", "must start alphanumeric; then also _ . -")


def _is_name(text: str) -> bool:
    return bool(text) and text[0] in _WORD and _NAME.issuperset(text)
