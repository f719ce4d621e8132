"""Taking a snapshot: the readers of this package, run at each place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from conformance import namespaces
from conformance.ledger import files, firewall, processes, rtnetlink, sysctls

NODE = "node"
DIRECTORIES = ("/run", "/var/lib/cni")

Fields = Mapping[str, str]
"""What can change about a thing: field to value, as text."""


class Item(NamedTuple):
    """What identifies a thing: where it is, its kind ("link", "address", …), and its name there."""

    place: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.place} {self.kind} {self.name}"


class Snapshot(dict[Item, Fields]):
    """Everything that was there at one moment."""

    def links(self, place: str) -> set[str]:
        """The names of the links at a place."""
        return {item.name for item in self if item.place == place and item.kind == "link"}


def take(containers: Mapping[str, str] | None = None, *, directories: Sequence[str] = DIRECTORIES) -> Snapshot:
    """Write down what is in the calling thread's network namespace, in those of the containers, and in the directories.

    `containers` gives each container's network namespace as a path, by a name of one's choice; one whose path is gone counts as empty.
    Files are the ones that the calling thread sees. Raises OSError when the kernel refuses to tell (not root).
    """
    snapshot = Snapshot()
    networks = {NODE: _network(snapshot, NODE)}
    for name, path in (containers or {}).items():
        with namespaces.network(path) as there:
            if there:
                networks[name] = _network(snapshot, name)
    _write(snapshot, NODE, "netns", files.names("/run/netns"))
    for directory in directories:
        _write(snapshot, NODE, "file", files.read(directory))
    for name, found in processes.read(networks).items():
        _write(snapshot, name, "process", found)
    return snapshot


def _network(snapshot: Snapshot, place: str) -> int:
    for kind, found in rtnetlink.read().items():
        _write(snapshot, place, kind, found)
    _write(snapshot, place, "nftables", rules := firewall.nftables())
    _write(snapshot, place, "iptables", firewall.iptables(rules))
    _write(snapshot, place, "sysctl", sysctls.read())
    return namespaces.current("net")


def _write(snapshot: Snapshot, place: str, kind: str, found: Mapping[str, Fields]) -> None:
    for name, fields in found.items():
        snapshot[Item(place, kind, name)] = fields
