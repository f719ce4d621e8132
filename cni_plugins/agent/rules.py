"""Puts back what a firewall's reload takes: `nft flush ruleset` removes everybody's tables, ours included.

Every change of the rules is heard from the kernel. When a table of ours was deleted, what the records of live attachments have is put back,
under their locks. When something else was deleted, each kind is asked whether what its things stand in is gone, which costs nothing that
grows with pods. firewalld says itself that it has forgotten the pods; the tables of x_tables, of which nobody says anything, are
looked at every two seconds where they are in use.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from time import monotonic

from cni_plugins.agent.announcements import Changes, Firewalld
from cni_plugins.agent.restoring import Restorer
from cni_plugins.agent.warm import Warm
from cni_plugins.protocol.errors import CniError

_QUIET = 0.05
"""Seconds. A reload is many changes: it is waited for until none has come for so long, or until _AT_LATEST have gone."""
_AT_LATEST = 0.4
_AGAIN = 0.2
"""When to look again at attachments that somebody was working on."""
_LOOK = 2.0
"""When to look at what nobody announces."""
_NOTHING: AbstractSet[str] = frozenset()

log = logging.getLogger(__name__)


class _Question:
    """Asks which kinds have lost what their things stand in. Those that nothing could be put back of (mostly since nobody has such things)
    stay lost, and are not named again before they were found whole, or were forgotten here.
    """

    def __init__(self, ask: Callable[[], AbstractSet[str]]) -> None:
        self._ask = ask
        self._in_vain = _NOTHING

    def lost(self) -> AbstractSet[str]:
        """What is lost, and was not in vain."""
        lost = self._ask()
        self._in_vain &= lost
        return lost - self._in_vain

    def tried(self) -> None:
        """All of it was put back, as far as there was anything to put back."""
        self._in_vain = self._ask()

    def forget(self) -> None:
        """Somebody may have such things by now."""
        self._in_vain = _NOTHING


class RulesWatch:
    """Watches a node's rules in a thread of its own, from `start` to `stop`. `restored` is told how many attachments were put back,
    `noticed` that something was deleted.
    """

    def __init__(self, warm: Warm, *, run_dir: str, restored: Callable[[int], None], noticed: Callable[[], None] = lambda: None) -> None:
        self._warm = warm
        self._restorer = Restorer(warm, run_dir=run_dir)
        self._restored = restored
        self._noticed = noticed
        self._changes = Changes()
        self._firewalld = Firewalld()
        self._in_nftables = self._restorer.everything - self._firewalld.kinds
        self._heard, self._unheard = _Question(self._restorer.lost), _Question(self._restorer.lost_unheard)
        self._busy = _NOTHING
        self._stopping, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._work, name="rules", daemon=True)

    def start(self) -> None:
        """Put back what is missing now, and watch from here on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        os.close(self._stop)
        self._thread.join()
        os.close(self._stopping)
        self._changes.close()
        self._firewalld.close()

    def _work(self) -> None:
        try:
            self._watch()
        finally:
            self._warm.let_go()

    def _watch(self) -> None:
        self._attempt(lambda: self._put_back(self._in_nftables))
        self._attempt(self._look)
        due = monotonic() + _LOOK
        while True:
            due = min(due, monotonic() + _AGAIN) if self._busy else due
            ready = self._wait(due - monotonic(), self._stopping, self._changes.fileno(), self._firewalld.fileno())
            if self._stopping in ready:
                return
            if self._changes.fileno() in ready:
                self._attempt(self._hear)
            if self._firewalld.fileno() in ready:
                self._attempt(self._hear_firewalld)
            if monotonic() >= due:
                self._attempt(self._look)
                due = monotonic() + _LOOK

    def _attempt(self, step: Callable[[], None]) -> None:
        """Whatever goes wrong, the watch goes on."""
        try:
            step()
        except (CniError, OSError) as error:
            log.error("cannot put back what a firewall's reload took: %s", error)
        except Exception:
            log.exception("cannot put back what a firewall's reload took, which is a defect")

    def _wait(self, seconds: float, *descriptors: int) -> set[int]:
        poll = select.poll()
        for fd in descriptors:
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        return {fd for fd, _ in poll.poll(max(seconds, 0) * 1000)}

    def _hear(self) -> None:
        news = self._changes.read()
        latest = monotonic() + _AT_LATEST
        while news.deleted and monotonic() < latest and self._wait(_QUIET, self._changes.fileno()):
            news |= self._changes.read()
        if news.made:
            self._heard.forget()
        if news.taken:
            self._noticed()
            self._put_back(self._in_nftables)
        elif news.deleted:
            self._put_back_lost(self._heard)

    def _hear_firewalld(self) -> None:
        if self._firewalld.read():
            self._put_back(self._firewalld.kinds)

    def _look(self) -> None:
        """See to what nobody announces, and to attachments that somebody was working on."""
        if self._busy:
            busy, self._busy = self._busy, _NOTHING
            self._put_back(self._restorer.everything, only=busy)
        if self._firewalld.connect():
            self._put_back(self._firewalld.kinds)
        self._put_back_lost(self._unheard)

    def _put_back_lost(self, question: _Question) -> None:
        lost = question.lost()
        if lost:
            self._noticed()
            self._put_back(lost)
            question.tried()

    def _put_back(self, kinds: AbstractSet[str], *, only: AbstractSet[str] | None = None) -> None:
        restored, busy = self._restorer.put_back(kinds, only=only)
        self._busy |= busy
        if restored:
            log.info("put back the firewall elements of %d attachments", restored)
            self._restored(restored)
