"""The flannel plugin: gives a container an interface in this node's subnet of an overlay, by another plugin, the bridge as a rule."""

from __future__ import annotations

from cni_plugins.plan.plugin import Plugin
from flannel.conf import FlannelConf, FlannelReleaseConf
from flannel.network import FlannelNetwork
from flannel.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.resource import Need
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.result import Result


def plan(att: Attachment, conf: FlannelConf, need: Need) -> Result:
    """The delegate's configuration, written down before the delegate is called."""
    return need(FlannelNetwork(need(State(conf))))


PLUGIN = Plugin(
    "flannel",
    conf=FlannelConf,
    release_conf=FlannelReleaseConf,
    plan=plan,
    kinds=("flannel.state", "flannel.network"),
)
