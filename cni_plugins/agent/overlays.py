"""The overlays of a node: one keeper for each, and the removal of what is of overlays that are not configured any more."""

from __future__ import annotations

import logging

from cni_plugins.agent.overlay import Keeper
from cni_plugins.agent.passes import warm_world
from cni_plugins.kernel import files
from cni_plugins.protocol.errors import CniError
from vxlan import repair, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cni_plugins.agent.conf import OverlayConf
    from cni_plugins.agent.warm import Warm

log = logging.getLogger(__name__)


class Overlays:
    """All overlays of the configuration, from `start` to `stop`; `repaired` is told an overlay's name at each repair."""

    def __init__(self, confs: Sequence[OverlayConf], warm: Warm, *, run_dir: str, repaired: Callable[[str], None]) -> None:
        self._warm = warm
        self._run_dir = run_dir
        self._keepers = [Keeper(conf, warm, run_dir=run_dir, repaired=repaired) for conf in confs]

    def start(self) -> None:
        """Remove what is of no overlay any more, and keep the others."""
        try:
            self._clear()
        except (CniError, OSError) as error:
            log.error("what is left of earlier overlays is not removed: %s", error)
        for keeper in self._keepers:
            keeper.start()

    def _clear(self) -> None:
        """Remove what an agent with another configuration has made and left."""
        kept = [keeper.conf.name for keeper in self._keepers]
        with warm_world(self._warm, self._run_dir) as world:
            for network in repair.abandoned(world, kept):
                repair.abandon(world, network)
                log.info("removed an overlay that is not configured any more (key %s)", network.hex())
        for name in state.names(self._run_dir):
            if name not in kept:
                self._forget(name, {keeper.conf.subnetFile for keeper in self._keepers})

    def _forget(self, name: str, used: set[str]) -> None:
        """Remove an overlay's files: without its subnet file nobody takes the overlay for one that works."""
        known = state.read(self._run_dir, name)
        path = known.about.get("subnetFile") if known else None
        if path and path not in used:
            files.withdraw(path)
        state.forget(self._run_dir, name)

    def wake(self) -> None:
        """The firewall was reloaded, or something like that: have a look."""
        for keeper in self._keepers:
            keeper.wake()

    def stop(self) -> None:
        """Stop keeping. Everything stays as it is, for the next agent."""
        for keeper in self._keepers:
            keeper.stop()
