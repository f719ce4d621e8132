"""What happens to a node's rules, as it is announced: by the kernel for nftables, by firewalld for what that forgets."""

from __future__ import annotations

import logging
import socket
from typing import NamedTuple

from cni_plugins.kernel.dbus import Bus
from cni_plugins.kernel.rtnl import split
from cni_plugins.plan.kinds import zone
from cni_plugins.protocol.errors import CniError

_NETLINK_NETFILTER, _SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES = 12, 270, 1, 7
_SO_RCVBUFFORCE = 33
_BUFFER = 1 << 20
_NFTABLES = 10
_DELTABLE, _NEWCHAIN = _NFTABLES << 8 | 2, _NFTABLES << 8 | 3
_DELETIONS = {_DELTABLE, *(_NFTABLES << 8 | message for message in (5, 8, 11))}
"""NFT_MSG_DELTABLE; _DELCHAIN, _DELRULE, _DELSET."""
_OUR_TABLES = b"cni_plugins\0"

log = logging.getLogger(__name__)


class News(NamedTuple):
    """Whether anything was `deleted` from nftables, a table of ours (`taken`), and whether a chain of ours was `made`."""

    deleted: bool
    taken: bool
    made: bool

    def __or__(self, other: object) -> News:
        """Both together."""
        return News(*map(any, zip(self, other, strict=True))) if isinstance(other, News) else NotImplemented


class Changes:
    """What changes in nftables, in the network namespace of the thread that makes this."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._socket.bind((0, 0))  # before it joins: nothing is sent to a socket without an address
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """To be waited for."""
        return self._socket.fileno()

    def read(self) -> News:
        """Read all that has been announced. An overflow may have lost any of it."""
        news = News(deleted=False, taken=False, made=False)
        while True:
            try:
                messages = self._socket.recv(1 << 16)
            except BlockingIOError:
                return news
            except OSError:
                news = News(deleted=True, taken=True, made=True)
                continue
            for kind, _, _, message in split(messages):
                ours = _OUR_TABLES in message
                news |= News(deleted=kind in _DELETIONS, taken=ours and kind == _DELTABLE, made=ours and kind == _NEWCHAIN)

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


class Firewalld:
    """firewalld's word that it has forgotten the pods: it was started, or has read its configuration anew.

    Nobody needs to have a D-Bus, or to have it already: `connect` is tried again whenever there is no connection.
    """

    kinds = frozenset({zone.KIND.name})
    """What it forgets."""

    def __init__(self) -> None:
        self._bus: Bus | None = None

    def connect(self) -> bool:
        """Have a connection; whether this is a new one, before which anything may have been forgotten."""
        if self._bus is not None:
            return False
        try:
            self._bus = Bus.connect()
            if self._bus is not None:
                for rule in zone.SIGNALS:
                    self._bus.listen(rule)
        except CniError as error:
            log.debug("cannot hear firewalld: %s", error)
            self.close()
        return self._bus is not None

    def fileno(self) -> int:
        """To be waited for; -1 while there is no connection."""
        return self._bus.fileno() if self._bus is not None else -1

    def read(self) -> bool:
        """Read what has been announced when something can be read: whether it was that."""
        try:
            return self._bus is not None and zone.has_forgotten(*self._bus.read_signal())
        except CniError as error:
            log.debug("firewalld is not heard any more: %s", error)
            self.close()
            return False

    def close(self) -> None:
        """Hear no more."""
        if self._bus is not None:
            self._bus.close()
            self._bus = None
