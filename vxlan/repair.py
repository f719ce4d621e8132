"""Making a node's part in an overlay so, whatever has happened to it: the same resources as a plan's, verified and then applied.

    verify → apply → take away what carries our mark and is not wanted

Nothing is done where nothing differs. What cannot be done for one address family, or for one peer, does not keep the others.
"""

from __future__ import annotations

from cni_plugins.kernel import vxlan
from cni_plugins.plan.resource import Drift
from cni_plugins.protocol.attachment import network_key
from cni_plugins.protocol.errors import CniError
from vxlan import overlay as users
from vxlan.device import Device, NoDevice
from vxlan.forwarding import Forwarded
from vxlan.marks import AGENT, PLUGIN, overlay_lock, read_mark
from vxlan.overlay import Share
from vxlan.peers import Peers
from vxlan.sides import Underlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cni_plugins.plan.resource import Resource
    from cni_plugins.plan.world import World
    from vxlan.sides import Side
    from vxlan.state import Overlay

_SHOWN = 3


class Unused(Exception):
    """An overlay of the plugin's has no attachments: the last DEL has taken it, and nothing of it may come back."""


class Report:
    """What a pass came to: what was `found` to differ, what was `done` about it, and what is wrong and stays so (`problems`).

    `sides` are the node's part in each family, as far as the underlay lets it have one; `works` tells whether all of them can carry
    packets, whatever is wrong with single peers.
    """

    __slots__ = ("done", "found", "problems", "sides", "works")

    def __init__(self) -> None:
        self.found: list[str] = []
        self.done: list[str] = []
        self.problems: list[str] = []
        self.sides: list[Side] = []
        self.works = True

    def line(self) -> str:
        """All of it in one line, for a log: what was found, and what was done."""
        return f"{some(self.found)}: {', '.join(self.done) or 'nothing could be done'}"


def some(texts: list[str]) -> str:
    """The first of many texts, and how many more there are."""
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more


def inspect(world: World, overlay: Overlay) -> Report:
    """Look at what is there; nothing is changed."""
    return _Pass(world, overlay, mend=False).run()


def repair(world: World, overlay: Overlay, *, maker: str = AGENT) -> Report:
    """Look at what is there, and mend what differs.

    What is made bears the mark of its `maker`. An overlay of the PLUGIN's is its attachments': the agent is no user of it, and how it is
    masqueraded is restored from their records. Raises Unused when there is something to mend of it, and nobody whom it is for.
    """
    return _Pass(world, overlay, mend=True, maker=maker).run()


class _Pass:
    """One look at everything."""

    def __init__(self, world: World, overlay: Overlay, *, mend: bool, maker: str = AGENT) -> None:
        self._world = world
        self._overlay = overlay
        self._mend = mend
        self._maker = maker
        self._att = users.agent_of(overlay.name)
        self._key = network_key(overlay.name)
        self._report = Report()

    def run(self) -> Report:
        report, overlay = self._report, self._overlay
        report.sides = self._sides()
        report.works = len(report.sides) == len(overlay.halves)
        if self._maker == AGENT:
            self._attempt(self._share)
            self._attempt(self._forwarding)
            if self._mend and report.works:
                self._attempt(self._other_devices)
        for side in report.sides:
            report.works &= self._attempt(self._device, side)
            if overlay.peers is not None:
                self._attempt(self._peers, side)
        return report

    def _attempt(self, step: Callable[..., None], *arguments: object) -> bool:
        """Take a step; what is in its way is noted."""
        try:
            step(*arguments)
        except (CniError, OSError) as error:
            self._report.problems.append(error.msg if isinstance(error, CniError) else str(error))
            return False
        return True

    def _sides(self) -> list[Side]:
        """The node's part in each family; what is wrong with one does not keep the other."""
        overlay, sides = self._overlay, []
        for half in overlay.halves:
            try:
                sides += Underlay(overlay.underlay, [half], overlay.tunnels).verify(self._world, self._att)
            except Drift as drift:
                sides += drift.fact if isinstance(drift.fact, list) else []
                self._report.problems.append(str(drift))
        return sides

    def _share(self) -> None:
        halves, overlay = self._overlay.halves, self._overlay
        networks, subnets = [half.network for half in halves], [half.subnet for half in halves]
        share = Share(networks, subnets if overlay.masquerades else [], networks if overlay.forwards else [])
        if self._mend:
            users.become(self._world, self._att.key, share.record(self._world, self._att))
        self._resource(share, "the rules of nftables are set up again")

    def _forwarding(self) -> None:
        """The agent is there before others who would drop: as flanneld it does not wait for them."""
        if self._overlay.forwards:
            families = [half.network.family for half in self._overlay.halves]
            self._resource(Forwarded(families, ahead=True), "what is forwarded is let through")

    def _device(self, side: Side) -> None:
        if not side.tunnels.tunnelled:
            self._resource(NoDevice(side), f"{side.device} is deleted")
            return
        device = Device(side, maker=self._maker)
        before = device.predict(self._world, self._att)
        found = self._drift(device)
        if not found:
            return
        self._report.found.append(found)
        if self._mend:
            with overlay_lock(self._world, self._key):
                self._heed_users()
                after = device.apply_locked(self._world, self._att)
            self._report.done.append(f"{side.device} is {'mended' if before == after else 'made anew'}")

    def _peers(self, side: Side) -> None:
        peers = Peers(side, self._overlay.peers or [])
        differences = peers.compare(self._world, self._att)
        if not differences.found:
            self._report.problems += peers.problems
            return
        self._report.found += differences.found
        if self._mend:
            with overlay_lock(self._world, self._key):
                self._heed_users()
                self._report.problems += peers.apply_locked(self._world, self._att)
            counts = ((len(differences.missing), "put in"), (len(differences.surplus), "taken out"))
            self._report.done += [f"{count} {'entry' if count == 1 else 'entries'} {what}" for count, what in counts if count]
        else:
            self._report.problems += peers.problems

    def _heed_users(self) -> None:
        """Under the lock that DEL takes away the last user with: from here on it is known what a DEL meets, and removes."""
        if self._maker == PLUGIN and not users.used(self._world, self._overlay.name):
            raise Unused

    def _other_devices(self) -> None:
        """VXLAN devices that the agent made for this overlay when it had another VNI, or another family."""
        wanted = {side.device for side in self._report.sides}
        for device in vxlan.devices(self._world.host):
            if device.name not in wanted and read_mark(device.alias) == (self._key, AGENT):
                self._world.host.delete_link(device.index)
                self._report.found.append(f"{device.name} is of an earlier configuration")
                self._report.done.append(f"{device.name} is deleted")

    def _resource(self, resource: Resource[Any], done: str) -> None:
        found = self._drift(resource)
        if found:
            self._report.found.append(found)
            if self._mend:
                resource.apply(self._world, self._att)
                self._report.done.append(done)

    def _drift(self, resource: Resource[Any]) -> str:
        """How something differs; empty when it does not."""
        try:
            resource.verify(self._world, self._att)
        except Drift as drift:
            return str(drift)
        return ""


def abandon(world: World, network: bytes) -> None:
    """Remove what the agent has made for an overlay (the 8-byte key of its network) that it is not to keep any more.

    Raises CniError or OSError; it may be tried again.
    """
    key = network + users.agent_of("").key[8:]
    with overlay_lock(world, network):
        for item in users.items_of(world, key):
            users.leave(world, key, item)
        for device in vxlan.devices(world.host):
            if read_mark(device.alias) == (network, AGENT):
                world.host.delete_link(device.index)


def abandoned(world: World, kept: list[str]) -> list[bytes]:
    """The keys of networks for which an agent has made something here, and that are not among the overlays `kept` (their names)."""
    marks = filter(None, (read_mark(device.alias) for device in vxlan.devices(world.host)))
    found = {key for key, maker in marks if maker == AGENT} | users.networks_of_agent(world)
    return sorted(found - {network_key(name) for name in kept})
