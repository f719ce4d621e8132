"""What was written down about an attachment: a small file in /run, gone at reboot like the kernel state it speaks of.

Before anything is applied its item is appended and committed by rename, so that whatever a killed ADD may have made is
listed. A record is a hint that makes DEL cheap; the mark on the thing itself proves whose it is.

One file an attachment and plugin, `<run>/records/<key>.<plugin>`, where the key's first half is the network's.
"""

from __future__ import annotations

from cni_plugins.kernel import files
from cni_plugins.model.frozen import dump_json, parse_json
from cni_plugins.protocol.attachment import Attachment, network_key
from cni_plugins.protocol.errors import CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Item = dict[str, Any]

_FORMAT = 1
_LIMIT = 1 << 24


class Record:
    """The items of one attachment in the order in which they were applied; `done` once its ADD had finished.

    `unwritten` are those that their kinds find without a record: known to this process only, for the undo.
    """

    __slots__ = ("att", "damaged", "done", "items", "path", "unwritten")

    def __init__(self, path: str, att: Attachment) -> None:
        self.path = path
        self.att = att
        self.items: list[Item] = []
        self.unwritten: list[Item] = []
        self.done = False
        self.damaged = False

    @property
    def key(self) -> bytes:
        """The attachment's key, from the file's name: that cannot be damaged."""
        return bytes.fromhex(self.path.rpartition("/")[2].partition(".")[0])

    def append(self, item: Item) -> None:
        """Write down what is about to be applied. Raises IoFailure; then nothing was written."""
        self.items.append(item)
        try:
            self._write()
        except BaseException:
            self.items.pop()
            raise

    def finish(self) -> None:
        """Note that everything was applied. Nothing is written for an attachment that has nothing to remember."""
        self.done = True
        if self.items:
            self._write()

    def remove(self) -> None:
        """Delete the file, if there is one."""
        files.withdraw(self.path)

    def _write(self) -> None:
        att = self.att
        data = {
            "format": _FORMAT,
            "attachment": [att.network, att.container_id, att.ifname, att.netns],
            "done": self.done,
            "items": self.items,
        }
        files.write_atomic(self.path, dump_json(data))


def load(run_dir: str, plugin: str, att: Attachment) -> Record:
    """Read the record of an attachment; one without items when there is none.

    A record that cannot be read is no record: it is marked `damaged`, and its attachment is found by its marks.
    """
    record = Record(_path(run_dir, plugin, att.key), att)
    data = files.read(record.path, limit=_LIMIT)
    if data is not None:
        _fill(record, data)
    return record


def of_network(run_dir: str, plugin: str, network: str) -> Iterator[Record]:
    """The records of every attachment of one network that this plugin made; of a damaged one nothing is known but its key.

    The draft of a first record that a killed ADD did not come to write counts as a damaged one.
    """
    prefix, suffix = network_key(network).hex(), f".{plugin}"
    directory = f"{run_dir}/records"
    found = {files.name_of_draft(name) or name for name in files.names(directory)}
    for name in found:
        if name.startswith(prefix) and name.endswith(suffix):
            record = Record(f"{directory}/{name}", Attachment(network, "", ""))
            data = files.read(record.path, limit=_LIMIT)
            if data is not None:
                _fill(record, data)
                yield record
            elif files.exists(files.draft_of(record.path)):
                record.damaged = True
                yield record


def of_owner(run_dir: str, key: bytes) -> Iterator[Record]:
    """The records of one attachment, whichever plugins made them; a damaged one is as good as none."""
    directory = f"{run_dir}/records"
    for name in files.names(directory):
        if name.startswith(key.hex()):
            record = Record(f"{directory}/{name}", Attachment("", "", ""))
            _fill(record, files.read(record.path, limit=_LIMIT) or b"")
            if not record.damaged:
                yield record


def ensure_home(run_dir: str) -> None:
    """Make the directory of records, for root alone. Raises IoFailure."""
    files.make_dirs(f"{run_dir}/records", mode=0o700)


def check_home(run_dir: str) -> None:
    """Raise IoFailure when records could not be written (STATUS). Changes nothing."""
    files.check_writable(f"{run_dir}/records")


def _fill(record: Record, data: bytes) -> None:
    try:
        value = parse_json(data)
        if value["format"] != _FORMAT:
            raise ValueError(value["format"])
        network, container_id, ifname, netns = value["attachment"]
        record.items, record.done = list(value["items"]), bool(value["done"])
        record.att = Attachment(network, container_id, ifname, record.att.netns or netns)
    except (CniError, KeyError, TypeError, ValueError):
        record.items, record.done, record.damaged = [], False, True


def _path(run_dir: str, plugin: str, key: bytes) -> str:
    return f"{run_dir}/records/{key.hex()}.{plugin}"
