"""What happens to a node's links, addresses, routes and neighbours, as the kernel announces it (rtnetlink(7), multicast groups)."""

from __future__ import annotations

import os
import select
import socket
import struct
from time import monotonic

from cni_plugins.kernel.rtnl import split

_NETLINK_ROUTE, _SOL_NETLINK, _ADD_MEMBERSHIP = 0, 270, 1
_SO_RCVBUFFORCE = 33
_GROUPS = (1, 3, 5, 7, 9, 11)
"""RTNLGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE."""
_BUFFER = 1 << 20
_LINK, _ADDRESS, _ROUTE, _NEIGHBOUR = (16, 17), (20, 21), (24, 25), (28, 29)
_HEADER = 16
_ROUTE_MESSAGE = 12
_RTA_OIF = 4
_QUIET_MS = 10
"""Things change in groups: it is waited for until nothing has come for so long, or until _AT_LATEST seconds have gone."""
_AT_LATEST = 0.1


class Events:
    """Changes of what is told by `watch`; from another thread, `wake` and `stop` end a wait.

    `heard` tells whether the kernel announced any in the last wait.
    """

    def __init__(self) -> None:
        self.heard = False
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
        self._socket.bind((0, 0))  # before it joins: nothing is sent to a socket without an address
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        for group in _GROUPS:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self._socket.setblocking(False)
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._stopped = False
        self._poll = select.poll()
        for fd in (self._socket.fileno(), self._woken):
            self._poll.register(fd, select.POLLIN)
        self._links: frozenset[int] = frozenset()
        self._names: tuple[bytes, ...] = ()
        self._devices: frozenset[int] = frozenset()

    def watch(self, names: set[str], *, devices: set[int], underlay: set[int]) -> None:
        """From now on changes of these count: links by their names, and by their indexes; of `devices` the neighbours too."""
        self._names = tuple(name.encode() + b"\0" for name in names)
        self._devices = frozenset(devices)
        self._links = frozenset(devices | underlay)

    def wake(self) -> None:
        """End a wait: there is something to do."""
        try:
            os.write(self._waker, b"0")
        except BlockingIOError:
            pass  # it has been woken often enough

    def stop(self) -> None:
        """End a wait, and every later one."""
        self._stopped = True
        self.wake()

    def wait(self, seconds: float) -> bool:
        """Wait until something has changed and no more does, or for so many seconds; False when stopped."""
        latest = monotonic() + seconds
        self.heard = False
        while not self._stopped:
            left = latest - monotonic()
            if left <= 0 or (self._poll.poll(left * 1000) and self._read()):
                self._settle()
                break
        return not self._stopped

    def _settle(self) -> None:
        latest = monotonic() + _AT_LATEST
        while not self._stopped and monotonic() < latest and self._poll.poll(_QUIET_MS):
            self._read()

    def _read(self) -> bool:
        """Read all that has been announced; whether any of it counts."""
        woken = self._read_wakes()
        while True:
            try:
                messages = self._socket.recv(1 << 16)
            except BlockingIOError:
                return woken or self.heard
            except OSError:
                self.heard = True  # some were lost
                continue
            self.heard = self.heard or any(self._concerns_us(kind, message) for kind, _, _, message in split(messages))

    def _read_wakes(self) -> bool:
        try:
            return bool(os.read(self._woken, 1 << 12))
        except BlockingIOError:
            return False

    def _concerns_us(self, kind: int, message: bytes) -> bool:
        if kind in _ROUTE:
            return _outgoing(message) in self._links
        index: int = struct.unpack_from("i", message, _HEADER + 4)[0] if len(message) >= _HEADER + 8 else 0
        if kind in _NEIGHBOUR:
            return index in self._devices
        if kind in _ADDRESS:
            return index in self._links
        return kind in _LINK and (index in self._links or any(name in message for name in self._names))

    def close(self) -> None:
        """Close everything, when nobody waits any more."""
        self._socket.close()
        os.close(self._woken)
        os.close(self._waker)


def _outgoing(message: bytes) -> int:
    """The index of the link that a route leads to; 0 when it has none, or several."""
    offset = _HEADER + _ROUTE_MESSAGE
    while offset + 4 <= len(message):
        length, kind = struct.unpack_from("HH", message, offset)
        if kind == _RTA_OIF and length == 8:
            found: int = struct.unpack_from("i", message, offset + 4)[0]
            return found
        offset += (max(length, 4) + 3) & ~3
    return 0
