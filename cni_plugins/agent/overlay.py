"""One overlay, kept true on this node: its lease and its peers from the store, its devices and routes in the kernel.

    store ── vxlan.leases.manager ──┐  a new view
    kernel ── events ───────────────┼─> a pass: vxlan.repair ─> state file, subnet file
    once a minute ──────────────────┘

One thread; between passes it sleeps. What it knows outlives it in the state file: an agent that is started while the store is away goes
on with that.
"""

from __future__ import annotations

import logging
import threading
from time import time

from cni_plugins.agent.desired import about, attributes_of, desired, halves_without_subnets, troubles, tunnels_of
from cni_plugins.agent.events import Events
from cni_plugins.agent.passes import FULL_PASS_SECONDS, Passes, warm_world
from cni_plugins.agent.stores import open_store
from cni_plugins.plan.world import Handles, World
from cni_plugins.protocol.errors import CniError
from cni_plugins.protocol.request import Request
from vxlan import repair, state
from vxlan.leases import subnet_env
from vxlan.leases.manager import Manager
from vxlan.leases.peers import LEFT_OUT
from vxlan.leases.store import Backoff
from vxlan.leases.subnet_env import SubnetEnv
from vxlan.leases.view import View
from vxlan.marks import AGENT
from vxlan.overlay import agent_of
from vxlan.sides import Underlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni_plugins.agent.conf import OverlayConf
    from cni_plugins.agent.warm import Warm
    from vxlan.leases.network import NetworkConfig
    from vxlan.leases.schema import Attributes, Subnets
    from vxlan.repair import Report
    from vxlan.sides import Side
    from vxlan.state import Overlay

log = logging.getLogger(__name__)


class Keeper:
    """Keeps one overlay from `start` to `stop`. `run_dir` is where its state is; `repaired` is told its name at each repair."""

    def __init__(self, conf: OverlayConf, warm: Warm, *, run_dir: str, repaired: Callable[[str], None]) -> None:
        self.conf = conf
        self._warm = warm
        self._run_dir = run_dir
        self._events = Events()
        self._events.watch({conf.underlay}, devices=set(), underlay=set())
        self._manager: Manager | None = None
        self._view = View()
        self._overlay: Overlay | None = None
        self._passes = Passes(conf.name, self._events, repaired=repaired)
        self._described: list[tuple[str, str]] = []
        self._since: dict[str, float] = {}
        self._announced = False
        self._thread = threading.Thread(target=self._run, name=f"overlay {conf.name}", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop. What there is on the node, and the lease, stay for the next agent."""
        self._events.stop()
        self._thread.join()
        self._events.close()

    def wake(self) -> None:
        """Something has changed that the kernel does not announce to us: have a look."""
        self._events.wake()

    # The thread

    def _run(self) -> None:
        pauses = Backoff(first=1)
        self._passes.guarded(self._recall)
        try:
            while True:
                self._passes.guarded(self._turn)
                if not self._events.wait(FULL_PASS_SECONDS if self._manager else pauses.pause()):
                    return
        finally:
            if self._manager:
                self._manager.close()
            self._warm.let_go()

    def _recall(self) -> None:
        """Go on with what the last agent knew, unless it was told otherwise. Raises CniError."""
        known = state.read(self._run_dir, self.conf.name)
        if known is not None and (known.store, known.underlay) == (self.conf.store, self.conf.underlay):
            self._overlay = known
            self._since = {one["key"]: one["since"] for one in known.about.get("leases", ())}

    def _turn(self) -> None:
        if self._manager is None:
            self._passes.guarded(self._open)
        with warm_world(self._warm, self._run_dir) as world:
            view = self._view
            self._adopt(view)
            if self._overlay is not None:
                self._pass(world, self._overlay, view)
            elif self._manager and self._events.heard:
                self._manager.refresh()  # the underlay may have come to have what it lacked

    def _open(self) -> None:
        """Open the store. Raises InvalidConfig; it is tried again, since certificates and tokens may come later."""
        store = open_store(self.conf)
        manager = Manager(store, self._describe, publish=self._publish, previous=self._previous(), name=self.conf.name)
        manager.start()
        self._manager = manager

    def _previous(self) -> Subnets | None:
        """The subnets of the node's last life."""
        try:
            found = subnet_env.read(self.conf.subnetFile)
        except CniError as error:
            log.warning("%s: the subnet file is made anew: %s", self.conf.name, error.msg)
            return None
        return found.subnets if found else None

    # What the manager asks and tells, in threads of its own

    def _describe(self, network: NetworkConfig) -> Attributes:
        """How this node is reached. Raises CniError when the underlay does not do."""
        self._described = []
        underlay = Underlay(self.conf.underlay, halves_without_subnets(self.conf, network), tunnels_of(self.conf, network))
        handles = Handles(run_dir=self._run_dir)
        try:
            sides = underlay.predict(World(handles, Request("cni-agent", {}, b""), None), agent_of(self.conf.name))
        finally:
            handles.close()
        self._described = _places(sides)
        shown = " and ".join(side.node.address for side in sides)
        log.info("%s: other nodes reach this one at %s, over %s", self.conf.name, shown, self.conf.underlay)
        return attributes_of(sides, network)

    def _publish(self, view: View) -> None:
        self._view = view
        self._events.wake()

    # A pass

    def _adopt(self, view: View) -> None:
        """Take over what the manager knows."""
        overlay = desired(self.conf, view, known=self._overlay)
        if overlay is None:
            return
        before, self._overlay = self._overlay, overlay
        leases = {lease.key for lease in view.leases}
        self._since = {key: self._since.get(key) or time() for key in leases}
        if before is not None and before.peers is not None and overlay.peers is not None:
            old, new = ({str(peer) for peer in peers} for peers in (before.peers, overlay.peers))
            for what, peers in (("joined", new - old), ("left", old - new)):
                if peers:
                    log.info("%s: %s: %s", self.conf.name, what, repair.some(sorted(peers)))

    def _pass(self, world: World, overlay: Overlay, view: View) -> None:
        report = self._passes.make(world, overlay, maker=AGENT)
        self._passes.complain(report.problems, about="kernel")
        self._passes.complain([problem for problem in view.problems if LEFT_OUT in problem], about="leases")
        self._write(report, overlay, view)
        if self._manager is None or len(report.sides) < len(overlay.halves):
            return
        if view.lease is not None and _places(report.sides) != self._described:
            self._manager.refresh()
        if view.lease is not None and report.works and not self._announced:
            self._manager.announce()
            self._announced = True

    def _write(self, report: Report, overlay: Overlay, view: View) -> None:
        """The files that others read."""
        if view.lease is None or view.network is None:  # what the last agent wrote is still true
            overlay.about |= troubles(view, report.problems)
            state.write(self._run_dir, overlay)
            return
        overlay.about = about(self.conf, view, since=self._since, problems=report.problems)
        state.write(self._run_dir, overlay)
        if report.works:
            mtu = min(side.mtu for side in report.sides)
            env = SubnetEnv.of(view.network, view.lease.subnets, mtu=mtu, ipmasq=self.conf.ipMasq)
            if env.write(self.conf.subnetFile):
                log.info("%s: %s has %s with an MTU of %d bytes", self.conf.name, self.conf.subnetFile, view.lease.subnets, mtu)


def _places(sides: list[Side]) -> list[tuple[str, str]]:
    return [(side.node.address, side.mac) for side in sides]
