"""The tuning plugin: kernel parameters of the container's network namespace, and settings of the interface that is there already."""

from __future__ import annotations

from cni_plugins.model import rules
from cni_plugins.model.base import Model
from cni_plugins.model.netconf import NetConf
from cni_plugins.plan.kinds.previous import Previous
from cni_plugins.plan.plugin import Plugin, kinds
from cni_plugins.protocol.errors import InvalidEnvironment
from cni_plugins.protocol.result import Interface, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_plugins.model.base import Problems
    from cni_plugins.model.types import Mac, Mtu, PathName, Uint32
    from cni_plugins.plan.resource import Need
    from cni_plugins.protocol.attachment import Attachment

DATA_DIR = "/run/cni/tuning"


class TuningArgs(Model):
    """The tuning plugin's part of `args.cni`: each key that is there goes before the configuration's own."""

    sysctl: dict[str, str] | None = None
    """Further kernel parameters, or other values."""

    mac: Mac | None = None
    """Hardware address for the interface."""

    promisc: bool | None = None
    """Promiscuous mode."""

    mtu: Mtu | None = None
    """Size in bytes of the largest packet."""

    txQLen: Uint32 | None = None
    """Length in packets of the transmit queue."""

    allmulti: bool | None = None
    """All-multicast mode."""


class Args(Model):
    """Arguments by convention (CONVENTIONS, "args in network config")."""

    cni: TuningArgs = TuningArgs()
    """Arguments that any plugin may read."""


class TuningRuntime(Model):
    """What the runtime passes for the capability `mac`."""

    mac: Mac = ""
    """Hardware address for the interface (capability `mac`)."""


class TuningReleaseConf(NetConf):
    """What DEL and GC need."""

    dataDir: PathName = DATA_DIR
    """Directory of the files that say what the interface was like before."""

    @property
    def data_dir(self) -> str:
        """The same; an empty one counts as absent."""
        return self.dataDir or DATA_DIR


class TuningConf(TuningReleaseConf):
    """Sets kernel parameters of the container's network, and properties of the interface that a plugin before it made."""

    sysctl: dict[str, str] | None = None
    """Kernel parameters: names below net., with dots or slashes, and their values. IFNAME stands for the interface's name."""

    mac: Mac = ""
    """Hardware address for the interface."""

    mtu: Mtu = 0
    """Size in bytes of the largest packet; 0 leaves it as it is."""

    promisc: bool | None = None
    """Promiscuous mode, on or off: take frames whatever address they are for. When absent, it stays as it is."""

    allmulti: bool | None = None
    """All-multicast mode, on or off: take all multicast frames. When absent, it stays as it is."""

    txQLen: Uint32 | None = None
    """Length in packets of the transmit queue. When absent, it stays as it is."""

    args: Args = Args()
    """Arguments by convention: what is in `args.cni` goes before the keys of the same name here."""

    runtimeConfig: TuningRuntime = TuningRuntime()
    """Values for capabilities (set by the runtime): `mac`."""

    def check(self) -> Problems:
        """Only network parameters, and none under two names."""
        from cni_plugins.plan.kinds.sysctls import name_of

        for path, given in (("sysctl", self.sysctl), ("args.cni.sysctl", self.args.cni.sysctl)):
            known: dict[str, str] = {}
            for key in given or ():
                try:
                    other = known.setdefault(name_of(key), key)
                except ValueError as error:
                    yield path, str(error)
                else:
                    if other != key:
                        yield path, f"{key!r} is duplicated: {other!r} is the same parameter"

    def sysctls(self) -> dict[str, str]:
        """All parameters by the keys that they were given under; of one that is given twice, that of `args.cni`."""
        from cni_plugins.plan.kinds.sysctls import name_of

        merged = {name_of(key): (key, value) for key, value in (self.sysctl or {}).items()}
        merged.update({name_of(key): (key, value) for key, value in (self.args.cni.sysctl or {}).items()})
        return dict(merged.values())

    def settings(self, mac: str) -> dict[str, Any]:
        """What the interface is to have, by the names of kernel/tunables.py; `mac` is that of CNI_ARGS."""
        given = self.args.cni
        asked = {name: getattr(self if getattr(given, name) is None else given, name) for name in ("mtu", "promisc", "allmulti", "txQLen")}
        asked["mac"] = (self.runtimeConfig.mac or mac or self.mac) if given.mac is None else given.mac
        asked["mtu"] = asked["mtu"] or None
        return {name: value for name, value in asked.items() if value not in (None, "")}


def plan(att: Attachment, conf: TuningConf, need: Need) -> Result:
    """Parameters first: they are to be in force whatever the interface's settings do."""
    previous = need(Previous())
    sysctls = conf.sysctls()
    if sysctls:
        from cni_plugins.plan.kinds.sysctls import Sysctls

        need(Sysctls(sysctls))
    settings = conf.settings(_mac(att))
    if settings:
        from cni_plugins.plan.kinds.link_settings import LinkSettings

        need(LinkSettings(settings, directory=conf.data_dir))
    return _retold(previous, att, settings)


def _mac(att: Attachment) -> str:
    """The hardware address of CNI_ARGS, empty when there is none. Raises InvalidEnvironment."""
    try:
        return rules.mac(att.args.get("MAC", ""))
    except ValueError as error:
        raise InvalidEnvironment(f"CNI_ARGS: MAC: {error}") from None


def _retold(previous: Result, att: Attachment, settings: dict[str, Any]) -> Result:
    """The result of the plugin before, with the interface's new address, and its new size if that was told."""
    interfaces = [_told(one, settings) if one.name == att.ifname else one for one in previous.interfaces]
    return Result(interfaces, ips=previous.ips, routes=previous.routes, dns=previous.dns)


def _told(one: Interface, settings: dict[str, Any]) -> Interface:
    mtu = settings.get("mtu", one.mtu) if one.mtu else 0
    return Interface(one.name, mac=settings.get("mac", one.mac), mtu=mtu, sandbox=one.sandbox, socketPath=one.socketPath, pciID=one.pciID)


PLUGIN = Plugin(
    "tuning",
    conf=TuningConf,
    release_conf=TuningReleaseConf,
    plan=plan,
    kinds=kinds("sysctls", "link_settings"),
    chained=True,
    args=("MAC",),
)
