"""What can go wrong, as the specification numbers it (SPEC 1.1.0, "Error": codes 1-99 are the specification's, 100 up are ours).

CniError                            999, anything unforeseen
├── IncompatibleVersion               1  cniVersion (or a verb that it does not have) is not supported
├── UnknownContainer                  3  the container's network namespace is not there: nothing to clean up
├── InvalidEnvironment                4  CNI_* variables missing or malformed
├── IoFailure                         5  files: unreadable, full, read-only
├── DecodeFailure                     6  bytes that are not what they should be (JSON)
├── InvalidConfig                     7  a configuration that breaks a rule
├── TryAgain                         11  busy: the same call may succeed later
├── NotReady                         50  STATUS: an ADD could not be served now
├── KernelRefused                   100  the kernel said no to something valid
├── Exhausted                       101  no address left in a pool
├── Conflict                        102  something of somebody else's is in the way
├── Drifted                         103  CHECK: what is there is not what ADD made
└── DelegateFailed                  any  another plugin's own error, passed on
"""

from __future__ import annotations


class CniError(Exception):
    """An error that the runtime gets as JSON: `msg` says what and which, `details` what else a person needs."""

    code = 999

    def __init__(self, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.msg = msg
        self.details = details


class IncompatibleVersion(CniError):
    """The configuration's cniVersion is not one of ours, or does not have the verb that was asked for."""

    code = 1


class UnknownContainer(CniError):
    """The container does not exist; by the specification this tells the runtime that nothing needs to be cleaned up."""

    code = 3


class InvalidEnvironment(CniError):
    """A necessary CNI_* variable is missing or malformed; the message names it."""

    code = 4


class IoFailure(CniError):
    """A file could not be read or written."""

    code = 5


class DecodeFailure(CniError):
    """Bytes could not be decoded."""

    code = 6


class InvalidConfig(CniError):
    """The network configuration breaks a rule; the message names the field and the value."""

    code = 7


class TryAgain(CniError):
    """Something else is in progress; the same call may succeed later."""

    code = 11


class NotReady(CniError):
    """An ADD could not be served now; the message says why (answer to STATUS)."""

    code = 50


class KernelRefused(CniError):
    """The kernel refused an operation; the message says which, on what, and the kernel's words."""

    code = 100


class Exhausted(CniError):
    """Every address of a pool is leased."""

    code = 101


class Conflict(CniError):
    """Something that belongs to somebody else is where ours would go; the message names it and its owner."""

    code = 102


class Drifted(CniError):
    """CHECK found differences; the message lists all of them."""

    code = 103


class DelegateFailed(CniError):
    """Another plugin failed: its code, message and details, with its name put before the message."""

    def __init__(self, msg: str, details: str = "", code: int = 999) -> None:
        super().__init__(msg, details)
        self.code = code
