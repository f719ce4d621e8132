"""The bandwidth plugin: limits what a container's interface receives and sends."""

from __future__ import annotations

from cni_plugins.model.base import Model
from cni_plugins.model.netconf import NetConf
from cni_plugins.plan.kinds.previous import Previous
from cni_plugins.plan.plugin import Plugin, kinds
from cni_plugins.protocol.result import Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.kernel.shaping import Bucket
    from cni_plugins.model.base import Problems
    from cni_plugins.model.types import Uint64
    from cni_plugins.plan.resource import Need
    from cni_plugins.protocol.attachment import Attachment

_LEAST = 8
"""In bits: the kernel counts bytes."""
_BURST_MAX = 8 * 0xFFFFFFFF
"""In bits: the kernel keeps the size of a burst in 32 bits of bytes."""


class Limits(Model):
    """Limits of one interface; a rate and its burst come together, and 0 is no limit."""

    ingressRate: Uint64 | None = None
    """Bits a second that the container may receive; 0 for no limit. Needs `ingressBurst`."""

    ingressBurst: Uint64 | None = None
    """Bits that it may receive at once, beyond the rate. Needs `ingressRate`."""

    egressRate: Uint64 | None = None
    """Bits a second that the container may send; 0 for no limit. Needs `egressBurst`."""

    egressBurst: Uint64 | None = None
    """Bits that it may send at once, beyond the rate. Needs `egressRate`."""

    def problems(self, path: str) -> Problems:
        """What is wrong between the keys, which stand below `path`."""
        for side in ("ingress", "egress"):
            rate, burst = self.pair(side)
            rate_path, burst_path = f"{path}{side}Rate", f"{path}{side}Burst"
            if not rate and burst:
                yield rate_path, f"is missing or 0, but {side}Burst is {burst}: both must be set, or neither"
            elif rate and not burst:
                yield burst_path, f"is missing or 0, but {side}Rate is {rate}: both must be set, or neither"
            elif rate and rate < _LEAST:
                yield rate_path, f"{rate} is too small: at least {_LEAST} bits a second, or 0 for no limit"
            elif burst and not _LEAST <= burst < _BURST_MAX:
                yield burst_path, f"{burst} is not between {_LEAST} and {_BURST_MAX - 1} bits"

    def pair(self, side: str) -> tuple[int, int]:
        """Rate and burst of "ingress" or "egress", 0 where there is none."""
        return getattr(self, f"{side}Rate") or 0, getattr(self, f"{side}Burst") or 0

    @property
    def written(self) -> bool:
        """Whether any of the keys is there, be it with a 0."""
        values = (self.ingressRate, self.ingressBurst, self.egressRate, self.egressBurst)
        return any(value is not None for value in values)


class BandwidthRuntime(Model):
    """What the runtime passes for the capability `bandwidth`."""

    bandwidth: Limits | None = None
    """Limits of this container (capability `bandwidth`); the keys of the configuration itself come before them."""


class BandwidthConf(NetConf, Limits):
    """Limits what the interface, which a plugin before this one in the list made, receives and sends."""

    qdisc: str = ""
    """`fq_codel` sorts what waits at the limit by flows and keeps the wait short; when empty it waits in one queue, as in the reference."""

    runtimeConfig: BandwidthRuntime = BandwidthRuntime()
    """Values that the runtime passes for this container's capabilities."""

    def check(self) -> Problems:
        """The limits that count must make sense; the others are not looked at, as the reference has it."""
        yield from self.limits.problems("" if self.limits is self else "runtimeConfig.bandwidth.")
        if self.qdisc not in ("", "fq_codel"):
            yield "qdisc", f"{self.qdisc!r} is not known: use 'fq_codel', or leave it out"

    @property
    def limits(self) -> Limits:
        """The limits that count: those of the configuration if it has any, else those that the runtime passes."""
        return self if self.written else self.runtimeConfig.bandwidth or self


def plan(att: Attachment, conf: BandwidthConf, need: Need) -> Result:
    """List the limits of an interface that is there already. Without any it is left alone."""
    previous = need(Previous())
    receive, send = (conf.limits.pair(side) for side in ("ingress", "egress"))
    if not receive[0] and not send[0]:
        return previous
    from cni_plugins.plan.kinds.host_side import HostSide
    from cni_plugins.plan.kinds.shaper import Receiving, Sending

    host = need(HostSide(previous))
    interfaces = list(previous.interfaces)
    if receive[0]:
        need(Receiving(host, _bucket(receive), below=conf.qdisc))
    if send[0]:
        interfaces.append(need(Sending(host, _bucket(send), below=conf.qdisc)))
    return Result(interfaces, ips=previous.ips, routes=previous.routes, dns=previous.dns)


def _bucket(limit: tuple[int, int]) -> Bucket:
    from cni_plugins.kernel.shaping import Bucket

    return Bucket.of_bits(*limit)


PLUGIN = Plugin("bandwidth", conf=BandwidthConf, release_conf=NetConf, plan=plan, kinds=kinds("shaper"), chained=True)
