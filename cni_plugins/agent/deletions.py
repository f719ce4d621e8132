"""Interfaces that are deleted at the same time are deleted together.

A deletion waits for all of the kernel's readers, which takes longer than everything else that a DEL does; a hundred in one request
wait as long as one does. Nobody waits for company: whoever comes while a request is under way goes with the next.
"""

from __future__ import annotations

from threading import Lock

from cni_plugins.kernel.rtnl import NetlinkError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni_plugins.kernel.netlink import Netlink


class _Order:
    """What one call wants deleted, and what came of it."""

    __slots__ = ("done", "error", "indexes")

    def __init__(self, indexes: Sequence[int]) -> None:
        self.indexes = indexes
        self.done = False
        self.error: Exception | None = None


class Deletions:
    """Deletes links of the node for many threads."""

    def __init__(self) -> None:
        self._turn = Lock()
        self._book = Lock()
        self._orders: list[_Order] = []

    def delete(self, netlink: Netlink, indexes: Sequence[int]) -> None:
        """Delete links through the caller's own socket, or through another caller's who was first. Raises NetlinkError."""
        if not indexes:
            return
        mine = _Order(indexes)
        with self._book:
            self._orders.append(mine)
        with self._turn:
            if not mine.done:
                with self._book:
                    orders, self._orders = self._orders, []
                _carry_out(netlink, orders)
        if mine.error is not None:
            raise mine.error


def _carry_out(netlink: Netlink, orders: list[_Order]) -> None:
    """Delete for all at once; if that fails, for each by itself, so that one cannot keep the others."""
    try:
        try:
            netlink.delete_links([index for order in orders for index in order.indexes])
        except NetlinkError:
            for order in orders:
                _carry_out_one(netlink, order)
    except BaseException as error:
        lost = error if isinstance(error, Exception) else RuntimeError(f"interrupted: {error}")
        for order in orders:
            order.error = order.error or lost
        raise
    finally:
        for order in orders:
            order.done = True


def _carry_out_one(netlink: Netlink, order: _Order) -> None:
    try:
        netlink.delete_links(order.indexes)
    except NetlinkError as error:
        order.error = error
