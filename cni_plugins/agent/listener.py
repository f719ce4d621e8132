"""The agent's socket: made here, or handed to us by systemd, which then starts the agent at the first call.

One agent to a node and build: a second one is refused. A socket that a dead agent left is replaced by rename, so that no caller ever
finds the name gone.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from cni_plugins.kernel import calls

_FIRST_FD = 3
"""Where systemd puts the sockets that it hands over (sd_listen_fds(3))."""
_LOCK_OFFSET = 1 << 62
"""In the file of the attachments' locks, whose offsets are smaller."""


class ListenError(Exception):
    """The agent cannot have its socket; the text says why."""


class Listener:
    """A listening socket; `backlog` connections may wait to be taken. Raises ListenError."""

    def __init__(self, path: Path, *, backlog: int) -> None:
        self.path = path
        self._lock = -1
        activated = _from_systemd()
        self._ours = activated is None
        self.socket = activated or self._listen(backlog)

    def _listen(self, backlog: int) -> socket.socket:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self.path.parent / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            calls.lock_byte(self._lock, _LOCK_OFFSET, wait=False)
        except BlockingIOError:
            raise ListenError(f"an agent is running already in {self.path.parent}") from None
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            draft.unlink(missing_ok=True)  # a killed agent's; in containers process numbers come again and again
            listening.bind(str(draft))
            draft.chmod(0o600)
            listening.listen(backlog)
            draft.rename(self.path)
        except OSError as error:
            listening.close()
            draft.unlink(missing_ok=True)
            raise ListenError(f"cannot listen on {self.path}: {error.strerror or error}") from None
        return listening

    def close(self) -> None:
        """Stop listening. The name goes too, where it is ours."""
        if self._ours:
            self.path.unlink(missing_ok=True)
        self.socket.close()
        if self._lock >= 0:
            os.close(self._lock)


def _from_systemd() -> socket.socket | None:
    """The socket that systemd opened for us, if it did."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = int(os.environ.get("LISTEN_FDS", "0"))
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    if count != 1:
        raise ListenError(f"systemd handed over {count} sockets, and not one: see cni-agent.socket")
    os.set_inheritable(_FIRST_FD, False)
    return socket.socket(fileno=_FIRST_FD)
