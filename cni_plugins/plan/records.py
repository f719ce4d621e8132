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
    from collections.abc import Callable, Iterator
    from typing import Any

    Item = dict[str, Any]

_FORMAT = 1
_LIMIT = 1 << 24


class Record:
    """The items of one attachment in the order in which they were applied; `done` once its ADD had finished.

    `unwritten` are those that their kinds find without a record: known to this process only, for the undo. `token` is that of a call
    which an agent serves, empty for others: whoever goes on with the call after the agent's death knows what is its own.
    """

    __slots__ = ("att", "damaged", "done", "items", "path", "token", "unwritten")

    def __init__(self, path: str, att: Attachment) -> None:
        self.path = path
        self.att = att
        self.items: list[Item] = []
        self.unwritten: list[Item] = []
        self.done = False
        self.damaged = False
        self.token = ""

    @property
    def key(self) -> bytes:
        """The attachment's key, from the file's name: that cannot be damaged."""
        return bytes.fromhex(self.path.rpartition("/")[2].partition(".")[0])

    def begin(self, token: str) -> None:
        """Note that the call with this token begins. Raises IoFailure."""
        self.token = token
        if token:
            self._write()

    def append(self, item: Item) -> None:
        """Write down what is about to be applied. Raises IoFailure; then nothing was written."""
        self.items.append(item)
        try:
            self._write()
        except BaseException:
            self.items.pop()
            raise

    def rewrite(self, items: list[Item]) -> None:
        """Have these in place of what was written down: what a live attachment has was changed. Raises IoFailure."""
        self.items = items
        self._write()

    def finish(self) -> None:
        """Note that everything was applied. Nothing is written for an attachment that has nothing to remember."""
        self.done = True
        if self.items or self.token:
            self._write()

    def delivered(self) -> None:
        """The result has arrived: what only remembered the call is not needed any more."""
        if self.token and not self.items:
            self.remove()

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
        if self.token:
            data["token"] = self.token
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
    for name in names(run_dir):
        if name.startswith(prefix) and name.endswith(suffix):
            record = named(run_dir, name, Attachment(network, "", ""))
            if record is not None:
                yield record


def names(run_dir: str) -> set[str]:
    """The names of all records, `<key>.<plugin>`; those of drafts among them, under the name that they would have got."""
    return {files.name_of_draft(name) or name for name in files.names(f"{run_dir}/records")}


def named(run_dir: str, name: str, att: Attachment) -> Record | None:
    """The record that has a name, None when there is none; a draft alone counts as a damaged one, of which only `att` is known."""
    record = Record(f"{run_dir}/records/{name}", att)
    data = files.read(record.path, limit=_LIMIT)
    if data is not None:
        _fill(record, data)
    elif files.exists(files.draft_of(record.path)):
        record.damaged = True
    else:
        return None
    return record


def every(run_dir: str, *, wanted: Callable[[str, Record], bool] = lambda plugin, record: True) -> Iterator[tuple[str, Record]]:
    """Every record that can be read, with the name of the plugin that made it.

    `wanted` is asked for each before it is read, when nothing is known of it but its path and key.
    """
    directory = f"{run_dir}/records"
    for name in sorted(files.names(directory)):
        plugin, record = name.partition(".")[2], Record(f"{directory}/{name}", Attachment("", "", ""))
        if not files.name_of_draft(name) and wanted(plugin, record):
            data = files.read(record.path, limit=_LIMIT)
            if data is not None:
                _fill(record, data)
                if not record.damaged:
                    yield plugin, record


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
        record.items, record.done, record.token = list(value["items"]), bool(value["done"]), str(value.get("token", ""))
        record.att = Attachment(network, container_id, ifname, record.att.netns or netns)
    except (AttributeError, CniError, KeyError, TypeError, ValueError):
        record.items, record.done, record.damaged = [], False, True


def _path(run_dir: str, plugin: str, key: bytes) -> str:
    return f"{run_dir}/records/{key.hex()}.{plugin}"
