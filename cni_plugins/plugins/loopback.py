"""The loopback plugin: brings up the container's `lo`."""

from __future__ import annotations

from cni_plugins.model.netconf import NetConf
from cni_plugins.plan.kinds.loopback import Loopback
from cni_plugins.plan.plugin import Plugin, kinds
from cni_plugins.protocol.result import Result, from_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.resource import Need
    from cni_plugins.protocol.attachment import Attachment


class LoopbackConf(NetConf):
    """Brings up the container's own loopback interface and reports its addresses."""


def plan(att: Attachment, conf: LoopbackConf, need: Need) -> Result:
    """`lo` is up; the result of a plugin before this one is passed on as it came."""
    interface, ips = need(Loopback())
    if conf.prevResult is not None:
        return from_json(conf.prevResult, where="prevResult", version=conf.cniVersion)
    return Result([interface], ips=ips)


PLUGIN = Plugin("loopback", conf=LoopbackConf, plan=plan, kinds=kinds("loopback"), chained=True)
