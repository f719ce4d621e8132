"""Which plugin each executable name stands for. A module is imported only when its plugin is called."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.plan.plugin import Plugin

PLUGINS = {
    "bandwidth": "cni_plugins.plugins.bandwidth",
    "bridge": "bridge.plan",
    "flannel": "flannel.plan",
    "firewall": "cni_plugins.plugins.firewall",
    "host-local": "cni_plugins.plugins.host_local",
    "loopback": "cni_plugins.plugins.loopback",
    "multus": "multus_lite.plan",
    "multus-lite": "multus_lite.plan",
    "portmap": "cni_plugins.plugins.portmap",
    "ptp": "cni_plugins.plugins.ptp",
    "static": "cni_plugins.plugins.static",
    "tuning": "cni_plugins.plugins.tuning",
    "vxlan": "vxlan.plan",
}


TOOLS = {
    "cni-agent": "cni_plugins.agent.command",
    "cnictl": "cni_plugins.cli",
}
"""Programs for people under the same executable: their module has `main(arguments, build=…) -> exit status`."""


def plugin_named(name: str) -> Plugin | None:
    """The plugin that an executable of this name is, or None when none is."""
    module = PLUGINS.get(name)
    if module is None:
        return None
    plugin: Plugin = __import__(module, fromlist=("PLUGIN",)).PLUGIN
    return plugin
