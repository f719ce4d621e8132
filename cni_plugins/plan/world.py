"""What resources act on, for the length of one call.

Kernel handles are opened when they are first asked for, and shared with the plugins that a call delegates to; what belongs to
the call itself (request, configuration, prevResult) is its own.
"""

from __future__ import annotations

from cni_plugins import RUN_DIR
from cni_plugins.protocol.errors import InvalidEnvironment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from cni_plugins.kernel.https import Connection, Server
    from cni_plugins.kernel.netlink import Netlink
    from cni_plugins.kernel.netns import Netns
    from cni_plugins.kernel.nft import Nft
    from cni_plugins.kernel.process import Heed
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.request import Request
    from cni_plugins.protocol.result import Result

    Nested = Callable[["World", Request], Result | None]


class Handles:
    """Kernel handles: a netlink socket of the node, one of each network namespace that was asked for, libnftables, connections.

    `executable` is the file (device, inode) that tells our own plugins from foreign ones, None when nothing is our own. `stderr` is
    the descriptor that a delegate writes its messages to. `nested` calls one of our own plugins in this process; the handler sets it.
    `lock` is the descriptor that has the attachment's lock, which delegates inherit; -1 for none. `heed` is a descriptor, and what is to be
    called when it can be read while a delegate runs: so an agent hears that the caller has been ended.
    """

    nested: Nested

    def __init__(self, *, executable: tuple[int, int] | None = None, run_dir: str = RUN_DIR, stderr: int = 2) -> None:
        self.executable = executable
        self.run_dir = run_dir
        self.stderr = stderr
        self.lock = -1
        self._host: Netlink | None = None
        self._nft: Nft | None = None
        self._netns: dict[str, Netns] = {}
        self._connections: list[Connection] = []
        self.foreign: set[str] = set()

    @property
    def heed(self) -> Heed | None:
        """Nothing, in a process of the call's own: signals end that."""
        return None

    @property
    def host(self) -> Netlink:
        """A netlink socket in the node's network namespace; another one when it is broken."""
        if self._host is not None and self._host.broken:
            self._host.close()
            self._host = None
        if self._host is None:
            from cni_plugins.kernel.netlink import Netlink

            self._host = Netlink()
        return self._host

    @property
    def nft(self) -> Nft:
        """libnftables in the node's network namespace. Raises IoFailure when it is not installed."""
        if self._nft is None:
            from cni_plugins.kernel.nft import Nft

            self._nft = Nft()
        return self._nft

    def netns(self, path: str) -> Netns:
        """The network namespace at `path`. Raises UnknownContainer or InvalidEnvironment."""
        if path not in self._netns:
            from cni_plugins.kernel.netns import Netns

            self._netns[path] = Netns.open(path)
        return self._netns[path]

    def connection(self, server: Server) -> Connection:
        """A connection to a server, which is closed with the others."""
        from cni_plugins.kernel.https import Connection

        self._connections.append(Connection(server))
        return self._connections[-1]

    def recall(self, source: str, server: Server, path: str) -> Any:
        """The object at a path of the API `server`, as far as it is known without asking: None, in a process that ends with its call.

        `source` is the kubeconfig that tells of the server, empty for a pod's own credentials.
        """
        return None

    def delete_links(self, indexes: Sequence[int]) -> None:
        """Delete links of the node, all in one request; those that are not there count as deleted. Raises NetlinkError."""
        self.host.delete_links(indexes)

    def close(self) -> None:
        """Close all that was opened."""
        for handle in (*self._netns.values(), *self._connections, self._host, self._nft):
            if handle is not None:
                handle.close()
        self._netns, self._connections, self._host, self._nft = {}, [], None, None


class World:
    """One call: its handles, its request, its validated configuration and what prevResult said (None when absent)."""

    __slots__ = ("conf", "handles", "prev", "request")

    def __init__(self, handles: Handles, request: Request, conf: Any, prev: Result | None = None) -> None:
        self.handles = handles
        self.request = request
        self.conf = conf
        self.prev = prev

    @property
    def host(self) -> Netlink:
        """A netlink socket in the node's network namespace."""
        return self.handles.host

    @property
    def nft(self) -> Nft:
        """libnftables in the node's network namespace."""
        return self.handles.nft

    @property
    def run_dir(self) -> str:
        """Where records and locks are."""
        return self.handles.run_dir

    def inside(self, att: Attachment) -> Netns:
        """The container's network namespace. Raises UnknownContainer when it is gone."""
        return self.sandbox(att.netns)

    def sandbox(self, path: str) -> Netns:
        """A container's network namespace, wherever its path comes from: records outlive processes, and paths get new meanings.

        Raises UnknownContainer when it is gone, InvalidEnvironment when it is the node's own.
        """
        netns = self.handles.netns(path)
        if path not in self.handles.foreign:
            if netns.is_own and not self.request.netns_override:
                raise InvalidEnvironment(f"CNI_NETNS: {path} is the node's own network namespace")
            self.handles.foreign.add(path)
        return netns
