"""Who may speak to the agent: root, in the agent's own mount and network namespace and under its own root directory.

A path or a device index of a caller from elsewhere would mean something else here. Who is refused serves its call itself, as if there
were no agent.
"""

from __future__ import annotations

import os
import select
from errno import ESRCH
from socket import SO_PEERCRED, SOL_SOCKET, socket
from struct import unpack

_SO_PEERPIDFD = 77  # Linux 6.5
_PLACES = ("ns/mnt", "ns/net", "root")


class Peers:
    """Tells those who may speak; what they are compared with is this process as it was when this was made."""

    def __init__(self) -> None:
        self._own = _places("self")

    def refusal(self, channel: socket) -> str:
        """Why the process at the other end may not speak; empty when it may. Raises ProcessLookupError when it has ended."""
        pid, uid, _ = unpack("3i", channel.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
        if uid != 0:
            return f"user {uid} is not root"
        handle = _pidfd(channel)
        try:
            theirs = _places(str(pid))
            if _has_ended(handle):
                raise ProcessLookupError(ESRCH, os.strerror(ESRCH))  # its number may be another process's by now
        except FileNotFoundError as error:
            raise ProcessLookupError(ESRCH, os.strerror(ESRCH)) from error
        finally:
            if handle >= 0:
                os.close(handle)
        others = [place for place, own in self._own.items() if theirs[place] != own]
        return f"its {others[0]} is another one" if others else ""


def _places(process: str) -> dict[str, tuple[int, int]]:
    found = {place: os.stat(f"/proc/{process}/{place}") for place in _PLACES}
    return {place: (one.st_dev, one.st_ino) for place, one in found.items()}


def _has_ended(handle: int) -> bool:
    if handle < 0:
        return False
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(0))


def _pidfd(channel: socket) -> int:
    """A descriptor that goes on meaning the process which connected; -1 where the kernel has none to give."""
    try:
        return channel.getsockopt(SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        return -1
