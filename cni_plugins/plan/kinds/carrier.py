"""Links that can pass frames by the time ADD returns.

The kernel's link watch works aside from requests, and a container that starts before it loses its first packets.
"""

from __future__ import annotations

import time

from cni_plugins.kernel import calls
from cni_plugins.plan.resource import Resource
from cni_plugins.protocol.errors import KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.netlink import Netlink
    from cni_plugins.plan.world import World
    from cni_plugins.protocol.attachment import Attachment

_SECONDS = 2.5
"""How long the link watch may take; the reference gives it as long."""
_MOMENT = 0.1
_PAUSE = 0.0005
_OPERATIONAL = ("UP", "UNKNOWN")
"""What the kernel itself takes for operational: of a bridge that never lost its carrier, older kernels never say more."""


class Carrier(Resource["None"]):
    """The container's interface, and the links of the node that its frames pass (`host_links`, names), are operational (RFC 2863).

    Asking for a link makes the kernel take note of its carrier at once; else a bridge may take a second. One with spanning tree
    takes half a minute by design: a `bridge` is given a moment, and not waited for. Whether the links still are up is for
    their own resources to verify.
    """

    __slots__ = ("bridge", "host_links")

    def __init__(self, *host_links: str, bridge: str = "") -> None:
        self.host_links = host_links
        self.bridge = bridge

    def predict(self, world: World, att: Attachment) -> None:
        """Nothing to tell."""

    def apply(self, world: World, att: Attachment) -> None:
        """Wait for each."""
        _wait(world.inside(att).netlink(), att.ifname)
        for name in self.host_links:
            _wait(world.host, name)
        if self.bridge:
            _wait(world.host, self.bridge, seconds=_MOMENT, needed=False)

    def verify(self, world: World, att: Attachment) -> None:
        """Nothing to compare."""


def _wait(netlink: Netlink, name: str, *, seconds: float = _SECONDS, needed: bool = True) -> None:
    until = time.monotonic() + seconds
    while True:
        link = netlink.link(name=name)
        if link is None:
            raise KernelRefused(f"interface {name} vanished while it was being set up")
        if link.operstate in _OPERATIONAL:
            return
        if time.monotonic() > until:
            if not needed:
                return
            raise KernelRefused(f"interface {name} is up, but passes no frames after {seconds} s")
        calls.sleep(_PAUSE)
