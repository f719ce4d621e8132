"""The firewall plugin: lets the container's forwarded packets through, and keeps bridges apart."""

from __future__ import annotations

from cni_plugins.model.netconf import NetConf
from cni_plugins.plan.kinds.previous import Previous
from cni_plugins.plan.plugin import Plugin, kinds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.model.base import Problems
    from cni_plugins.plan.resource import Need
    from cni_plugins.protocol.attachment import Attachment
    from cni_plugins.protocol.result import Result

_IPTABLES, _FIREWALLD = "iptables", "firewalld"
_OPEN, _SAME_BRIDGE, _ISOLATED = "open", "same-bridge", "isolated"
_ZONE = "trusted"
_CHAIN_MAX = 28
_CHAIN_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:+")
_TAKEN = ("ACCEPT", "DROP", "QUEUE", "RETURN", "INPUT", "FORWARD", "OUTPUT", "CNI-FORWARD")


class FirewallConf(NetConf):
    """Lets the container's forwarded packets through the node's firewall, and says from where it can be reached."""

    backend: str = ""
    """`iptables` or `firewalld`; when absent, firewalld if it runs, else iptables."""

    iptablesAdminChainName: str = ""
    """The chain of iptables' filter table for rules of your own, which are asked first; when absent, CNI-ADMIN."""

    firewalldZone: str = ""
    """The zone of firewalld that the container's addresses become sources of; when absent, trusted."""

    ingressPolicy: str = ""
    """`open`, `same-bridge` (not from other bridges with a policy) or `isolated` (nor from its own); when absent, open."""

    def check(self) -> Problems:
        """Values that the reference has words for, and a name that can be a chain's."""
        if self.backend not in ("", _IPTABLES, _FIREWALLD):
            yield "backend", f"{self.backend!r} is not known: use 'iptables' or 'firewalld', or leave it out"
        if self.ingressPolicy not in ("", _OPEN, _SAME_BRIDGE, _ISOLATED):
            yield "ingressPolicy", f"{self.ingressPolicy!r} is not known: use 'open', 'same-bridge' or 'isolated'"
        name = self.iptablesAdminChainName
        if name and (len(name) > _CHAIN_MAX or name[0] in "-." or not _CHAIN_CHARACTERS.issuperset(name)):
            yield "iptablesAdminChainName", f"{name!r} cannot be the name of a chain: up to {_CHAIN_MAX} letters, digits, - _ . : +"
        if name in _TAKEN:
            yield "iptablesAdminChainName", f"{name!r} means something else to iptables"


def plan(att: Attachment, conf: FirewallConf, need: Need) -> Result:
    """List what lets a container's packets through, after what keeps others' away: it is never open in between."""
    previous = need(Previous())
    addresses = list(dict.fromkeys(ip.address.address for ip in previous.ips))
    if conf.ingressPolicy in (_SAME_BRIDGE, _ISOLATED):
        from cni_plugins.plan.kinds.isolation import Isolation

        on_node = [interface.name for interface in previous.interfaces if not interface.sandbox]
        need(Isolation(on_node, closed=conf.ingressPolicy == _ISOLATED))
    if conf.backend != _IPTABLES:
        from cni_plugins.plan.kinds.zone import Backend, Zone

        if need(Backend(conf.backend)):
            need(Zone(conf.firewalldZone or _ZONE, addresses))
            return previous
    from cni_plugins.plan.kinds.filter_table import ADMIN
    from cni_plugins.plan.kinds.firewall import Accepted

    need(Accepted(addresses, admin=conf.iptablesAdminChainName or ADMIN, required=conf.backend == _IPTABLES))
    return previous


PLUGIN = Plugin("firewall", conf=FirewallConf, release_conf=NetConf, plan=plan, kinds=kinds("isolation", "zone", "firewall"), chained=True)
