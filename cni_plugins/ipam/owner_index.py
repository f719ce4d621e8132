"""Which lease files an owner has, without reading all of them.

Beside the lease files lies a directory `.by-id` with a symbolic link per lease:

    .by-id/<hash of the content>.<n>  ->  ../<address>           n = 0, 1, … for an owner's several addresses

An owner's leases are found by following his links, whatever the number of leases. The files alone say who owns what: the index is
a copy, it is used only while it is known to be true, and no failure to keep it is ever an error.

**When it is true.** Whoever adds, removes or renames an entry of a directory moves that directory's modification time to now. After a
change of ours, in the files and in the links, the last thing that we do under the lock is to set the time of both directories to
`STAMP`, a moment long past that no clock shows. So while both still bear it, the entries are those that we left: a reference
process, an operator's rm, a restored backup and a process of ours that was killed in the middle all leave another time. Then the files
are read, the links are put right, and the stamp is set again: one slow call after each foreign change, about what the reference
takes for every call.

**What is checked besides.** A link is believed only if its file holds that owner's content. A file that was overwritten in place, which no
directory's time shows, is thus noticed by its former owner, for whom all files are read. (To its new owner it shows at the next slow call;
neither implementation ever overwrites a lease.)

**What the reference makes of it.** It walks into `.by-id` and reads through the links. Releasing an owner it removes, before the file, the
link, whose content is the same; looking for an owner's addresses it skips what is not named like one. So a node handed back to the
reference loses the links with the leases.

**Power cuts.** Links and times are metadata, which journaling file systems write in order: the stamp never outlives a link made before it.

**File systems** that keep no nanoseconds, or have no links, never show the stamp: every call is then a slow one, and right.
"""

from __future__ import annotations

from _blake2 import blake2b

from cni_plugins.kernel import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.ipam.lease_files import LeaseFiles

STAMP = 981_173_106_987_654_321
"""3 February 2001, 04:05:06.987654321 UTC, in nanoseconds since the epoch."""

_ABOVE = "../"


class OwnerIndex:
    """The index of the leases in `files`, for the time of one hold of the lock."""

    __slots__ = ("_changed", "_directory", "_files", "_told", "_true")

    def __init__(self, files: LeaseFiles) -> None:
        self._files = files
        self._directory = files.path(".by-id")
        self._true = self._stamped()
        self._told = True
        self._changed = False

    def find(self, content: bytes) -> list[str]:
        """The names of all lease files that hold `content`: from the links, or else by reading every file."""
        if self._true:
            try:
                names = self._follow(content)
                if all(self._files.read(name) == content for name in names):
                    return names
            except OSError:
                pass
            self._true = False
        return [name for name, held in self._files.contents() if held == content]

    def prepare(self) -> None:
        """Make the index true before a change, if it is not. To be called when nothing has been changed under this lock."""
        if not self._true:
            try:
                self._put_right()
                self._stamp()
                self._true = True
            except OSError:
                return

    def expect_change(self) -> None:
        """The files are about to change: unless `add`, `remove` or `unchanged` follows, the index is not true any more."""
        self._told = False
        self._changed = True

    def unchanged(self) -> None:
        """The change that was expected has been undone."""
        self._told = True

    def add(self, content: bytes, names: list[str]) -> None:
        """`names` have been created, with `content`."""
        if self._true:
            try:
                first = len(self._follow(content))
                for n, name in enumerate(names, first):
                    calls.symlink(_ABOVE + name, self._link(content, n))
            except OSError:
                self._true = False
        self._told = True

    def remove(self, contents: set[bytes]) -> None:
        """All files that held one of `contents` have been removed."""
        if self._true:
            try:
                for content in contents:
                    for n in range(len(self._follow(content))):
                        calls.unlink(self._link(content, n))
            except OSError:
                self._true = False
        self._told = True

    def rebuild(self) -> None:
        """Make every link anew from the files: links of leases that were damaged meanwhile lead nowhere, and go."""
        try:
            self._put_right()
            self._true = self._changed = True
        except OSError:
            self._true = False
        self._told = True

    def close(self) -> None:
        """Say on the disk that the index is true, if it is; to be called last, under the lock."""
        if self._true and self._told and self._changed:
            try:
                self._stamp()
            except OSError:
                return

    def _link(self, content: bytes, n: int) -> str:
        return f"{self._directory}/{_key(content)}.{n}"

    def _follow(self, content: bytes) -> list[str]:
        names: list[str] = []
        try:
            while True:
                names.append(calls.readlink(self._link(content, len(names))).removeprefix(_ABOVE))
        except FileNotFoundError:
            return names

    def _stamped(self) -> bool:
        try:
            return all(calls.stat(path).st_mtime_ns == STAMP for path in (self._files.directory, self._directory))
        except OSError:
            return False

    def _stamp(self) -> None:
        for path in (self._directory, self._files.directory):
            calls.utime(path, ns=(STAMP, STAMP))

    def _put_right(self) -> None:
        wanted = self._wanted()
        try:
            calls.mkdir(self._directory, 0o755)
        except FileExistsError:
            pass
        for link in calls.listdir(self._directory):
            path = f"{self._directory}/{link}"
            if link in wanted and wanted[link] == _target(path):
                del wanted[link]
            else:
                calls.unlink(path)
        for link, target in wanted.items():
            calls.symlink(target, f"{self._directory}/{link}")

    def _wanted(self) -> dict[str, str]:
        """What links there must be: name to target."""
        owners: dict[bytes, list[str]] = {}
        for name, content in self._files.contents():
            if content:
                owners.setdefault(content, []).append(name)
        return {f"{_key(content)}.{n}": _ABOVE + name for content, names in owners.items() for n, name in enumerate(sorted(names))}


def _target(path: str) -> str | None:
    """Where a link leads; None for what is not a link, such as a copy that a backup made of one."""
    try:
        return calls.readlink(path)
    except OSError:
        return None


def _key(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
