"""Looking into the network namespaces of this node: is an attachment's interface still there, and which addresses has it?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cni_plugins.kernel.netns import Netns
from cni_plugins.protocol.errors import CniError, InvalidEnvironment, UnknownContainer

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOUNTED = ("/run/netns", "/var/run/netns", "/run/docker/netns")
_LINK_LOCAL = 0xFE80 << 112
_LINK_LOCAL_MASK = 0xFFC0 << 112


class Sight:
    """What was seen at a path: whether there is a container's network namespace, whether the interface is in it, its addresses."""

    __slots__ = ("addresses", "interface", "netns")

    def __init__(self, *, netns: bool = False, interface: bool = False, addresses: tuple[str, ...] = ()) -> None:
        self.netns = netns
        self.interface = interface
        self.addresses = addresses


class Places:
    """The network namespaces of this node, each looked at when it is first asked for, and closed at once."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], Sight] = {}
        self._held: set[tuple[str, str]] | None = None

    def look(self, path: str, ifname: str) -> Sight:
        """What there is of an attachment at its namespace's path. The node's own namespace is no container's: such a path got reused."""
        key = (path, ifname)
        if key not in self._seen:
            self._seen[key] = _look(path, ifname)
        return self._seen[key]

    def holds(self, ifname: str, address: str) -> bool:
        """Whether any namespace of this node has an interface of this name with this address."""
        if self._held is None:
            self._held = {found for path in _all() for found in _addresses(path)}
        return (ifname, address) in self._held or (not ifname and any(address == one for _, one in self._held))


def _look(path: str, ifname: str) -> Sight:
    netns = _open(path)
    if netns is None:
        return Sight()
    try:
        netlink = netns.netlink()
        link = netlink.link(name=ifname)
        if link is None:
            return Sight(netns=True)
        found = [one.cidr for one in netlink.addresses(link.index)]
        shown = tuple(str(cidr) for cidr in found if cidr.family == 4 or cidr.value & _LINK_LOCAL_MASK != _LINK_LOCAL)
        return Sight(netns=True, interface=True, addresses=shown)
    except (CniError, OSError):
        return Sight(netns=True, interface=True)  # what cannot be looked into counts as alive
    finally:
        netns.close()


def _open(path: str) -> Netns | None:
    try:
        netns = Netns.open(path)
    except (UnknownContainer, InvalidEnvironment):
        return None
    if netns.is_own:
        netns.close()
        return None
    return netns


def processes() -> list[str]:
    """The numbers of all processes: what they run in need not have a name."""
    return [name for name in os.listdir("/proc") if name.isdigit()]


def _all() -> Iterator[str]:
    """A path of every network namespace that has a name or a process, once each."""
    known: set[int] = set()
    named = [file for directory in _MOUNTED if Path(directory).is_dir() for file in Path(directory).iterdir()]
    for path in (*map(str, named), *(f"/proc/{pid}/ns/net" for pid in processes())):
        try:
            inode = os.stat(path).st_ino
        except OSError:
            continue
        if inode not in known:
            known.add(inode)
            yield path


def _addresses(path: str) -> list[tuple[str, str]]:
    netns = _open(path)
    if netns is None:
        return []
    try:
        netlink = netns.netlink()
        names = {link.index: link.name for link in netlink.links()}
        return [(names.get(one.index, ""), one.cidr.address) for one in netlink.addresses()]
    except (CniError, OSError):
        return []
    finally:
        netns.close()
