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
    from cni_plugins.agent.hot_change import HotChange
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
        self._conf = conf
        self._peers = Peers()
        self._warm = Warm()
        self._workers = Workers(listening, self._serve, limit=workers)
        self.metrics = Metrics(busy=lambda: self._workers.busy, free=_free)
        self._warm.memory.told = self.metrics.looked_up
        self._overlays: Overlays | None = None
        self._hot_change: HotChange | None = None
        self._following = self._follower(conf)
        self._rules = RulesWatch(self._warm, run_dir=self._run_dir, restored=self.metrics.restored, noticed=self._noticed)

    def _follower(self, conf: AgentConf | None) -> Following:
        """Who follows files of peers, but for the networks whose overlays are kept."""
        kept = [overlay.name for overlay in conf.overlay] if conf else []
        return Following(self._warm, run_dir=self._run_dir, kept=kept, repaired=self.metrics.repaired)

    def _noticed(self) -> None:
        if self._overlays:
            self._overlays.wake()

    def start(self) -> None:
        """Load what calls need, put back what the node has lost, and begin to serve."""
        for plugin in filter(None, map(plugin_named, PLUGINS)):
            for kind in plugin.kinds:
                plugin.kind(kind)
        self._workers.start()
        self._rules.start()
        if self._conf:
            self._keep(self._conf)
        self._following.start()

    def configure(self, conf: AgentConf) -> None:
        """Keep the overlays of another configuration from now on; those that do not differ in it go on undisturbed. Raises OSError."""
        following = self._follower(conf)
        self._keep(conf)
        self._following.stop()
        self._following = following
        following.start()

    def _keep(self, conf: AgentConf) -> None:
        """Most agents keep no overlay, and need not load what that takes."""
        from cni_plugins.agent.overlays import Overlays

        self._overlays = self._overlays or Overlays(self._warm, run_dir=self._run_dir, repaired=self.metrics.repaired)
        self._overlays.keep(conf.overlay)
        self._follow_annotations(wanted=conf.multus.hotChange)

    def _follow_annotations(self, *, wanted: bool) -> None:
        """Have networks of running pods follow their annotations, or not any more."""
        if wanted and self._hot_change is None:
            from cni_plugins.agent.hot_change import HotChange

            self._hot_change = HotChange(self._warm, run_dir=self._run_dir)
            self._hot_change.start()
        elif self._hot_change is not None and not wanted:
            self._hot_change.stop()
            self._hot_change = None

    def stop(self) -> None:
        """Take no more calls; those that are being served have some seconds to end."""
        self._workers.stop(PATIENCE)
        self._rules.stop()
        if self._overlays:
            self._overlays.stop()
        self._following.stop()
        self._follow_annotations(wanted=False)
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
