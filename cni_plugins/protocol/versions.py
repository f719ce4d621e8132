"""The versions of the specification that we speak, and what each has (SPEC 1.1.0, "Version considerations")."""

from __future__ import annotations

from cni_plugins.protocol.errors import IncompatibleVersion

SUPPORTED = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST = SUPPORTED[-1]
OLDEST = SUPPORTED[0]

VERBS = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
_SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}


def require(version: str, verb: str) -> None:
    """Raise IncompatibleVersion unless we speak `version` and it has `verb`.

    A configuration without cniVersion counts as 0.1.0 before this is asked. The details of the error say what was asked for
    and what there is, so that a runtime can choose again.
    """
    if version not in SUPPORTED:
        raise IncompatibleVersion(
            f"cniVersion: {version!r} is not supported",
            f"config is {version!r}, plugin supports {list(SUPPORTED)}",
        )
    since = _SINCE.get(verb, OLDEST)
    if not at_least(version, since):
        raise IncompatibleVersion(
            f"cniVersion: {version!r} has no {verb}, which came with {since}",
            f"config is {version!r}, {verb} needs {since} or later",
        )


def at_least(version: str, other: str) -> bool:
    """Whether a supported version is the same as or newer than another one."""
    return SUPPORTED.index(version) >= SUPPORTED.index(other)
