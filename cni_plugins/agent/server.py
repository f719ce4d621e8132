"""An agent at work: its workers, the watch over the rules, the overlays that it keeps, its numbers."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from socket import socket

from cni_plugins.agent import web
from cni_plugins.agent.following import Following
from cni_plugins.agent.metrics import Metrics
from cni_plugins.agent.peers import Peers
from cni_plugins.agent.rules import RulesWatch
from cni_plugins.agent.session import REQUEST_SECONDS, Incomplete, Session
from cni_plugins.agent.warm import Warm
from cni_plugins.agent.workers import Workers
from cni_plugins.handover import CALL
from cni_plugins.networks import CONF_DIR, Networks
from cni_plugins.registry import PLUGINS, plugin_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.agent.conf import AgentConf
    from cni_plugins.agent.overlays import Overlays

PATIENCE = 10.0
"""Seconds that running calls get when the agent is told to end; one that needs more goes on in its caller."""

log = logging.getLogger(__name__)


class Server:
    """Serves calls that come over `listening`, in at most `workers` threads. `run_dir` is where records and locks are.

    Keeps the overlays of `conf`; without a configuration, what an agent before has made is left alone.
    """

    def __init__(self, listening: socket, *, run_dir: Path, workers: int, conf: AgentConf | None = None) -> None:
        self._run_dir = str(run_dir)
        self._peers = Peers()
        self._warm = Warm()
        self._workers = Workers(listening, self._serve, limit=workers)
        self.metrics = Metrics(busy=lambda: self._workers.busy, free=_free)
        self._overlays = self._make_overlays(conf) if conf else None
        kept = [overlay.name for overlay in conf.overlay] if conf else []
        self._following = Following(self._warm, run_dir=self._run_dir, kept=kept, repaired=self.metrics.repaired)
        noticed = self._overlays.wake if self._overlays else lambda: None
        self._rules = RulesWatch(self._warm, run_dir=self._run_dir, restored=self.metrics.restored, noticed=noticed)

    def _make_overlays(self, conf: AgentConf) -> Overlays:
        """Most agents have none, and need not load what they take."""
        from cni_plugins.agent.overlays import Overlays

        return Overlays(conf.overlay, self._warm, run_dir=self._run_dir, repaired=self.metrics.repaired)

    def start(self) -> None:
        """Load what calls need, put back what the node has lost, and begin to serve."""
        for plugin in filter(None, map(plugin_named, PLUGINS)):
            for kind in plugin.kinds:
                plugin.kind(kind)
        self._workers.start()
        self._rules.start()
        if self._overlays:
            self._overlays.start()
        self._following.start()

    def stop(self) -> None:
        """Take no more calls; those that are being served have some seconds to end."""
        self._workers.stop(PATIENCE)
        self._rules.stop()
        if self._overlays:
            self._overlays.stop()
        self._following.stop()
        self._warm.close()

    def _serve(self, channel: socket) -> None:
        channel.settimeout(REQUEST_SECONDS)
        try:
            reason = self._peers.refusal(channel)
            if reason:
                log.warning("refused a process that may not speak to the agent: %s", reason)
                self.metrics.refused()
                return
            first = channel.recv(1)
            if first == CALL:
                Session(channel, warm=self._warm, metrics=self.metrics, run_dir=self._run_dir).serve()
            elif first:
                web.answer(channel, first, self.metrics)
        except (Incomplete, OSError) as error:
            log.debug("a caller went away before its call was begun: %s", error)


def _free() -> Iterable[tuple[str, int]]:
    """What is free of each network that a file configures; of one with several range sets, what the fullest has."""
    free: dict[str, int] = {}
    for one in Networks(CONF_DIR).ranges():
        free[one.network] = min(one.free, free.get(one.network, one.free))
    return free.items()
