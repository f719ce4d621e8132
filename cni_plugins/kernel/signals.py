"""Moments in which no signal's handler may raise: between entering a namespace and leaving it, between starting a child and knowing it.

A plugin that is told to end (SIGTERM) undoes what it did; for that the handler raises, wherever it happens to be called. Signals
that come while they are deferred wait in the kernel, and are delivered by `restore`.
"""

from __future__ import annotations

from _signal import SIG_BLOCK, SIG_SETMASK, SIGHUP, SIGINT, SIGTERM, pthread_sigmask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_DEFERRED = (SIGHUP, SIGINT, SIGTERM)


def defer() -> Iterable[int]:
    """Keep the calling thread's signals waiting; returns what `restore` needs. If a handler raises here, none are kept waiting."""
    before: Iterable[int] = pthread_sigmask(SIG_BLOCK, ())
    try:
        pthread_sigmask(SIG_BLOCK, _DEFERRED)
    except BaseException:
        pthread_sigmask(SIG_SETMASK, before)
        raise
    return before


def restore(before: Iterable[int]) -> None:
    """Let signals come again as they did before `defer`; the handler of one that waited is called here, and may raise."""
    pthread_sigmask(SIG_SETMASK, before)
