"""The flannel plugin's keys, and what becomes of them: the configuration that the delegate gets."""

from __future__ import annotations

from cni_plugins.model.base import folded
from cni_plugins.model.frozen import dump_json
from cni_plugins.model.netconf import NetConf
from cni_plugins.plan.kinds.network import NetworkConf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_plugins.model.base import Problems
    from cni_plugins.model.types import Ipam, Object, PathName
    from cni_plugins.protocol.ip import Cidr
    from flannel.subnet_env import SubnetEnv

SUBNET_FILE = "/run/flannel/subnet.env"
DATA_DIR = "/var/lib/cni/flannel"
_OURS = {"name": "it is the network's own", "ipam": "write it beside delegate"}
"""Keys that a delegate gets from us, and what to do about one that was written."""


class FlannelReleaseConf(NetConf):
    """As much of a configuration as a DEL or GC can use; what else is wrong with it keeps nothing from being removed."""

    subnetFile: PathName = SUBNET_FILE
    """File in which flanneld, or our agent, has written down this node's subnet."""

    dataDir: PathName = DATA_DIR
    """Directory where the delegate's configuration is kept until DEL."""

    delegate: Object | None = None
    """Configuration of the plugin that makes the interface: `type` (bridge unless given) and that plugin's keys."""

    ipam: Ipam | None = None
    """What the delegate's `ipam` starts from: `type` (host-local unless given), `routes` and others. The ranges are the subnet's."""

    runtimeConfig: Object | None = None
    """Values for capabilities (set by the runtime), passed on to the delegate."""

    @property
    def delegate_type(self) -> str:
        """The plugin that makes the interface."""
        return str((self.delegate or {}).get("type", "bridge"))


class FlannelConf(FlannelReleaseConf):
    """Gives each container an interface in this node's subnet of an overlay, by another plugin."""

    def check(self) -> Problems:
        """What a delegate may be, and where its state may be kept."""
        if not self.dataDir:
            yield "dataDir", "is empty"
        for key in self.delegate or {}:
            if key.lower() in _OURS:
                yield f"delegate.{key}", f"cannot be set: {_OURS[key.lower()]}"
        kind = (self.delegate or {}).get("type", "bridge")
        if not isinstance(kind, str) or not kind or "/" in kind or "\0" in kind or kind in (".", ".."):
            yield "delegate.type", f"{kind!r} is not the name of a plugin"
        elif kind == "flannel":
            yield "delegate.type", "flannel cannot delegate to itself"
        routes = (self.ipam or {}).get("routes")
        if routes is not None and not isinstance(routes, list):
            yield "ipam.routes", f"{routes!r} is not a list"


def delegate_conf(conf: FlannelReleaseConf, env: SubnetEnv) -> NetworkConf:
    """What the delegate gets on ADD: the same as from flannel's own plugin, key by key."""
    given: dict[str, Any] = {"ipMasq": not env.masqueraded, "mtu": env.mtu}
    if conf.delegate_type == "bridge":
        given["isGateway"] = True
    routes = [*((conf.ipam or {}).get("routes") or ()), *({"dst": str(network)} for network in env.networks)]
    return _assembled(conf, given, {"ranges": _ranges(env.subnets), "routes": routes})


def delegate_conf_for_removal(conf: FlannelReleaseConf, subnets: list[Cidr]) -> NetworkConf:
    """What a delegate's DEL and GC get when nothing else is known than some `subnets`: it is told to look for all it may have made."""
    return _assembled(conf, {"ipMasq": True}, {"ranges": _ranges(subnets)})


def _assembled(conf: FlannelReleaseConf, given: dict[str, Any], ipam: dict[str, Any]) -> NetworkConf:
    """`given` are keys that the configuration's `delegate` overrides; those of `ipam` override the configuration's `ipam`."""
    own = conf.ipam or {}
    kind = {} if folded(own, "type") else {"type": "host-local"}
    data = {**given, "type": conf.delegate_type, **(conf.delegate or {}), "name": conf.name, "ipam": {**own, **kind, **ipam}}
    if conf.cniVersion:
        data["cniVersion"] = conf.cniVersion
    if conf.runtimeConfig is not None:
        data["runtimeConfig"] = conf.runtimeConfig
    return NetworkConf(dump_json(data))


def _ranges(subnets: list[Cidr]) -> list[list[dict[str, str]]]:
    return [[{"subnet": str(subnet)}] for subnet in subnets]
