"""The locks of an attachment, without waiting for anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from cni_plugins.kernel import files
from cni_plugins.plan.locks import AttachmentLock

if TYPE_CHECKING:
    from types import TracebackType

    from cni_plugins.cli.context import Context
    from cni_plugins.cli.inventory import Entry


class Held:
    """All locks that a call on an attachment may hold, one for each plugin that works on containers. `held` is false if one is taken."""

    def __init__(self, context: Context, entry: Entry) -> None:
        names = {*(name for name, plugin in context.plugins.items() if plugin.enters_netns), *entry.plugins}
        self._locks = [AttachmentLock(context.run_dir, name, entry.key, wait=False) for name in sorted(names)]
        self._had: list[AttachmentLock] = []
        self.held = False

    def __enter__(self) -> Self:
        try:
            for lock in self._locks:
                self._had.append(lock.__enter__())
        except BaseException:
            self.let_go()
            raise
        self.held = all(lock.held for lock in self._locks)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.let_go()

    def let_go(self) -> None:
        """Give the locks back before the end."""
        while self._had:
            self._had.pop().__exit__(None, None, None)


def is_busy(context: Context, entry: Entry) -> bool:
    """Whether somebody is adding or deleting an attachment right now. Changes nothing: where no lock was ever taken none is made."""
    if not files.exists(f"{context.run_dir}/lock"):
        return False
    with Held(context, entry) as locks:
        return not locks.held
