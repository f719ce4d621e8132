"""The overlays of a node: one keeper for each, and the removal of what is of overlays that are not configured any more."""

from __future__ import annotations

import logging
import threading

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
    """The overlays of a configuration, from `keep` to `stop`; `repaired` is told an overlay's name at each repair."""

    def __init__(self, warm: Warm, *, run_dir: str, repaired: Callable[[str], None]) -> None:
        self._warm = warm
        self._run_dir = run_dir
        self._repaired = repaired
        self._keepers: list[Keeper] = []
        self._awake = threading.Lock()

    def keep(self, confs: Sequence[OverlayConf]) -> None:
        """Keep these from now on, and remove what is of others. Those that were kept already, as they are, go on undisturbed.

        Raises OSError when it cannot be begun; then nothing has changed.
        """
        stay = [keeper for keeper in self._keepers if keeper.conf in confs]
        known = {keeper.conf.name for keeper in stay}
        come = [Keeper(conf, self._warm, run_dir=self._run_dir, repaired=self._repaired) for conf in confs if conf.name not in known]
        go = self._replace([*stay, *come])
        for keeper in go:
            if keeper not in stay:
                keeper.stop()
        try:
            self._clear()
        except (CniError, OSError) as error:
            log.error("what is left of earlier overlays is not removed: %s", error)
        for keeper in come:
            keeper.start()

    def _replace(self, keepers: list[Keeper]) -> list[Keeper]:
        """Have these keepers instead of others; the others, which nobody wakes any more."""
        with self._awake:
            before, self._keepers = self._keepers, keepers
        return before

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
        with self._awake:
            for keeper in self._keepers:
                keeper.wake()

    def stop(self) -> None:
        """Stop keeping. Everything stays as it is, for the next agent."""
        for keeper in self._replace([]):
            keeper.stop()
