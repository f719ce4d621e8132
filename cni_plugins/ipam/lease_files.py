"""The files of one network's leases, byte for byte those of the reference's host-local.

    <data directory>/<network>/            mode 0755
        10.1.2.3                           0600  one per leased address: container ID, CR LF, interface name, nothing behind it
        last_reserved_ip.0                 0600  the address that range set 0 gave out last
        lock                               0750  held with flock(2), exclusive, by whoever reads or changes the rest

Very old files hold a container ID alone. White space around the content does not count. An **empty** lease file is what a killed
reference process leaves, which creates the file first and writes it then: while the lock is held it is nobody's.

A lease of ours appears whole or not at all: it is written without a name (O_TMPFILE) and then linked, so that a process killed at
any moment leaves nothing half done. Where the file system cannot do that it is written as `.draft`, which neither implementation
takes for an address, and renamed. Nothing is synced to the disk: leases speak of containers, which do not survive a power cut either.

`last_reserved_ip` is a hint, overwritten in place and then cut to length, which is never empty, needs no space on a full disk and
costs a twentieth of a rename (ext4 flushes what replaces another file). A kill between the two steps leaves an old tail; the address
that is read then, if it is one at all, only moves the place where the search for a free address begins.
"""

from __future__ import annotations

from errno import EINVAL, EISDIR, ENOENT, EOPNOTSUPP
from posix import O_CLOEXEC, O_CREAT, O_EXCL, O_RDONLY, O_TMPFILE, O_WRONLY

from cni_plugins.kernel import calls, files
from cni_plugins.protocol.ip import Cidr, parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT_MAX = 8192
"""Bytes of a lease file that are read; a container ID has well below a hundred."""

DRAFT = ".draft"
_NO_NAMELESS_FILES = (EOPNOTSUPP, EISDIR, EINVAL, ENOENT)  # the last when /proc is not mounted


class LeaseFiles:
    """The lease files in `directory`. Methods raise OSError; whoever changes something, or relies on what he reads, holds the lock."""

    __slots__ = ("directory",)

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def path(self, name: str) -> str:
        """The path of the file `name`."""
        return f"{self.directory}/{name}"

    def open_lock(self) -> int:
        """Open the lock file, making it if need be, and wait until it is ours; closing the descriptor gives it back."""
        fd = calls.open(self.path("lock"), O_RDONLY | O_CREAT | O_CLOEXEC, 0o750)
        try:
            calls.flock(fd)
        except BaseException:
            calls.close(fd)
            raise
        return fd

    def names(self) -> list[str]:
        """The names of all lease files, which are their addresses, in no order; none if the directory is not there."""
        try:
            return [name for name in calls.listdir(self.directory) if address_of(name)]
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes | None:
        """The content of a lease file without the white space around it; None when it is not there, or is a directory."""
        try:
            fd = calls.open(self.path(name), O_RDONLY | O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return calls.read(fd, CONTENT_MAX).strip()
        except IsADirectoryError:
            return None
        finally:
            calls.close(fd)

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Read every lease file: (name, content), where nobody's is empty."""
        for name in self.names():
            content = self.read(name)
            if content is not None:
                yield name, content

    def is_taken(self, name: str) -> bool:
        """Whether `name` is there and somebody's."""
        try:
            return calls.stat(self.path(name)).st_size > 0
        except FileNotFoundError:
            return False

    def create(self, name: str, content: bytes) -> None:
        """Make the lease file `name`, which is not taken, with all of its content at once."""
        try:
            self._link_nameless(name, content)
        except OSError as error:
            if error.errno not in _NO_NAMELESS_FILES:
                raise
            self._rename_draft(name, content)

    def _link_nameless(self, name: str, content: bytes) -> None:
        fd = calls.open(self.directory, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0o600)
        try:
            files.write_all(fd, content)
            try:
                calls.link_fd(fd, self.path(name))
            except FileExistsError:
                if self.is_taken(name):  # by somebody who does not ask for the lock
                    raise
                calls.unlink(self.path(name))
                calls.link_fd(fd, self.path(name))
        finally:
            calls.close(fd)

    def _rename_draft(self, name: str, content: bytes) -> None:
        draft = self.path(DRAFT)
        self.remove(DRAFT)
        fd = calls.open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        try:
            files.write_all(fd, content)
            calls.rename(draft, self.path(name))
        except BaseException:
            self.remove(DRAFT)
            raise
        finally:
            calls.close(fd)

    def remove(self, name: str) -> None:
        """Remove a lease file; that it is gone already is no error."""
        files.remove_quietly(self.path(name))

    def last(self, set_index: int) -> Cidr | None:
        """The address that a range set gave out last; None when that is not known."""
        try:
            return parse_address((self.read(f"last_reserved_ip.{set_index}") or b"").decode())
        except (OSError, ValueError):
            return None

    def set_last(self, set_index: int, name: str) -> None:
        """Note the address that a range set gave out last."""
        fd = calls.open(self.path(f"last_reserved_ip.{set_index}"), O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        try:
            files.write_all(fd, name.encode())
            calls.ftruncate(fd, len(name))
        finally:
            calls.close(fd)


def address_of(name: str) -> Cidr | None:
    """The address that a lease file of this name is for; None when the name is not an address."""
    try:
        return parse_address(name)
    except ValueError:
        return None
