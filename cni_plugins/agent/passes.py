"""A pass over an overlay of this node: look, mend, say in one line what was found and done, and know what to listen to until the next."""

from __future__ import annotations

import logging
from contextlib import contextmanager

from cni_plugins.agent.warm import WarmHandles
from cni_plugins.plan.world import World
from cni_plugins.protocol.errors import CniError
from cni_plugins.protocol.request import Request
from vxlan import repair
from vxlan.sides import device_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cni_plugins.agent.events import Events
    from cni_plugins.agent.warm import Warm
    from vxlan.repair import Report
    from vxlan.state import Overlay

FULL_PASS_SECONDS = 60

log = logging.getLogger(__name__)


@contextmanager
def warm_world(warm: Warm, run_dir: str) -> Iterator[World]:
    """What resources act on, in a thread of the agent's own."""
    handles = WarmHandles(warm, run_dir=run_dir, executable=(0, 0), stderr=2, container=None)
    try:
        yield World(handles, Request("cni-agent", {}, b""), None)
    finally:
        handles.close()


class Passes:
    """The passes over the overlay called `name`, whose links `events` tells of. `repaired` is told the name at each repair."""

    def __init__(self, name: str, events: Events, *, repaired: Callable[[str], None]) -> None:
        self.name = name
        self._events = events
        self._repaired = repaired
        self._essence = b""
        self._complaints: dict[str, list[str]] = {}

    def make(self, world: World, overlay: Overlay, *, maker: str) -> Report:
        """One pass; `maker` is whose mark things bear. What was as it should be, and is not, was changed by somebody else: a repair."""
        report = repair.repair(world, overlay, maker=maker)
        same, self._essence = overlay.essence() == self._essence, overlay.essence()
        if report.done and same:
            log.warning("%s: repaired: %s", self.name, report.line())
            self._repaired(self.name)
        elif report.done:
            log.info("%s: brought about: %s", self.name, report.line())
        names = {device_name(overlay.tunnels.vni, half.network.family) for half in overlay.halves} if overlay.tunnels.tunnelled else set()
        links = [world.host.link(name=name) for name in sorted(names)]
        devices = {link.index for link in links if link is not None}
        self._events.watch({overlay.underlay, *names}, devices=devices, underlay={side.index for side in report.sides})
        return report

    def guarded(self, turn: Callable[[], None]) -> None:
        """What goes wrong in a turn, a defect included, costs that turn and never the thread."""
        try:
            turn()
        except (CniError, OSError) as error:
            self.complain([error.msg if isinstance(error, CniError) else str(error)], about=turn.__name__)
        except Exception:
            log.exception("%s: this should not have happened", self.name)
        else:
            self.complain([], about=turn.__name__)

    def complain(self, problems: list[str], *, about: str) -> None:
        """Say what is wrong, once for as long as it is; what is `about` something else is another matter."""
        for problem in problems:
            if problem not in self._complaints.get(about, ()):
                log.warning("%s: %s", self.name, problem)
        self._complaints[about] = problems
