"""The keys that every plugin's configuration has (SPEC 1.1.0, section 1), and pieces that several plugins share."""

from __future__ import annotations

from cni_plugins.model.base import Model, folded
from cni_plugins.protocol.result import Route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from cni_plugins.model.base import Problems
    from cni_plugins.model.types import Address, AddressWithPrefix, Ipam, Many, NetworkName, Object, RouteScope, Uint32


class Dns(Model):
    """Settings for the container's resolver; the runtime applies them."""

    nameservers: Many[str] | None = None
    """Addresses of name servers, best first."""

    domain: str = ""
    """The domain that short names are completed with."""

    search: Many[str] | None = None
    """Domains to search for short names, best first."""

    options: Many[str] | None = None
    """Options as resolv.conf has them."""

    def to_json(self) -> dict[str, object]:
        """As a result carries it: what is empty is left out."""
        keys = ("nameservers", "domain", "search", "options")
        values = {key: getattr(self, key) for key in keys}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items() if value}

    @property
    def given(self) -> bool:
        """Whether any of it was written in the configuration; an empty list is, an empty domain is not (as the reference has it)."""
        return bool(self.domain) or any(value is not None for value in (self.nameservers, self.search, self.options))


class RouteConf(Model):
    """A route for the container."""

    dst: AddressWithPrefix
    """Where to: an address with a prefix length."""

    gw: Address | None = None
    """The next hop; when absent, the gateway that came with the address."""

    mtu: Uint32 | None = None
    """Largest packet in bytes on this route."""

    advmss: Uint32 | None = None
    """Largest TCP segment in bytes that is announced to peers on this route."""

    priority: Uint32 | None = None
    """The route's metric: lower wins."""

    table: Uint32 | None = None
    """Number of the routing table; when absent, the main one."""

    scope: RouteScope | None = None
    """Scope of the destination: 0 global, 253 link, 254 host."""

    def to_route(self) -> Route:
        """The route as results carry it."""
        numbers = {key: getattr(self, key) for key in ("mtu", "advmss", "priority", "table", "scope")}
        return Route(self.dst, gw=self.gw.address if self.gw else None, **numbers)


class AttachmentId(Model):
    """An attachment that a GC must leave alone."""

    containerID: str
    """The container's ID."""

    ifname: str
    """The interface's name in the container."""


class NetConf(Model):
    """What every plugin finds in its configuration."""

    aliases: ClassVar[dict[str, str]] = {
        "validAttachments": "cni.dev/valid-attachments",
        "olderValidAttachments": "cni.dev/attachments",
    }

    cniVersion: str = ""
    """The version of the specification; the runtime copies it from the list. Empty means 0.1.0."""

    name: NetworkName
    """The network's name; the runtime copies it from the list."""

    type: str = ""
    """The plugin: the name of its executable."""

    capabilities: dict[str, bool] | None = None
    """Capabilities the runtime may use: each that is true makes it pass the values in `runtimeConfig`."""

    dns: Dns = Dns()
    """Settings for the container's resolver."""

    logLevel: str = ""
    """Least important kind of message that is logged: debug, info, warning, error. CNI_LOG_LEVEL overrides it."""

    logFile: str = ""
    """File that the log is appended to. CNI_LOG_FILE overrides it."""

    prevResult: Object | None = None
    """Result of the plugin before this one in the list (set by the runtime)."""

    validAttachments: Many[AttachmentId] | None = None
    """Attachments that a GC must leave alone (set by the runtime)."""

    olderValidAttachments: Many[AttachmentId] | None = None
    """The same under its older name (set by the runtime)."""

    @property
    def attachments(self) -> tuple[AttachmentId, ...] | None:
        """The attachments a GC must leave alone; None when the runtime gave no list, which is not an empty list."""
        return self.olderValidAttachments if self.validAttachments is None else self.validAttachments


class InterfaceConf(NetConf):
    """An interface plugin's configuration: addresses come from a delegate, which gets `ipam` exactly as it was written."""

    ipam: Ipam | None = None
    """Who gives out addresses: `type` names the plugin, the other keys are that plugin's."""

    @property
    def ipam_type(self) -> str:
        """The delegate's name, empty when there is none."""
        return str(folded(self.ipam or {}, "type") or "")

    def own_dns(self, given: dict[str, object]) -> dict[str, object]:
        """The DNS settings for the result: the configuration's as a whole if it has any, else those `given` with the lease."""
        return self.dns.to_json() if self.dns.given else given


class MasqueradeConf(InterfaceConf):
    """Keys of interface plugins that can masquerade."""

    ipMasq: bool = False
    """Masquerade what leaves the network: give it the node's own address as its source."""

    ipMasqBackend: str | None = None
    """`nftables` or `iptables`, accepted for compatibility: masquerading is done by nftables either way."""

    def check(self) -> Problems:
        """The back end matters only where masquerading is asked for."""
        if self.ipMasq and self.ipMasqBackend not in (None, "nftables", "iptables"):
            yield "ipMasqBackend", f"{self.ipMasqBackend!r} is not known: use 'nftables' or 'iptables', or leave it out"
