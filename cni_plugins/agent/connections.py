"""Connections to API servers that stay open from call to call: each for the server and the credentials that it was made with."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from cni_plugins.kernel.https import Connection, Server

_MOST = 16


class Connections:
    """Connections at rest, for whichever call needs one next."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._idle: list[Connection] = []

    def take(self, server: Server) -> Connection:
        """One that was made for the same server with the same credentials, and that nothing has come over since; else a new one."""
        while True:
            with self._turn:
                found = next((one for one in reversed(self._idle) if one.server == server), None)
                if found is None:
                    return Connection(server)
                self._idle.remove(found)
            if found.at_rest:
                return found
            found.close()

    def give_back(self, connections: Iterable[Connection]) -> None:
        """Keep those that are at rest, the newest if there are too many, and close the others."""
        resting = []
        for one in connections:
            if one.at_rest:
                resting.append(one)
            else:
                one.close()
        with self._turn:
            self._idle += resting
            old, self._idle = self._idle[:-_MOST], self._idle[-_MOST:]
        for one in old:
            one.close()

    def close(self) -> None:
        """Close all."""
        with self._turn:
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()
