"""The bridge plugin's configuration."""

from __future__ import annotations

from cni_plugins.model.base import Model
from cni_plugins.model.netconf import MasqueradeConf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_plugins.model.base import Problems
    from cni_plugins.model.types import IfName, Mac, Many, Mtu, VlanId, VlanIdOrNone


class VlanTrunk(Model):
    """VLANs that a port carries tagged: one `id`, a range of them, or both."""

    minID: VlanId | None = None
    """First VLAN of a range; needs `maxID`."""

    maxID: VlanId | None = None
    """Last VLAN of a range; needs `minID`."""

    id: VlanId | None = None
    """A single VLAN."""

    def check(self) -> Problems:
        """A range has two ends, in order."""
        if self.minID is None or self.maxID is None:
            if self.maxID is not None:
                yield "minID", "is missing: a range needs minID and maxID"
            elif self.minID is not None:
                yield "maxID", "is missing: a range needs minID and maxID"
        elif self.minID > self.maxID:
            yield "maxID", f"{self.maxID} is less than minID, which is {self.minID}"

    @property
    def vlans(self) -> set[int]:
        """All VLANs that are meant."""
        single = set() if self.id is None else {self.id}
        return single if self.minID is None or self.maxID is None else single.union(range(self.minID, self.maxID + 1))


class BridgeArgs(Model):
    """The bridge plugin's part of `args.cni`."""

    mac: Mac = ""
    """Hardware address for the container's interface."""


class Args(Model):
    """Arguments by convention (CONVENTIONS, "args in network config")."""

    cni: BridgeArgs = BridgeArgs()
    """Arguments that any plugin may read."""


class BridgeRuntime(Model):
    """What the runtime passes for the capability `mac`."""

    mac: Mac = ""
    """Hardware address for the container's interface (capability `mac`)."""


class BridgeConf(MasqueradeConf):
    """Joins the container to a bridge on the node, which is made when it is not there."""

    bridge: IfName = "cni0"
    """The bridge's name."""

    isGateway: bool = False
    """Give the bridge the gateway's address, so that the node routes for the containers."""

    isDefaultGateway: bool = False
    """Also make it the containers' default gateway. Implies `isGateway`."""

    forceAddress: bool = False
    """Replace an address of the bridge that differs from the gateway's, instead of failing."""

    mtu: Mtu = 0
    """Size in bytes of the largest packet; 0 leaves it to the kernel."""

    hairpinMode: bool = False
    """Let a container reach itself through the bridge, as services need it. Excludes `promiscMode`."""

    promiscMode: bool = False
    """Put the bridge in promiscuous mode, the other way to the same end. Excludes `hairpinMode`."""

    vlan: VlanIdOrNone = 0
    """VLAN of the container's untagged traffic; 0 for none."""

    vlanTrunk: Many[VlanTrunk] = ()
    """VLANs that the container may use tagged."""

    preserveDefaultVlan: bool = False
    """Keep the port in the bridge's default VLAN as well when `vlan` or `vlanTrunk` is set."""

    macspoofchk: bool = False
    """Drop frames whose source address is not the container's own."""

    enabledad: bool = False
    """Wait for IPv6 duplicate-address detection instead of switching it off."""

    disableContainerInterface: bool = False
    """Leave the container's interface down. Excludes `ipam`."""

    portIsolation: bool = False
    """Keep this container from reaching other isolated ones through the bridge."""

    args: Args = Args()
    """Arguments by convention: `args.cni.mac`."""

    runtimeConfig: BridgeRuntime = BridgeRuntime()
    """Values for capabilities (set by the runtime): `mac`."""

    def check(self) -> Problems:
        """What cannot go together."""
        yield from super().check()
        if self.hairpinMode and self.promiscMode:
            yield "promiscMode", "cannot be set together with hairpinMode: choose one"
        if self.disableContainerInterface and self.ipam_type:
            yield "disableContainerInterface", "cannot be set together with ipam: an interface that stays down has no addresses"

    @property
    def vlan_aware(self) -> bool:
        """Whether the bridge tells VLANs apart."""
        return bool(self.vlan or self.vlanTrunk)

    @property
    def gateway(self) -> bool:
        """Whether the bridge gets the gateway's address."""
        return self.isGateway or self.isDefaultGateway

    @property
    def vlans(self) -> tuple[int, ...]:
        """The trunk's VLANs in order, each once."""
        return tuple(sorted(set[int]().union(*(trunk.vlans for trunk in self.vlanTrunk))))

    @property
    def mac(self) -> str:
        """The hardware address that the configuration asks for, empty when none; above it stands nothing, below it CNI_ARGS MAC."""
        return self.runtimeConfig.mac or self.args.cni.mac
