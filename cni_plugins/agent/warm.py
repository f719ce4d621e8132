"""Handles that outlive a call: a netlink socket for each thread, one libnftables for all, connections to API servers.

Opening them costs a cold call more than using them does, and closing nftables' socket after a deletion waits for the kernel.
What is in the kernel is asked for anew in every call.
"""

from __future__ import annotations

import os
from threading import RLock, local

from cni_plugins.agent.connections import Connections
from cni_plugins.agent.deletions import Deletions
from cni_plugins.agent.memory import Memory
from cni_plugins.kernel.netns import Netns
from cni_plugins.kernel.nft import Beside, Nft, NftError
from cni_plugins.plan.world import Handles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from cni_plugins.kernel.clib import Library, Pointer
    from cni_plugins.kernel.https import Connection, Server
    from cni_plugins.kernel.netlink import Netlink
    from cni_plugins.kernel.process import Heed


class _BesideInThread(Beside, local):
    """For each thread its own."""


class SharedNft(Nft):
    """libnftables for all threads, one transaction at a time: in the kernel there is one at a time as well."""

    __slots__ = ("_turn",)

    def __init__(self) -> None:
        super().__init__()
        self._turn = RLock()
        self._beside = _BesideInThread()

    def _open(self) -> tuple[Library, Pointer]:
        """Once for all threads: whoever only asks whether there is nftables comes here without having its turn."""
        with self._turn:
            return super()._open()

    def run(self, commands: str, *, handles: bool = False) -> str:
        """See Nft. After an error that tells of more than the commands the next one gets a socket of its own."""
        with self._turn:
            try:
                return super().run(commands, handles=handles)
            except NftError as error:
                if not (error.missing or error.exists or error.busy):
                    super().close()
                raise

    def close(self) -> None:
        """Stay open: others go on with it."""

    def shut(self) -> None:
        """Close it for good."""
        with self._turn:
            super().close()


class Warm:
    """What the calls of one agent share."""

    def __init__(self) -> None:
        self.nft = SharedNft()
        self.deletions = Deletions()
        self.connections = Connections()
        self.memory = Memory()
        self._thread = local()

    def borrow(self) -> Netlink | None:
        """This thread's netlink socket, if it has one."""
        netlink: Netlink | None = getattr(self._thread, "netlink", None)
        self._thread.netlink = None
        return netlink

    def give_back(self, netlink: Netlink | None) -> None:
        """Keep a socket for this thread's next call."""
        self._thread.netlink = netlink

    def let_go(self) -> None:
        """Close what this thread has kept: it is about to end."""
        netlink = self.borrow()
        if netlink is not None:
            netlink.close()

    def close(self) -> None:
        """Close what all threads share, and what this one has kept."""
        self.let_go()
        self.memory.close()
        self.connections.close()
        self.nft.shut()


class WarmHandles(Handles):
    """The handles of one call in an agent. `container` is CNI_NETNS and the caller's descriptor of it, which stays the caller's; `heed`
    gives what Handles has under that name.
    """

    def __init__(
        self,
        warm: Warm,
        *,
        run_dir: str,
        executable: tuple[int, int],
        stderr: int,
        container: tuple[str, int] | None,
        heed: Callable[[], Heed | None] = lambda: None,
    ) -> None:
        super().__init__(executable=executable, run_dir=run_dir, stderr=stderr)
        self._warm = warm
        self._container = container
        self._heed = heed
        self._host = warm.borrow()
        self._nft = warm.nft

    @property
    def heed(self) -> Heed | None:
        """See Handles."""
        return self._heed()

    def netns(self, path: str) -> Netns:
        """The network namespace at `path`; the caller's own descriptor is believed before the path."""
        if self._container is not None and path == self._container[0] and path not in self._netns:
            self._netns[path] = Netns.adopt(path, os.dup(self._container[1]))
        return super().netns(path)

    def connection(self, server: Server) -> Connection:
        """See Handles; it may have served another call."""
        self._connections.append(self._warm.connections.take(server))
        return self._connections[-1]

    def recall(self, source: str, server: Server, path: str) -> Any:
        """See Handles."""
        return self._warm.memory.recall(source, server, path)

    def delete_links(self, indexes: Sequence[int]) -> None:
        """Delete links of the node, together with those that other calls delete. Raises NetlinkError."""
        self._warm.deletions.delete(self.host, indexes)

    def close(self) -> None:
        """Close what belongs to this call alone."""
        netlink, self._host, self._nft = self._host, None, None
        self._warm.give_back(netlink)
        self._warm.connections.give_back(self._connections)
        self._connections = []
        super().close()
